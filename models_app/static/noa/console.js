"use strict";

// On every page: times in the browser's time zone, and buttons that copy the text of another element.
window.noa = (() => {
    const relative = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "long" });
    const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
    const units = [["day", 86_400], ["hour", 3_600], ["minute", 60]];

    function ago(when) {
        const seconds = (Date.now() - when.getTime()) / 1000;
        if (seconds < 10) {
            return "just now";
        }
        if (seconds < 60) {
            return `${Math.floor(seconds)} seconds ago`;
        }
        const [unit, length] = units.find(([, size]) => seconds >= size);
        return relative.format(-Math.floor(seconds / length), unit);
    }

    function moment(when) {
        const thisYear = when.getFullYear() === new Date().getFullYear();
        return when.toLocaleString(undefined, {
            day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit",
            hour12: false, year: thisYear ? undefined : "numeric",
        }).replaceAll(" ", "\u00a0");
    }

    const forms = { ago, moment };

    function updateTimes(within = document) {
        for (const element of within.querySelectorAll("time[data-noa-time]")) {
            const when = new Date(element.dateTime);
            const text = forms[element.dataset.noaTime](when);
            if (element.textContent !== text) {
                element.textContent = text;
            }
            element.title ||= whole.format(when);
        }
    }

    return { ago, moment, updateTimes };
})();

document.addEventListener("DOMContentLoaded", () => {
    noa.updateTimes();
    setInterval(() => {
        if (!document.hidden) {
            noa.updateTimes();
        }
    }, 10_000);
    document.body.addEventListener("htmx:load", (event) => noa.updateTimes(event.detail.elt.parentElement ?? document));
});

document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-noa-copy]");
    if (!button) {
        return;
    }
    const source = document.getElementById(button.dataset.noaCopy);
    try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
    } catch {
        // Browsers allow the clipboard on secure pages only: select the text instead.
        window.getSelection().selectAllChildren(source);
        button.textContent = "Selected: press Ctrl+C";
    }
});

// Django's permission selector labels elements without a role, which screen readers skip.
window.addEventListener("load", () => setTimeout(() => {
    for (const icon of document.querySelectorAll(".help-tooltip[aria-label]")) {
        icon.setAttribute("role", "img");
    }
}));
