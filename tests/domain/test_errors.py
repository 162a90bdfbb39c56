"""The hierarchy of errors."""

from __future__ import annotations

from models_app.domain import errors
from models_app.domain.errors import LoadFailed, NoaError


def every_error() -> list[type[NoaError]]:
    found = [NoaError]
    for kind in found:
        found += kind.__subclasses__()
    return [kind for kind in found if kind.__module__ == errors.__name__]


def test_the_tree_is_drawn_as_it_is() -> None:
    drawing = errors.__doc__ or ""
    for kind in every_error():
        line = next(line for line in drawing.splitlines() if f"{kind.__name__} " in line)
        assert f"{kind.http_status} {kind.default_code}" in line


def test_the_body_has_one_shape() -> None:
    error = LoadFailed("It failed.", stage="load")
    assert error.body("r1") == {
        "error": {
            "message": "It failed.",
            "type": "server_error",
            "code": "load_failed",
            "param": None,
            "retryable": False,
            "details": {"stage": "load"},
            "request_id": "r1",
        }
    }
