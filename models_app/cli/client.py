"""HTTP client of one NOA server. `http.client`, because it imports fast and ignores proxy variables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from models_app.cli.failures import ExitCode, Failure, from_error

# A reachable server accepts a connection at once.
CONNECT_SECONDS = 5.0
# The management API answers in milliseconds; a machine that swaps needs much longer.
ANSWER_SECONDS = 30.0
# A little more than the gateway's own timeout, so that its error arrives first.
CHAT_SECONDS = 610.0


class Client:
    """Every method raises Failure with a message and its exit code."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url.rstrip("/")
        parts = _checked_url(self.url)
        self._secure = parts.scheme == "https"
        self._host, self._port, self._prefix = parts.hostname or "", parts.port, parts.path
        self._headers = {"Accept": "application/json", "User-Agent": "noa"}
        if key:
            self._headers["Authorization"] = f"Bearer {_checked_key(key)}"

    def get(self, path: str, query: dict[str, Any] | None = None) -> Any:
        """The JSON at `path`; a list in `query` repeats its name."""
        text = urlencode({k: v for k, v in (query or {}).items() if v not in (None, [])}, doseq=True)
        return self._json("GET", f"{path}?{text}" if text else path, None, ANSWER_SECONDS)

    def post(self, path: str, body: dict[str, Any], seconds: float = ANSWER_SECONDS) -> Any:
        return self._json("POST", path, body, seconds)

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        return self._json("PATCH", path, body, ANSWER_SECONDS)

    def events(self, path: str, body: dict[str, Any]) -> Iterator[str]:
        """The data of each server-sent event, as it arrives."""
        with self._request("POST", path, body, CHAT_SECONDS) as response:
            for line in response:
                if line.startswith(b"data:"):
                    yield line[5:].strip().decode("utf-8", "replace")

    def _json(self, method: str, path: str, body: dict[str, Any] | None, seconds: float) -> Any:
        with self._request(method, path, body, seconds) as response:
            raw = response.read()
        try:
            return json.loads(raw)
        except ValueError:
            raise self._not_noa("its answer is not JSON") from None

    @contextmanager
    def _request(self, method: str, path: str, body: dict[str, Any] | None, seconds: float) -> Iterator[HTTPResponse]:
        connection = self._connect(seconds)
        try:
            data = None if body is None else json.dumps(body).encode()
            kind = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, self._prefix + path, data, self._headers | kind)
            response = connection.getresponse()
            if response.status >= 300:
                raise self._refusal(response)
            yield response
        except TimeoutError:
            raise Failure(f"{self.url} did not answer within {seconds:g} s.", ExitCode.TIMED_OUT) from None
        except (OSError, HTTPException) as error:
            raise Failure(f"The connection to {self.url} failed: {_words(error)}.", ExitCode.UNREACHABLE) from None
        finally:
            connection.close()

    def _connect(self, seconds: float) -> HTTPConnection:
        kind = HTTPSConnection if self._secure else HTTPConnection
        connection = kind(self._host, self._port, timeout=CONNECT_SECONDS)
        try:
            connection.connect()
        except OSError as error:
            raise Failure(
                f"Cannot reach {self.url}: {_words(error)}. "
                "Start the server with 'noa serve', or set NOA_URL to its address.",
                ExitCode.UNREACHABLE,
            ) from None
        connection.sock.settimeout(seconds)
        return connection

    def _refusal(self, response: HTTPResponse) -> Failure:
        try:
            body = json.loads(response.read())
        except ValueError:
            body = None
        return from_error(body, response.status) or self._not_noa(
            f"it answered {response.status} without NOA's error body"
        )

    def _not_noa(self, why: str) -> Failure:
        return Failure(f"The server at {self.url} is not NOA: {why}. Check NOA_URL.", ExitCode.UNREACHABLE)


def key_path(key: str) -> str:
    """The path of one model in the API."""
    return "/api/v1/models/" + quote(key, safe="/:@")


def _checked_url(url: str) -> Any:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise Failure(
            f"'{url}' is not a server URL. Use one like http://127.0.0.1:8000.",
            ExitCode.USAGE,
        )
    return parts


def _checked_key(key: str) -> str:
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise Failure(
            "The API key contains characters that are invalid in a key. Copy it again, without anything around it.",
            ExitCode.USAGE,
        )
    return key


def _words(error: OSError | HTTPException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_SECONDS:g} s"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)[:1].lower() + str(text)[1:]
