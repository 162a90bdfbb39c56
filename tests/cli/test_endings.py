"""Every exit code, and that only a sentence is printed."""

from __future__ import annotations

import socket

import pytest

from models_app.cli import client
from models_app.cli.failures import ExitCode, Failure
from tests.cli.conftest import Noa
from tests.cli.fake_noa import FakeNoa, error


def test_0_when_it_went_well(noa: Noa) -> None:
    assert noa("ps").code == ExitCode.OK


def test_1_when_the_server_refuses_with_its_request_id_for_faults_of_its_own(fake: FakeNoa, noa: Noa) -> None:
    fake.answers["/api/v1/models/loaded"] = (500, error("internal_error", "It failed.", request_id="r-7"))
    ended = noa("ps")
    assert ended.code == ExitCode.REFUSED
    assert ended.err == "noa: It failed. (request r-7)\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("load",),
        ("ls", "--status", "asleep"),
        ("load", "a:b", "--ctx", "many"),
        ("job", "not-a-uuid"),
        ("ls", "--url", "ftp://example.org"),
        ("ls", "--url", "http://127.0.0.1:99999"),
        ("ls", "--url"),
        ("ls", "--key", "two\nlines"),
    ],
    ids=" ".join,
)
def test_2_for_wrong_usage_before_anything_is_sent(fake: FakeNoa, noa: Noa, arguments: tuple[str, ...]) -> None:
    ended = noa(*arguments)
    assert ended.code == ExitCode.USAGE
    assert ended.err
    assert fake.asked == []


def test_3_when_nobody_listens_and_what_to_do_about_it(noa: Noa) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        ended = noa("ls", url=url)
    assert ended.code == ExitCode.UNREACHABLE
    assert ended.err == (
        f"noa: Cannot reach {url}: connection refused. "
        "Start the server with 'noa serve', or set NOA_URL to its address.\n"
    )


@pytest.mark.parametrize("answer", [(200, b"<html>hello</html>"), (502, b"<html>bad</html>"), (302, b"")])
def test_3_when_something_else_answers(fake: FakeNoa, noa: Noa, answer: tuple[int, bytes]) -> None:
    fake.answers["/api/v1/models/loaded"] = answer
    ended = noa("ps")
    assert ended.code == ExitCode.UNREACHABLE
    assert "is not NOA" in ended.err


def test_4_without_a_key_and_with_a_wrong_one(noa: Noa) -> None:
    for key in (None, "noa_wrong"):
        ended = noa("ls", key=key)
        assert ended.code == ExitCode.UNAUTHORIZED
        assert ended.err == "noa: This API key is not known.\n"


def test_4_when_the_key_lacks_the_scope(fake: FakeNoa, noa: Noa) -> None:
    fake.answers["/api/v1/models/discover"] = (403, error("permission_denied", "It may not."))
    assert noa("discover").code == ExitCode.UNAUTHORIZED


def test_5_when_the_server_takes_a_connection_and_never_answers(fake: FakeNoa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.2)
    fake.held.add("/api/v1/models/loaded")
    with pytest.raises(Failure, match=r"did not answer within 0\.2 s") as caught:
        client.Client(fake.url, None).get("/api/v1/models/loaded")
    assert caught.value.code == ExitCode.TIMED_OUT


def test_5_when_a_model_was_too_slow_for_the_gateway(fake: FakeNoa, noa: Noa) -> None:
    slow = error("upstream_timeout", "The model did not begin in time.")
    fake.answers["/v1/chat/completions"] = (504, slow)
    assert noa("chat", "current", "Hello").code == ExitCode.TIMED_OUT


def test_the_key_is_never_printed(fake: FakeNoa, noa: Noa) -> None:
    for arguments in (("ls", "--key", "noa_my\tsecret"), ("ls", "--key", "noa_wrong_secret")):
        ended = noa(*arguments)
        assert "secret" not in ended.out + ended.err


def test_a_prefix_in_the_url_is_kept(fake: FakeNoa, noa: Noa) -> None:
    fake.answers["/noa/api/v1/models/loaded"] = (200, fake.loaded)
    assert noa("ps", url=f"{fake.url}/noa/").code == ExitCode.OK
