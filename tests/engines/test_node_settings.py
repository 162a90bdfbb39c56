"""The settings of a node: unsafe ones prevent the start."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from models_app.domain.errors import Conflict, InvalidRequest
from models_app.domain.residency.nodes import NodeAddress
from models_app.engines import certificates
from models_app.engines.trust import NodeTrust
from noa_site import node_config
from noa_site.config import Config

SECRET = "sixteen letters!"


def config(**values: object) -> Config:
    return Config(**values)  # type: ignore[arg-type]


def problem(**values: object) -> str:
    with pytest.raises(ValidationError) as failure:
        config(**values)
    return str(failure.value)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> NodeTrust:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


def test_a_machine_alone_needs_none_of_them() -> None:
    alone = config()
    assert (alone.node, alone.node_listen, alone.node_address) == ("local", None, None)


def test_without_tls_a_node_listens_on_loopback_only_and_with_a_secret() -> None:
    assert config(node_secret=SECRET, node_listen="127.0.0.1:8790").node_address == "127.0.0.1:8790"
    assert "only over TLS" in problem(node_secret=SECRET, node_listen="10.0.0.2:8790")
    assert "only over TLS" in problem(node_secret=SECRET, node_listen="gpu1:8790")
    assert "NOA_NODE_SECRET" in problem(node_listen="127.0.0.1:8790")
    assert "at least 16" in problem(node_secret="short", node_listen="127.0.0.1:8790")


def test_with_tls_a_node_needs_an_authority_or_a_secret(files: NodeTrust) -> None:
    own = {"node_cert": files.certificate, "node_key": files.key, "node_listen": "10.0.0.2:8790"}
    assert "anyone could use" in problem(**own)
    assert config(**own, node_secret=SECRET).node_address == "10.0.0.2:8790"
    assert config(**own, node_ca=files.authority).node_trust.authority == files.authority


def test_a_certificate_that_cannot_be_used_is_named(files: NodeTrust) -> None:
    wrong = {"node_cert": files.key, "node_key": files.certificate, "node_secret": SECRET}
    assert "cannot be used" in problem(**wrong, node_listen="10.0.0.2:8790")


def test_an_address_for_everybody_is_none_to_be_reached_at(files: NodeTrust, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "node_cert": files.certificate,
        "node_key": files.key,
        "node_ca": files.authority,
        "node_listen": "0.0.0.0:8790",
    }
    assert config(**given, node_address="gpu1.lan:9000").node_address == "gpu1.lan:9000"
    monkeypatch.setattr(node_config, "_own_address", lambda: None)
    assert "not an address that other nodes can connect to" in problem(**given)
    monkeypatch.setattr(node_config, "_own_address", lambda: "172.18.0.4")
    assert config(**given).node_address == "172.18.0.4:8790"


def test_a_node_may_take_the_name_of_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "GPU1")
    assert config(node="@hostname").node == "gpu1"
    assert "cannot be the name" in problem(node="Two Words")


@pytest.mark.parametrize("text", ["", "8790", "host:", "host:99999", "a b:1", "http://x:1", "[::1]", "h:1:2", "h:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        NodeAddress.listening(text, is_tls=True)


@pytest.mark.parametrize("text", ["https://gpu1:8790", "https://[fd00::2]:1", "http://127.0.0.1:9"])
def test_an_address_is_read_as_it_is_written(text: str) -> None:
    assert str(NodeAddress.parse(text)) == text


@pytest.mark.parametrize("text", ["http://10.0.0.2:8790", "ftp://h:1", "gpu1:8790", "http://h:1"])
def test_an_address_that_is_open_to_listeners_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        NodeAddress.parse(text)


def test_certificates_are_never_overwritten(tmp_path: Path) -> None:
    made = certificates.make(tmp_path)
    assert made.key is not None
    before = made.key.read_bytes()
    assert made.key.stat().st_mode & 0o077 == 0
    with pytest.raises(Conflict):
        certificates.make(tmp_path)
    assert made.key.read_bytes() == before
