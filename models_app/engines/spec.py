"""The protocol between a supervisor and a runner. Both sides import this module, and no other of each other's.

A runner is started as `<runner command> --spec JSON --ready-fd N`:

* `--spec` is a `RunnerSpec` as JSON.
* `--ready-fd` is the write end of a pipe. The runner writes one JSON object a line:
  `{"event": "stage", "stage": "load", "progress": 0.5}` while it starts (stages in `STAGES`, progress 0 to 1), then
  `{"event": "ready", "pid": 1, "n_ctx": 8192, "slots": 16,
   "memory": {"rss_bytes": …, "model_bytes": …, "kv_bytes": …}}`
  or `{"event": "failed", "stage": "load", "message": "…"}`, and closes the pipe. End-of-file before either
  means that it died.
* Standard input is the lifeline: at end-of-file the runner exits at once.
* SIGTERM drains and exits; a second one exits at once. The runner is the leader of its own session.
* Standard error carries the log.

On its unix socket a ready runner answers HTTP/1.1 (keep-alive):

    GET  /health             {"state": "ready" | "draining", "in_flight": 0, "queued": 0, "pid": 1,
                              "idle_seconds": 1.5,
                              "slots": {"total": 16, "busy": 0}, "memory": {…as above…},
                              "counters": {"requests": 0, "steps": 0, "cancelled": 0, "prompt_tokens": 0,
                                           "completion_tokens": 0}}
    POST /drain?wait=SECONDS stop accepting requests; answers {"in_flight": n} at 0 or after the wait
    POST /drain?if_idle=1    the same, but only if no request is in flight; answers {"draining": true, "in_flight": 0}
    POST /v1/chat/completions · /v1/completions · /v1/embeddings    OpenAI's wire format; with ?clip=1 an answer that
                             would be longer than the rest of the context ends there
    POST /v1/chat/tokens     a chat's request; answers {"input_tokens": n}

The header `X-NOA-Request` is the gateway's own id of a request. The file `.work` beside the socket names requests on
which threads work alone: see `models_app.engines.marks`.

While it drains, inference answers 503 with code `draining`, `retryable` true: nothing was computed, retry on another
instance.

`in_flight` counts a request from its acceptance to the last byte of its answer. `idle_seconds` counts from the last
request's end; with `?probe=1` a request does not count as use. Streams end with one SSE comment
`: noa {"usage": {…}}` before `[DONE]`, so that the gateway can count tokens when the client did not request usage.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from models_app.engines.confinement.confining import Mode

STAGES = ("start", "load", "template", "warm_up")


@dataclass(frozen=True, slots=True)
class RunnerSpec:
    """The parameters of a runner. `model` is the name in its answers, `fingerprint` their
    `system_fingerprint`. Numbers are final: a runner chooses none itself."""

    instance_id: str
    model: str
    fingerprint: str
    path: str
    socket: str
    n_ctx: int
    slots: int
    n_batch: int
    n_threads: int
    n_gpu_layers: int
    confine: Mode = Mode.AUTO

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RunnerSpec:
        data: dict[str, Any] = json.loads(text)
        return cls(**data | {"confine": Mode(data["confine"])})
