"use strict";

// Requests one answer of the gateway and reports it as it is streamed.
window.noaStream = (() => {
    // The server can be below a path of another one, as its static files are.
    const base = new URL(document.currentScript.src).pathname.split("/static/")[0];

    // The gateway's error bodies contain a message.
    const refusal = async (response) => {
        try {
            return (await response.json()).error.message;
        } catch {
            return `The server answered ${response.status}.`;
        }
    };

    // Server-sent events end at an empty line, wherever the network cuts the bytes.
    async function* events(body) {
        const reader = body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = "";
        while (true) {
            const { done, value } = await reader.read();
            if (done) {
                return;
            }
            const lines = (rest + value).split("\n");
            rest = lines.pop();
            for (const line of lines) {
                if (line.startsWith("data:")) {
                    yield line.slice(5).trim();
                }
            }
        }
    }

    // Calls on.text(string), on.thought(string), on.usage({completion_tokens, …}). Returns null, or {status, message} of the
    // failure.
    async function ask({ key, body, requestId, signal, on }) {
        const response = await fetch(`${base}/v1/chat/completions`, {
            method: "POST",
            signal,
            headers: {
                "Authorization": `Bearer ${key}`,
                "Content-Type": "application/json",
                "X-Request-ID": requestId,
            },
            body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
        });
        if (!response.ok) {
            return { status: response.status, message: await refusal(response) };
        }
        for await (const data of events(response.body)) {
            if (data === "[DONE]") {
                return null;
            }
            const chunk = JSON.parse(data);
            if (chunk.error) {
                return { status: 200, message: chunk.error.message };
            }
            if (chunk.usage) {
                on.usage(chunk.usage);
            }
            const delta = chunk.choices?.[0]?.delta;
            if (delta?.reasoning_content) {
                on.thought(delta.reasoning_content);
            }
            if (delta?.content) {
                on.text(delta.content);
            }
        }
        return { status: 200, message: "The answer was cut off." };
    }

    return { ask };
})();
