"use strict";

(() => {
    const root = document.getElementById("noa-playground");
    if (!root) {
        return;
    }
    const find = (selector, within = root) => within.querySelector(selector);
    const made = (tag, className, text = "") => {
        const element = document.createElement(tag);
        element.className = className;
        element.textContent = text;
        return element;
    };
    const seconds = (milliseconds) => milliseconds < 1000
        ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;

    // The key is stored only here: not in the page, not in the browser's storage.
    let key = null;
    let fetching = null;

    // Concurrent calls of both panes are coalesced.
    function freshKey() {
        fetching ??= fetchKey().finally(() => {
            fetching = null;
        });
        return fetching;
    }

    async function fetchKey() {
        const response = await fetch(root.dataset.key, {
            method: "POST",
            headers: { "X-CSRFToken": find("[name=csrfmiddlewaretoken]").value },
        });
        if (!response.ok) {
            throw new Error("You are signed out, or lack the permission for the playground. Reload the page.");
        }
        const answer = await response.json();
        key = { text: answer.key, endsAt: Date.parse(answer.expires_at) };
    }

    async function currentKey() {
        if (!key || key.endsAt < Date.now() + 30_000) {
            await freshKey();
        }
        return key.text;
    }

    class Pane {
        constructor(element) {
            this.element = element;
            this.talk = find(".noa-talk", element);
            this.select = find("select", element);
            this.empty = find(".noa-talk-empty", element);
            this.messages = [];
            this.stopper = null;
        }

        get isShown() {
            return !this.element.hidden;
        }

        clear() {
            this.messages = [];
            this.talk.replaceChildren(this.empty);
        }

        stop() {
            this.stopper?.abort();
        }

        body() {
            const text = find("[name=system]").value.trim();
            const temperature = find("[name=temperature]").value;
            const body = {
                model: this.select.value,
                messages: [...(text ? [{ role: "system", content: text }] : []), ...this.messages],
                max_tokens: Number(find("[name=max_tokens]").value) || 512,
            };
            return temperature === "" ? body : { ...body, temperature: Number(temperature) };
        }

        scroll() {
            this.talk.scrollTop = this.talk.scrollHeight;
        }

        async send(message) {
            this.empty.remove();
            this.messages.push({ role: "user", content: message });
            this.talk.append(made("p", "noa-said noa-said-user", message));
            const answer = new Answer(this);
            this.stopper = new AbortController();
            await answer.fetch(this.body(), this.stopper.signal);
            this.stopper = null;
            if (answer.content) {
                this.messages.push({ role: "assistant", content: answer.content });
            } else {
                // An unanswered message is removed: two user messages in a row would be refused.
                this.messages.pop();
            }
        }
    }

    class Answer {
        constructor(pane) {
            this.pane = pane;
            this.content = "";
            this.tokens = 0;
            this.box = made("div", "noa-said noa-said-model");
            this.thoughts = made("p", "noa-thoughts");
            this.words = made("p", "noa-words");
            this.facts = made("p", "noa-said-facts noa-subtle", "Waiting for the first token…");
            this.box.append(this.thoughts, this.words, this.facts);
            pane.talk.append(this.box);
            pane.scroll();
        }

        async fetch(body, signal) {
            this.started = performance.now();
            this.first = null;
            this.requestId = `playground-${crypto.randomUUID ? crypto.randomUUID() : `${Date.now()}-${Math.random()}`.replace(".", "")}`;
            const waiting = setInterval(() => this.showWaiting(), 250);
            try {
                const failure = await this.ask(body, signal);
                this.end(failure?.message ?? "");
            } catch (error) {
                this.end(error.name === "AbortError" ? "Stopped." : error.message);
            } finally {
                clearInterval(waiting);
            }
            void this.showRecord();
        }

        async ask(body, signal) {
            const request = async () => noaStream.ask({
                key: await currentKey(), body, requestId: this.requestId, signal, on: this,
            });
            let failure = await request();
            for (let again = 0; failure?.status === 401 && again < 3; again += 1) {
                // Another window has renewed the key, or the new one has not reached every server process yet.
                await freshKey();
                await new Promise((resolve) => setTimeout(resolve, 300 * again));
                failure = await request();
            }
            return failure;
        }

        // Always as text, never as HTML: the output of a model is untrusted.
        add(target, piece) {
            this.first ??= performance.now();
            this.tokens += 1;
            target.append(piece);
            this.pane.scroll();
        }

        text(piece) {
            this.content += piece;
            this.add(this.words, piece);
        }

        thought(piece) {
            this.add(this.thoughts, piece);
        }

        usage(usage) {
            this.counted = usage.completion_tokens;
        }

        showWaiting() {
            const now = performance.now();
            this.facts.textContent = this.first === null
                ? `Waiting for the first token: ${seconds(now - this.started)}. A model that is not loaded is loaded first.`
                : this.speed(now);
        }

        speed(now) {
            const tokens = this.counted ?? this.tokens;
            const rate = (tokens - 1) / ((now - this.first) / 1000);
            const parts = [`first token ${seconds(this.first - this.started)}`];
            if (tokens > 1 && Number.isFinite(rate)) {
                parts.push(`${rate.toFixed(rate < 10 ? 1 : 0)} tokens/s`);
            }
            return [...parts, `${tokens} tokens`].join(" · ");
        }

        end(problem) {
            this.facts.textContent = this.first === null ? "" : this.speed(performance.now());
            if (problem) {
                const tone = problem === "Stopped." ? "noa-quiet" : "noa-bad";
                this.box.append(made("p", `noa-said-problem ${tone}`, problem));
            }
            this.pane.scroll();
        }

        // The access log has the row once its batch is written: a moment later.
        async showRecord() {
            for (let attempt = 0; attempt < 12; attempt += 1) {
                await new Promise((resolve) => setTimeout(resolve, 500));
                const response = await fetch(`${root.dataset.record}?request_id=${this.requestId}`);
                if (response.status === 200) {
                    this.showCost(await response.json());
                    return;
                }
            }
        }

        showCost(row) {
            const parts = [row.first_token !== "–" ? `first token ${row.first_token}` : "", row.speed !== "–" ? row.speed : "",
                row.tokens !== "–" ? `${row.tokens} tokens` : "", `took ${row.duration}`, row.cost];
            this.facts.textContent = parts.filter(Boolean).join(" · ");
            this.facts.dataset.recorded = "yes";
            if (row.url) {
                const link = made("a", "noa-link", "The request");
                link.href = row.url;
                this.facts.append(" · ", link);
            }
            this.pane.scroll();
        }
    }

    const panes = [...root.querySelectorAll("[data-pane]")].map((element) => new Pane(element));
    const form = find(".noa-composer");
    const message = find("[name=message]");
    const button = (name) => find(`[data-do=${name}]`);

    function compare(isOn) {
        panes[1].element.hidden = !isOn;
        button("compare").setAttribute("aria-pressed", String(isOn));
        root.classList.toggle("noa-play-two", isOn);
        const others = [...panes[1].select.options].filter((option) => option.value !== panes[0].select.value);
        if (isOn && panes[1].select.value === panes[0].select.value && others.length) {
            panes[1].select.value = others[0].value;
        }
    }

    function busy(isOn) {
        button("send").hidden = isOn;
        button("stop").hidden = !isOn;
        root.toggleAttribute("aria-busy", isOn);
    }

    form.addEventListener("submit", async (event) => {
        event.preventDefault();
        const text = message.value.trim();
        if (!text || root.hasAttribute("aria-busy")) {
            return;
        }
        message.value = "";
        busy(true);
        await Promise.all(panes.filter((pane) => pane.isShown).map((pane) => pane.send(text)));
        busy(false);
        message.focus();
    });
    message.addEventListener("keydown", (event) => {
        if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            form.requestSubmit();
        }
    });

    const dialog = find("dialog");
    let language = "curl";

    function showCode() {
        const pane = panes[0];
        const body = pane.body();
        if (!pane.messages.length) {
            body.messages.push({ role: "user", content: message.value.trim() || "Hello, who are you?" });
        }
        find("#noa-code-text").textContent = noaCode[language](`${location.origin}/v1`, { ...body, stream: true });
        for (const choice of dialog.querySelectorAll("[data-language]")) {
            choice.setAttribute("aria-pressed", String(choice.dataset.language === language));
        }
    }

    const acts = {
        compare: () => compare(panes[1].element.hidden),
        clear: () => panes.forEach((pane) => pane.clear()),
        stop: () => panes.forEach((pane) => pane.stop()),
        code: () => {
            showCode();
            dialog.showModal();
        },
        "close-code": () => dialog.close(),
    };
    root.addEventListener("click", (event) => {
        const pressed = event.target.closest("[data-do], [data-language]");
        if (pressed?.dataset.language) {
            language = pressed.dataset.language;
            showCode();
        } else if (pressed) {
            acts[pressed.dataset.do]?.();
        }
    });

    if (root.dataset.second) {
        panes[1].select.value = root.dataset.second;
        compare(true);
    }
})();
