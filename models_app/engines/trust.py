"""Authentication between the nodes of one NOA: certificates of a private authority, a shared secret, or both."""

from __future__ import annotations

import hmac
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from models_app.domain.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class NodeTrust:
    """`certificate` and `key` are this machine's own, `authority` signed those of all machines; all are PEM files.

    Clients of a node's runners must present a certificate of the authority, or the secret, or both where both are
    configured.
    """

    secret: str = field(default="", repr=False)
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @property
    def authorization(self) -> str:
        """The value of the Authorization header; empty without a secret."""
        return f"Bearer {self.secret}" if self.secret else ""

    def accepts(self, authorization: str) -> bool:
        """Whether a request is authorized; its certificate was already checked in the TLS handshake."""
        if not self.secret:
            return True
        # Constant time, so that it does not reveal how many characters of the secret match.
        return hmac.compare_digest(authorization.encode("utf-8", "surrogatepass"), self.authorization.encode())

    def check(self, *, is_loopback: bool) -> None:
        """Raises InvalidRequest when this configuration is unsafe for access from other machines."""
        if not is_loopback and self.certificate is None:
            raise InvalidRequest(
                "Runners are reached from other machines only over TLS: set NOA_NODE_CERT and NOA_NODE_KEY, or listen"
                " on 127.0.0.1."
            )
        if not self.secret and (self.certificate is None or self.authority is None):
            raise InvalidRequest(
                "Without authentication anyone could use this node's runners: set NOA_NODE_SECRET, or NOA_NODE_CA with"
                " NOA_NODE_CERT and NOA_NODE_KEY."
            )

    def server_context(self) -> ssl.SSLContext | None:
        """For the node's proxy; None without a certificate. Raises OSError (ssl.SSLError is one) for unusable files."""
        if self.certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.certificate, self.key)
        if self.authority is not None:
            context.load_verify_locations(self.authority)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self) -> ssl.SSLContext:
        """For clients of nodes. Raises OSError for unusable files."""
        context = ssl.create_default_context(cafile=self.authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        return context
