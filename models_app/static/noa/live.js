"use strict";

// Keeps the first page true, by one stream of the server. A page that nobody looks at has none.
(() => {
    const board = document.querySelector("[data-noa-live]");
    if (!board) {
        return;
    }
    const words = board.querySelector("[data-noa-live-state]");
    const dot = words.previousElementSibling;
    let source = null;

    function say(tone, text) {
        dot.className = `noa-dot noa-dot-${tone}`;
        if (words.textContent !== text) {
            words.textContent = text;
        }
    }

    // Whoever moves through the page by keyboard stays where they were.
    function keepingFocus(part, change) {
        const focused = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
        change();
        if (focused) {
            [...part.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus({ preventScroll: true });
        }
    }

    function show({ name, html }) {
        const part = board.querySelector(`[data-noa-part="${name}"]`);
        if (part) {
            keepingFocus(part, () => {
                part.innerHTML = html;
            });
            noa.tellTimes(part);
            htmx.process(part);
        }
    }

    function open() {
        source = new EventSource(board.dataset.noaLive);
        source.addEventListener("open", () => say("good", "Live"));
        source.addEventListener("error", () => say("warn", "The server does not answer: trying again"));
        source.addEventListener("part", (event) => {
            say("good", "Live");
            show(JSON.parse(event.data));
        });
    }

    function close() {
        source?.close();
        source = null;
    }

    document.addEventListener("visibilitychange", () => {
        close();
        if (!document.hidden) {
            open();
        }
    });
    // A browser that keeps the page for its "back" button must not keep the stream.
    window.addEventListener("pagehide", close);
    window.addEventListener("pageshow", (event) => {
        if (event.persisted && !source) {
            open();
        }
    });
    if (!document.hidden) {
        open();
    }
})();
