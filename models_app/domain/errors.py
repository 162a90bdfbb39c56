"""The hierarchy of errors that NOA raises on purpose.

NoaError                    500 internal_error
├── InvalidRequest          400 invalid_request        the caller must change the request
│   ├── UnsupportedParameter    400 unsupported_parameter
│   ├── ContextLengthExceeded   400 context_length_exceeded
│   └── IdempotencyKeyReused    422 idempotency_key_reused
├── Unauthenticated         401 invalid_api_key
├── PermissionDenied        403 permission_denied
├── NotFound                404 not_found
│   └── ModelNotFound           404 model_not_found
├── Conflict                409 conflict               the present state does not allow it
│   └── Cancelled               409 cancelled              a client or an operator cancelled the job
├── RequestTooLarge         413 request_too_large
├── RequestTimeout          408 request_timeout
├── RateLimited             429 rate_limited
│   └── BudgetExceeded          429 budget_exceeded        used up until the month ends
├── ModelFileError          422 model_file_invalid     the file on disk is not usable
├── EngineError             502 engine_error           a local runner failed
│   ├── LoadFailed              502 load_failed
│   └── RunnerDied              502 runner_died
├── ProviderError           502 provider_error         a remote provider failed
│   ├── ProviderAuthFailed      502 provider_auth_failed
│   └── ProviderRefused         502 provider_error         or the status of the provider
├── InsufficientMemory      507 insufficient_memory
└── Unavailable             503 unavailable            retry later
    ├── ModelNotLoaded          503 model_not_loaded
    ├── Interrupted             503 interrupted            the worker stops; the next one continues
    └── Draining                503 draining

`http_status` is the status of answers at every layer (runner, gateway, API); `code` is stable and documented;
`retryable` is whether the same request can succeed later.
"""

from __future__ import annotations

from typing import Any, ClassVar

# Request timeout, conflict, too early: clients retry them by themselves.
_TEMPORARY_REFUSALS = frozenset({408, 409, 425})


class NoaError(Exception):
    """Base of all errors. `message` is a sentence for people, with what to do."""

    # An error that a provider reports overrides them in the instance.
    http_status: int = 500
    error_type: str = "server_error"
    retryable: bool = False
    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        details: dict[str, Any] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.param = param
        self.details = details or {}
        self.retry_after = retry_after

    def body(self, request_id: str | None = None) -> dict[str, Any]:
        """The JSON error object in the answers of the runner, the gateway and the API."""
        error: dict[str, Any] = {
            "message": self.message,
            "type": self.error_type,
            "code": self.code,
            "param": self.param,
            "retryable": self.retryable,
        }
        if self.details:
            error["details"] = self.details
        if request_id is not None:
            error["request_id"] = request_id
        return {"error": error}


class InvalidRequest(NoaError):
    http_status = 400
    default_code = "invalid_request"
    error_type = "invalid_request_error"


class UnsupportedParameter(InvalidRequest):
    default_code = "unsupported_parameter"


class ContextLengthExceeded(InvalidRequest):
    default_code = "context_length_exceeded"


class IdempotencyKeyReused(InvalidRequest):
    http_status = 422
    default_code = "idempotency_key_reused"


class Unauthenticated(NoaError):
    http_status = 401
    default_code = "invalid_api_key"
    error_type = "authentication_error"


class PermissionDenied(NoaError):
    http_status = 403
    default_code = "permission_denied"
    error_type = "permission_error"


class NotFound(NoaError):
    http_status = 404
    default_code = "not_found"
    error_type = "invalid_request_error"


class ModelNotFound(NotFound):
    default_code = "model_not_found"


class Conflict(NoaError):
    http_status = 409
    default_code = "conflict"
    error_type = "invalid_request_error"


class Cancelled(Conflict):
    default_code = "cancelled"


class RequestTimeout(NoaError):
    http_status = 408
    default_code = "request_timeout"
    error_type = "invalid_request_error"
    retryable = True


class RequestTooLarge(NoaError):
    http_status = 413
    default_code = "request_too_large"
    error_type = "invalid_request_error"


class RateLimited(NoaError):
    http_status = 429
    default_code = "rate_limited"
    error_type = "rate_limit_error"
    retryable = True


class BudgetExceeded(RateLimited):
    """The monthly budget of a key is used up: a retry succeeds only in the next month."""

    default_code = "budget_exceeded"
    error_type = "insufficient_quota"
    retryable = False


class ModelFileError(NoaError):
    http_status = 422
    default_code = "model_file_invalid"
    error_type = "invalid_request_error"


class EngineError(NoaError):
    http_status = 502
    default_code = "engine_error"
    retryable = True


class LoadFailed(EngineError):
    """A model could not be loaded; `stage` is one of check, start, load, template, warm_up."""

    default_code = "load_failed"
    retryable = False

    def __init__(self, message: str, *, stage: str, code: str | None = None) -> None:
        super().__init__(message, code=code, details={"stage": stage})
        self.stage = stage


class RunnerDied(EngineError):
    default_code = "runner_died"


class ProviderError(NoaError):
    http_status = 502
    default_code = "provider_error"
    retryable = True


class ProviderAuthFailed(ProviderError):
    """The provider refuses NOA's credentials, which only an operator can change."""

    default_code = "provider_auth_failed"
    retryable = False


class ProviderRefused(ProviderError):
    """The provider works, and refuses this request, or this model to NOA: the client gets the provider's status."""

    retryable = False

    def __init__(self, message: str, *, status: int, **more: Any) -> None:
        super().__init__(message, **more)
        self.http_status = status
        self.error_type = "invalid_request_error"
        self.retryable = status in _TEMPORARY_REFUSALS


class InsufficientMemory(NoaError):
    http_status = 507
    default_code = "insufficient_memory"


class Unavailable(NoaError):
    http_status = 503
    default_code = "unavailable"
    retryable = True


class ModelNotLoaded(Unavailable):
    default_code = "model_not_loaded"


class Interrupted(Unavailable):
    default_code = "interrupted"


class Draining(Unavailable):
    default_code = "draining"
