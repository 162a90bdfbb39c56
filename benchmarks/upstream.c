/* A runner that computes nothing: answers every POST on a TCP port and on a unix socket, as fast as one core can.
 *
 * A body with "stream":true is answered with EVENTS server-sent events, each in a separate write, as a model would
 * send them; any other one with a fixed chat completion. Usage: upstream PORT SOCKET
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define EVENTS 200
#define BUFFER 65536

struct connection {
    int fd;
    int used;          /* bytes of the request so far */
    int next;          /* the piece of the answer that is sent next; -1 between answers */
    int sent;          /* bytes of that piece which were sent */
    int is_stream;
    char data[BUFFER];
};

static char whole[2048], head[512], event[512], last[512];
static int whole_size, head_size, event_size, last_size;
static int poller;

static int chunk(char *out, const char *text) {
    return sprintf(out, "%zx\r\n%s\r\n", strlen(text), text);
}

static void build_answers(void) {
    const char *body =
        "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"bench\","
        "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"The quick brown fox jumps over "
        "the lazy dog and then rests for a while in the shade of an old tree.\"},\"finish_reason\":\"stop\"}],"
        "\"usage\":{\"prompt_tokens\":24,\"completion_tokens\":21,\"total_tokens\":45}}";
    whole_size = sprintf(whole,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    head_size = sprintf(head,
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    event_size = chunk(event,
        "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"bench\","
        "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\"finish_reason\":null}]}\n\n");
    last_size = chunk(last,
        ": noa {\"usage\":{\"prompt_tokens\":24,\"completion_tokens\":200,\"total_tokens\":224}}\n\ndata: [DONE]\n\n");
    last_size += sprintf(last + last_size, "0\r\n\r\n");
}

static void drop(struct connection *c) {
    close(c->fd);
    free(c);
}

static void piece(struct connection *c, const char **text, int *size) {
    if (!c->is_stream) { *text = whole; *size = whole_size; }
    else if (c->next == 0) { *text = head; *size = head_size; }
    else if (c->next <= EVENTS) { *text = event; *size = event_size; }
    else { *text = last; *size = last_size; }
}

/* Sends until the socket is full or the answer is over; -1 when the peer is gone. */
static int answer(struct connection *c) {
    int pieces = c->is_stream ? EVENTS + 2 : 1;
    while (c->next < pieces) {
        const char *text;
        int size;
        piece(c, &text, &size);
        ssize_t n = send(c->fd, text + c->sent, size - c->sent, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN ? 0 : -1;
        c->sent += n;
        if (c->sent == size) { c->next++; c->sent = 0; }
    }
    c->next = -1;
    return 0;
}

/* Whether the buffer holds a whole request; starts its answer then. */
static int take(struct connection *c) {
    c->data[c->used] = 0;
    char *end = strstr(c->data, "\r\n\r\n");
    if (!end) return 0;
    char *length = strcasestr(c->data, "\r\ncontent-length:");
    int size = (int)(end + 4 - c->data) + (length && length < end ? atoi(length + 17) : 0);
    if (c->used < size) return 0;
    c->is_stream = strstr(end, "\"stream\":true") != NULL;
    memmove(c->data, c->data + size, c->used - size);
    c->used -= size;
    c->next = c->sent = 0;
    return 1;
}

static void serve(struct connection *c, unsigned flags) {
    if (flags & (EPOLLERR | EPOLLHUP)) { drop(c); return; }
    if (c->next >= 0 && answer(c) < 0) { drop(c); return; }
    while (c->next < 0) {
        ssize_t n = recv(c->fd, c->data + c->used, BUFFER - 1 - c->used, 0);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) { drop(c); return; }
        c->used += n;
        while (c->next < 0 && take(c))
            if (answer(c) < 0) { drop(c); return; }
    }
}

static int listen_on(struct sockaddr *address, socklen_t size) {
    int one = 1, fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, address, size) || listen(fd, 1024)) { perror("listen"); exit(1); }
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    e.data.u64 = (uint64_t)fd << 1 | 1; /* odd: no pointer */
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
    return fd;
}

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct connection *c = calloc(1, sizeof *c);
        c->fd = fd;
        c->next = -1;
        struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
    }
}

int main(int argc, char **argv) {
    if (argc != 3) { fprintf(stderr, "usage: upstream PORT SOCKET\n"); return 64; }
    build_answers();
    poller = epoll_create1(0);
    struct sockaddr_in tcp = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    strncpy(local.sun_path, argv[2], sizeof local.sun_path - 1);
    listen_on((struct sockaddr *)&tcp, sizeof tcp);
    listen_on((struct sockaddr *)&local, sizeof local);
    struct epoll_event ready[64];
    for (;;) {
        int n = epoll_wait(poller, ready, 64, -1);
        for (int i = 0; i < n; i++) {
            if (ready[i].data.u64 & 1) accept_all((int)(ready[i].data.u64 >> 1));
            else serve(ready[i].data.ptr, ready[i].events);
        }
    }
}
