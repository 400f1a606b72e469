"""Credentials: how an agent proves that it belongs to a run, and what it believes.

One way for both kinds of proof: mutual TLS 1.3 with certificates of an authority of the run.
``gala keys new`` makes the authority and a certificate for each agent. With a shared secret every
agent derives the same authority from it (scrypt, RFC 7914) and one certificate for all: whoever
knows the secret belongs to the run, as any of its agents. What goes through others' hands, the
store's or another agent's, is signed (Ed25519, RFC 8032) with the key of the certificate.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gala.errors import UserError
from gala.launch.secret import read_secret, require_long

if TYPE_CHECKING:
    from gala.launch.authority import Certified

SECRET_VARIABLE = "GALA_SECRET"
"""The shared secret of a run itself."""


@dataclass(frozen=True, kw_only=True)
class Security:
    """What the user chose for the way between hosts.

    Attributes:
        secret_file: file with the shared secret of the run.
        keys: folder that ``gala keys new`` made, or the part of it that this host needs.
        insecure: whether anybody who reaches an agent may speak to it.
        listen: HOST or HOST:PORT to listen at.
    """

    secret_file: Path | None = None
    keys: Path | None = None
    insecure: bool = False
    listen: str | None = None

    def credentials(
        self, rank: int, environment: Mapping[str, str] = os.environ
    ) -> Credentials | None:
        """Those of agent ``rank``; None where the user gave nothing to prove anything with.

        Raises:
            UserError: they cannot be read, are open to others, or contradict each other.
        """
        secret = environment.get(SECRET_VARIABLE)
        given = [self.secret_file is not None, self.keys is not None, secret is not None]
        if sum(given) > 1:
            raise UserError(
                f"--secret-file, --keys and {SECRET_VARIABLE} are three ways to say who belongs to "
                "the run",
                hint="take one",
            )
        if not any(given):
            return None
        from gala.launch import authority

        if self.keys is not None:
            return Credentials(authority.read(self.keys, rank))
        if self.secret_file is not None:
            return Credentials(authority.derive(read_secret(self.secret_file)))
        assert secret is not None
        return Credentials(authority.derive(require_long(secret.encode(), SECRET_VARIABLE)))


OPEN = Security()
"""Nothing was chosen."""


class Credentials:
    """Proof of one agent; a guard of :mod:`gala.gossip.tcp`.

    Args:
        certified: key and certificate of the agent, and the authority it believes.
    """

    safe = True

    def __init__(self, certified: Certified) -> None:
        self._certified = certified
        self._server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._client.check_hostname = False  # who it is stands in the certificate, not where
        for context in (self._server, self._client):
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=certified.authority_pem)
            with _as_file(certified.private_pem) as path:
                context.load_cert_chain(path)
        self._server.num_tickets = 0  # nothing of a connection outlives it

    def as_client(self, sock: socket.socket) -> socket.socket:
        """The dialled connection ``sock``, encrypted, with a member of the run at its end.

        Raises:
            OSError: it is none; ``sock`` is closed.
        """
        return self._client.wrap_socket(sock)

    def as_server(self, sock: socket.socket) -> socket.socket:
        """The accepted connection ``sock``, encrypted; who is there is asked at the first look.

        Raises:
            OSError: it is over already.
        """
        return self._server.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def may_be(self, sock: socket.socket, rank: int) -> bool:
        """Whether the certificate at the other end is that of agent ``rank``."""
        assert isinstance(sock, ssl.SSLSocket), "made by as_client or as_server"
        certificate = sock.getpeercert(binary_form=True)
        return certificate is not None and self._certified.names(certificate, rank)

    def sign(self, text: bytes) -> str:
        """A signature of ``text``, with the certificate that it belongs to."""
        signature, certificate = self._certified.sign(text)
        return f"{_letters(signature)}.{_letters(certificate)}"

    def is_signed(self, text: bytes, signature: str, rank: int | None) -> bool:
        """Whether agent ``rank`` (None: any agent of the run) has signed ``text``."""
        signed, _, certificate = signature.partition(".")
        try:
            parts = [base64.b64decode(each, validate=True) for each in (signed, certificate)]
        except ValueError:
            return False
        return self._certified.has_signed(text, parts[0], parts[1], rank)

    def seal(self, key: str, value: bytes) -> bytes:
        """``value`` as it is put into a store under ``key``."""
        letters = _letters(value)
        return json.dumps([letters, self.sign(_sealed(key, letters))]).encode()

    def open(self, key: str, sealed: bytes, rank: int | None) -> bytes | None:
        """What agent ``rank`` (None: any) has put into a store under ``key``; else None."""
        try:
            letters, signature = json.loads(sealed.decode("ascii"))
            if not self.is_signed(_sealed(key, letters), signature, rank):
                return None
            return base64.b64decode(letters, validate=True)
        except (ValueError, TypeError, AttributeError, RecursionError):
            return None


def _sealed(key: str, letters: str) -> bytes:
    return f"store {key} {letters}".encode()


def _letters(data: bytes) -> str:
    return base64.b64encode(data).decode()


@contextlib.contextmanager
def _as_file(text: bytes) -> Iterator[str]:
    """A path under which the ssl module can read ``text``; in memory where that can be."""
    if hasattr(os, "memfd_create"):
        with open(os.memfd_create("gala-keys"), "r+b") as file:
            file.write(text)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with tempfile.NamedTemporaryFile() as named:  # mode 0600
        named.write(text)
        named.flush()
        yield named.name
