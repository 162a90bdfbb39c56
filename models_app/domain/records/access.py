"""One row per request through the gateway."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """The web process that recorded a batch, and the numbers of requests that it had recorded and lost by then.

    recorder  its id, with which the ids of its requests begin
    """

    recorder: str
    node: str
    pid: int
    started_at: float  # Unix seconds
    recorded: int = 0
    # Records that did not fit into the file, and waited in memory.
    unspooled: int = 0
    dropped: int = 0


@dataclass(slots=True)
class AccessRecord:
    """The gateway's record of one request. Durations are milliseconds; None means unknown, not 0."""

    request_id: str  # unique, made here
    started_at: float  # Unix seconds
    endpoint: str
    key_id: str = ""
    requested_model: str = ""
    route: str = ""
    model_key: str = ""
    instance_id: str = ""
    version: str = ""  # of the model that answered: the first 12 digits of its file's sha256
    node: str = ""  # whose runner answered; empty for a provider
    stream: bool = False
    status: int = 0
    error_code: str = ""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None  # part of the completion tokens
    cache_write_tokens: int | None = None
    cost_usd: float | None = None  # None is "no price known"
    provider: str = ""
    ttft_ms: float | None = None
    duration_ms: float = 0.0
    # Parts of the duration: waiting for the concurrency limit, and for the load of the model. None is "did not wait".
    queue_ms: float | None = None
    load_wait_ms: float | None = None
    attempts: int = 0
    client: str = ""
    client_request_id: str = ""  # the client's X-Request-ID; not necessarily unique
    # What the client states of itself, each '' if it states nothing: see `caller`.
    end_user: str = ""
    session: str = ""
    tags: str = ""  # joined by commas
    # The trace that the request belongs to (W3C Trace Context): 32 and 16 hexadecimal digits.
    trace_id: str = ""
    parent_id: str = ""
    trace_state: str = ""
    is_sampled: bool = True
    # True when the client left, or the upstream broke, before the answer was whole.
    aborted: bool = False
    # True when a server did not state its counts: tokens and cost are then estimates, too high rather than too low.
    estimated: bool = False
    # More than 1: the number of similar refused requests that this record sums up; durations are then averages.
    requests: int = 1

    @property
    def public_id(self) -> str:
        """The id in the answer to the client: the client's own, if it sent one."""
        return self.client_request_id or self.request_id
