"""Failures of a command, and its exit codes."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `noa`. Scripts rely on them, so they never change."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    UNAUTHORIZED = 4
    TIMED_OUT = 5
    # 128 + SIGINT, as in a shell.
    INTERRUPTED = 130


class Failure(Exception):
    """Ends the command: `message` goes to standard error, `code` becomes the exit code."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


_BY_STATUS = {
    401: ExitCode.UNAUTHORIZED,
    403: ExitCode.UNAUTHORIZED,
    408: ExitCode.TIMED_OUT,
    504: ExitCode.TIMED_OUT,
}


def from_error(error: object, status: int) -> Failure | None:
    """The Failure of an error body of NOA; None for any other body."""
    body = error.get("error") if isinstance(error, dict) else None
    if not isinstance(body, dict) or not isinstance(body.get("message"), str):
        return None
    message = body["message"]
    if status >= 500 and body.get("request_id"):
        message += f" (request {body['request_id']})"
    return Failure(message, _BY_STATUS.get(status, ExitCode.REFUSED))
