"""Bad input, byte by byte: each case gets a 4xx or a closed connection, and the next request is answered."""

from __future__ import annotations

import gzip
import json

import pytest

from models_app.gateway.http.request_body import Limits
from tests.fakes.upstream import FakeUpstream
from tests.gateway.wire import KEY, Served, request, serve

GOOD = request({"model": "current"})
LINE = b"POST /v1/chat/completions HTTP/1.1\r\n"
AUTH = f"authorization: Bearer {KEY}\r\n".encode()
HOST = b"host: 127.0.0.1\r\n"
BODY = b'{"model": "current"}'
LENGTH = b"content-length: 20\r\n"


def with_host(value: bytes) -> bytes:
    return GOOD.replace(b"host: 127.0.0.1", b"host: " + value)


def with_line(line: bytes) -> bytes:
    return GOOD.replace(LINE, line + b"\r\n")


def with_header(header: bytes) -> bytes:
    return GOOD.replace(LINE, LINE + header + b"\r\n")


def chunked(body: bytes) -> bytes:
    return LINE + HOST + AUTH + b"transfer-encoding: chunked\r\n\r\n" + body


RAW = {
    "length_and_chunked": LINE
    + HOST
    + AUTH
    + LENGTH
    + b"transfer-encoding: chunked\r\n\r\n14\r\n"
    + BODY
    + b"\r\n0\r\n\r\n",
    "two_lengths": LINE + HOST + AUTH + LENGTH + b"content-length: 5\r\n\r\n" + BODY,
    "negative_length": LINE + HOST + AUTH + b"content-length: -1\r\n\r\n" + BODY,
    "length_in_words": LINE + HOST + AUTH + b"content-length: twenty\r\n\r\n" + BODY,
    "length_with_plus": LINE + HOST + AUTH + b"content-length: +20\r\n\r\n" + BODY,
    "length_too_long": LINE + HOST + AUTH + b"content-length: " + b"9" * 40 + b"\r\n\r\n" + BODY,
    "length_in_hex": LINE + HOST + AUTH + b"content-length: 0x14\r\n\r\n" + BODY,
    "body_longer_than_said": GOOD + b"\x00\x01 and more",
    "chunk_size_no_hex": chunked(b"zz\r\nabc\r\n0\r\n\r\n"),
    "chunk_size_negative": chunked(b"-5\r\nabcde\r\n0\r\n\r\n"),
    "chunk_size_overflow": chunked(b"ffffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
    "chunk_without_end": chunked(b"5\r\nabcdeXX0\r\n\r\n"),
    "gzip_as_transfer_encoding": LINE + HOST + AUTH + b"transfer-encoding: gzip\r\n\r\nabc",
    "chunked_twice": LINE + HOST + AUTH + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "trailer_with_a_key": LINE
    + HOST
    + b"transfer-encoding: chunked\r\n\r\n14\r\n"
    + BODY
    + b"\r\n0\r\n"
    + AUTH
    + b"\r\n",
    "chunk_extension_of_100_kib": chunked(b"5;" + b"x" * 100_000),
    "trailer_of_600_kib": chunked(b"1\r\na\r\n0\r\nx: " + b"y" * 600_000),
    "no_host": GOOD.replace(HOST, b""),
    "two_hosts": with_header(b"host: 127.0.0.1"),
    "empty_host": with_host(b""),
    "other_host": with_host(b"evil.example"),
    "other_host_with_port": with_host(b"evil.example:8000"),
    "host_with_user": with_host(b"127.0.0.1@evil.example"),
    "host_with_slash": with_host(b"127.0.0.1/evil"),
    "host_with_question": with_host(b"127.0.0.1?evil"),
    "host_with_hash": with_host(b"127.0.0.1#evil"),
    "host_with_space": with_host(b"127.0.0.1 evil"),
    "host_with_comma": with_host(b"127.0.0.1,evil.example"),
    "host_with_bad_port": with_host(b"127.0.0.1:http"),
    "host_with_long_port": with_host(b"127.0.0.1:999999"),
    "host_with_nul": with_host(b"127.0.0.1\x00"),
    "host_not_ascii": with_host(b"127.0.0.1\xe9"),
    "host_as_decimal": with_host(b"2130706433"),
    "host_below_an_allowed_one": with_host(b"x.localhost.evil.example"),
    "host_of_300_bytes": with_host(b"a" * 300),
    "absolute_target": with_line(b"POST http://127.0.0.1/v1/chat/completions HTTP/1.1"),
    "absolute_target_elsewhere": with_line(b"POST http://evil.example/v1/models HTTP/1.1"),
    "authority_target": with_line(b"CONNECT evil.example:443 HTTP/1.1"),
    "asterisk_target": with_line(b"POST * HTTP/1.1"),
    "no_slash": with_line(b"POST v1/chat/completions HTTP/1.1"),
    "two_slashes": with_line(b"POST //v1/chat/completions HTTP/1.1"),
    "space_in_path": with_line(b"POST /v1/chat completions HTTP/1.1"),
    "nul_in_path": with_line(b"POST /v1/chat\x00/completions HTTP/1.1"),
    "encoded_nul": with_line(b"POST /v1/chat/completions%00 HTTP/1.1"),
    "dots": with_line(b"POST /v1/%2e%2e/v1/chat/completions HTTP/1.1"),
    "double_encoding": with_line(b"POST /v1/chat%252fcompletions HTTP/1.1"),
    "overlong_utf8": with_line(b"POST /v1/chat%c0%afcompletions HTTP/1.1"),
    "raw_high_bytes": with_line(b"POST /v1/\xff\xfe HTTP/1.1"),
    "path_of_10_000_bytes": with_line(b"POST /v1/" + b"a" * 10_000 + b" HTTP/1.1"),
    "path_of_100_000_bytes": with_line(b"POST /v1/" + b"a" * 100_000 + b" HTTP/1.1"),
    "method_of_10_000_bytes": with_line(b"M" * 10_000 + b" /v1/models HTTP/1.1"),
    "unknown_method": with_line(b"FROB /v1/models HTTP/1.1"),
    "lower_case_method": with_line(b"post /v1/chat/completions HTTP/1.1"),
    "http_0_9": b"GET /v1/models\r\n\r\n",
    "http_2_preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http_9_9": with_line(b"POST /v1/chat/completions HTTP/9.9"),
    "http_without_version": with_line(b"POST /v1/chat/completions HTTP"),
    "tls_hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "binary": bytes(range(256)) * 4,
    "one_header_of_70_kib": with_header(b"x-long: " + b"a" * 70_000),
    "headers_of_70_kib": with_header(b"\r\n".join(b"x-%d: " % n + b"a" * 1000 for n in range(70))),
    "1000_headers": with_header(b"\r\n".join(b"x-%d: 1" % n for n in range(1000))),
    "101_headers": with_header(b"\r\n".join(b"x-%d: 1" % n for n in range(97))),
    "folded_header": with_header(b"x-folded: a\r\n b"),
    "header_without_colon": with_header(b"nonsense"),
    "header_without_name": with_header(b": value"),
    "space_before_colon": with_header(b"x-space : value"),
    "nul_in_header": with_header(b"x-nul: a\x00b"),
    "control_in_header": with_header(b"x-control: a\x01b"),
    "bare_cr": with_header(b"x-cr: a\rb"),
    "bare_lf": LINE.replace(b"\r\n", b"\n") + HOST.replace(b"\r\n", b"\n") + b"\n",
    "gzip_body": LINE
    + HOST
    + AUTH
    + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(gzip.compress(BODY))
    + gzip.compress(BODY),
    "websocket_upgrade": b"GET /v1/models HTTP/1.1\r\nhost: evil.example\r\n"
    b"connection: upgrade\r\nupgrade: websocket\r\n\r\n",
    "post_upgrade": GOOD.replace(LINE, LINE + b"connection: upgrade\r\nupgrade: h2c\r\n"),
}

JSON_BODIES = {
    "empty": b"",
    "null": b"null",
    "number": b"7",
    "string": b'"current"',
    "array": b'[{"model": "current"}]',
    "truncated": b'{"model": "current"',
    "trailing": b'{"model": "current"} x',
    "two_objects": b'{"model": "current"}{"model": "current"}',
    "bom": b"\xef\xbb\xbf" + BODY,
    "utf_16": '{"model": "current"}'.encode("utf-16"),
    "bad_utf8": b'{"model": "current", "x": "\xff"}',
    "nan": b'{"model": "current", "x": NaN}',
    "infinity": b'{"model": "current", "x": -Infinity}',
    "lone_surrogate": b'{"model": "\\ud800"}',
    "single_quotes": b"{'model': 'current'}",
    "comment": b'{"model": "current"} // here',
    "depth_100_000": b'{"model": "current", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "form": b"model=current",
    "no_model": b"{}",
    "model_null": b'{"model": null}',
    "model_number": b'{"model": 1}',
    "model_list": b'{"model": ["current"]}',
    "model_object": b'{"model": {}}',
    "model_empty": b'{"model": ""}',
    "stream_string": b'{"model": "current", "stream": "true"}',
    "stream_number": b'{"model": "current", "stream": 1}',
    "stream_object": b'{"model": "current", "stream": {}}',
    "model_is_overridden": b'{"model": "current", "model": 1}',
}


# The cases with another status than 400.
EXPECTED = {
    "trailer_with_a_key": 401,
    "chunk_extension_of_100_kib": 431,
    "trailer_of_600_kib": 431,
    "asterisk_target": 404,
    "two_slashes": 404,
    "encoded_nul": 404,
    "dots": 404,
    "double_encoding": 404,
    "overlong_utf8": 404,
    "path_of_10_000_bytes": 404,
    "path_of_100_000_bytes": 431,
    "one_header_of_70_kib": 431,
    "headers_of_70_kib": 431,
    "1000_headers": 431,
    "101_headers": 431,
}


@pytest.mark.parametrize("name", RAW)
def test_bad_http_is_refused_and_the_next_request_is_answered(gateway: Served, name: str) -> None:
    with gateway.wire() as wire:
        assert wire.reaction(RAW[name]) == EXPECTED.get(name, 400)
    gateway.works()


@pytest.mark.parametrize("body", JSON_BODIES.values(), ids=JSON_BODIES.keys())
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
def test_a_bad_body_is_refused_with_a_reason(gateway: Served, upstream: FakeUpstream, path: str, body: bytes) -> None:
    answer = gateway.ask(request(body, path))
    assert answer.status == 400
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert not upstream.exchanges


def test_wide_bodies_are_passed_on(gateway: Served) -> None:
    keys = {f"key-{n}": n for n in range(20_000)}
    assert gateway.post({"model": "current", **keys}).status == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:1", "localhost.", "[::1]:80"])
def test_every_name_of_the_server_is_good(gateway: Served, host: str) -> None:
    assert gateway.post({"model": "current"}, host=host).status == 200


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [
        ("*", "anything.example", 200),
        (".example.org", "a.b.example.org", 200),
        (".example.org", "example.org", 200),
        (".example.org", "badexample.org", 400),
        ("example.org", "a.example.org", 400),
    ],
)
def test_allowed_hosts_are_matched_as_in_django(upstream: FakeUpstream, allowed: str, host: str, status: int) -> None:
    with serve(upstream.path, limits=Limits(allowed_hosts=(allowed,))) as served:
        assert served.post({"model": "current"}, host=host).status == status


# RFC 9112 6.1: the length of a body with another coding is the whole connection's, or unknown.
CODINGS = [
    b"gzip, chunked",
    b"gzip,chunked",
    b"deflate, chunked",
    b"identity, chunked",
    b"x, chunked",
    b"chunked, chunked",
    b"chunked, gzip",
    b"chunked;q=1",
    b'"chunked"',
    b"xchunked",
    b"chunked,",
    b",chunked",
    b"gzip",
    b"identity",
    b"",
    b"gzip\r\ntransfer-encoding: chunked",
    b"chunked\r\ntransfer-encoding: chunked",
    b"chunked\r\nx: 1\r\ntransfer-encoding: identity",
]


@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/models", b"/api/v1/models"])
@pytest.mark.parametrize("coding", CODINGS)
def test_a_body_has_no_transfer_coding_but_chunked(gateway: Served, coding: bytes, path: bytes) -> None:
    head = b"POST " + path + b" HTTP/1.1\r\n" + HOST + AUTH + b"transfer-encoding: " + coding + b"\r\n\r\n"
    with gateway.wire() as wire:
        # A second request behind the first one must not be answered: the end of the first one is unknown.
        wire.send(head + b"14\r\n" + BODY + b"\r\n0\r\n\r\n" + GOOD)
        answer = wire.answer()
        assert (answer.status, answer.code, answer.headers["connection"]) == (400, "invalid_http", "close")
        assert wire.rest() == b""
    gateway.works()


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"  CHUNKED"])
def test_chunked_alone_is_good(gateway: Served, coding: bytes) -> None:
    data = chunked(b"14\r\n" + BODY + b"\r\n0\r\n\r\n").replace(b"chunked", coding, 1)
    assert gateway.ask(data).status == 200


def test_http_1_0_has_no_transfer_coding(gateway: Served) -> None:
    data = chunked(b"14\r\n" + BODY + b"\r\n0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    assert gateway.ask(data).code == "invalid_http"


def padded(size: int) -> bytes:
    empty = len(json.dumps({"model": "current", "x": ""}))
    return json.dumps({"model": "current", "x": "x" * (size - empty)}).encode()


@pytest.mark.parametrize(("size", "status"), [(4095, 200), (4096, 200), (4097, 413), (4_000_000, 413)])
@pytest.mark.parametrize("announced", [True, False])
def test_bodies_are_taken_up_to_the_limit(upstream: FakeUpstream, size: int, status: int, announced: bool) -> None:
    body = padded(size)
    data = request(body) if announced else chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (size, body))
    with serve(upstream.path, limits=Limits(max_body_bytes=4096)) as served:
        answer = served.ask(data)
        assert answer.status == status
        if status == 413:
            assert answer.code == "request_too_large"
            assert answer.headers["connection"] == "close"
        served.works()


def test_a_chunked_body_without_end_is_cut_at_the_limit(upstream: FakeUpstream) -> None:
    with serve(upstream.path, limits=Limits(max_body_bytes=4096)) as served, served.wire() as wire:
        wire.send(chunked(b""))
        for _ in range(8):
            wire.send(b"400\r\n%b\r\n" % (b"x" * 1024))
        assert wire.answer().status == 413
        served.works()


@pytest.mark.parametrize("part", range(1, 11))
def test_a_client_that_leaves_early_harms_nobody(gateway: Served, part: int) -> None:
    with gateway.wire() as wire:
        wire.send(GOOD[: len(GOOD) * part // 11])
    gateway.works()
