"use strict";

// Keeps the overview current by one event stream. A hidden page has none.
(() => {
    const board = document.querySelector("[data-noa-live]");
    if (!board) {
        return;
    }
    const words = board.querySelector("[data-noa-live-state]");
    const dot = words.previousElementSibling;
    let source = null;

    function report(tone, text) {
        dot.className = `noa-dot noa-dot-${tone}`;
        if (words.textContent !== text) {
            words.textContent = text;
        }
    }

    // Keyboard focus survives the replacement.
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
            noa.updateTimes(part);
            htmx.process(part);
        }
    }

    function open() {
        source = new EventSource(board.dataset.noaLive);
        source.addEventListener("open", () => report("good", "Live"));
        source.addEventListener("error", () => report("warn", "The server does not answer: reconnecting"));
        source.addEventListener("part", (event) => {
            report("good", "Live");
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
    // A page in the back-forward cache must not hold a stream.
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
