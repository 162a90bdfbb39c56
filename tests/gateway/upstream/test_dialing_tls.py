"""Providers over TLS: the certificate must be for the name and from a trusted authority."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.traffic.routing import RemoteEndpoint
from models_app.gateway.upstream.dialing import Dialer
from tests.fakes.openai_server import FakeOpenAI
from tests.gateway.remotes import CHAT, Names, entry, serve_remote

ANSWER = b'{"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}'


class TlsServer:
    """Answers every request with 200, and records the name that its client requested and the negotiated protocol."""

    def __init__(self, certificate: Path) -> None:
        self.asked: list[str | None] = []
        self.protocols: list[str | None] = []
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate)
        self._context.set_alpn_protocols(["h2", "http/1.1"])
        self._context.sni_callback = lambda _, name, __: self.asked.append(name)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tls-server", daemon=True)

    def __enter__(self) -> TlsServer:
        self._thread.start()
        assert self._ready.wait(10), "the TLS server did not listen"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        await asyncio.sleep(0)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.protocols.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(ANSWER), ANSWER)
            )
            await writer.drain()
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for `provider.example` that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "provider.example")])
    now = datetime.datetime.now(datetime.UTC)
    names = [
        x509.DNSName("provider.example"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.9")),
    ]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "provider.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def server(certificate: Path) -> Iterator[TlsServer]:
    with TlsServer(certificate) as running:
        yield running


def ask(server: TlsServer, dialer: Dialer, host: str = "provider.example") -> tuple[int, str]:
    remote = RemoteEndpoint(
        provider="named",
        kind=ProviderKind.OPENAI,
        base_url=f"https://{host}:{server.port}/v1",
        model_id="gpt",
        api_key="sk-test",
        allow_private=True,
    )
    with serve_remote(entry("named:gpt", remote), dialer=dialer) as served:
        answer = served.post({"model": "named:gpt", **CHAT})
        return answer.status, "" if answer.status == 200 else answer.json["error"]["message"]


def trusting(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificate))
    context.set_alpn_protocols(["http/1.1"])
    return context


def test_it_asks_for_the_name_and_speaks_http_1(server: TlsServer, certificate: Path) -> None:
    assert ask(server, Dialer(Names(), trusting(certificate))) == (200, "")
    assert (server.asked, server.protocols) == (["provider.example"], ["http/1.1"])


def test_a_certificate_that_is_not_trusted_is_refused(server: TlsServer) -> None:
    status, message = ask(server, Dialer(Names()))
    assert status == 502
    assert "certificate is not trusted" in message


def test_a_certificate_for_another_name_is_refused(server: TlsServer, certificate: Path) -> None:
    status, message = ask(server, Dialer(Names(), trusting(certificate)), "other.example")
    assert status == 502
    assert "certificate is not trusted" in message


def test_a_server_without_tls_is_refused(certificate: Path) -> None:
    with FakeOpenAI() as plain:
        status, message = ask(plain, Dialer(Names(), trusting(certificate)))  # type: ignore[arg-type]
    assert status == 502
    assert "cannot be reached" in message
