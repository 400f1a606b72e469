"""Authority: the certificates of a run, made by ``gala keys new`` or derived from a secret."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gala.errors import UserError
from gala.files import commands
from gala.files.bounded import read_bounded
from gala.launch.secret import require_private, write_new

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
    from cryptography.x509.oid import NameOID
except ModuleNotFoundError:
    raise UserError(
        "keys and secrets need the package cryptography", hint=commands.install("keys")
    ) from None

AUTHORITY = "authority.pem"
AUTHORITY_KEY = "authority.key"
MAX_PEM_BYTES = 2**16
EVERYBODY = "gala:agent:any"
"""Name in the one certificate of all who share a secret."""

_SINCE = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_UNTIL = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)
"""Clocks of hosts may be wrong by anything; a run's keys are thrown away with the run."""


def name_of(rank: int) -> str:
    """Name in the certificate of agent ``rank``."""
    return f"gala:agent:{rank}"


def file_of(rank: int) -> str:
    """File with key and certificate of agent ``rank``."""
    return f"agent_{rank:02d}.pem"


@dataclass(frozen=True)
class Certified:
    """Key and certificate of an agent, and the authority that it believes.

    Attributes:
        key: of the agent.
        certificate: of the agent.
        authority: of the run.
    """

    key: Ed25519PrivateKey
    certificate: x509.Certificate
    authority: x509.Certificate

    @property
    def authority_pem(self) -> str:
        """What connections are checked against."""
        return self.authority.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def private_pem(self) -> bytes:
        """Key and certificate of the agent; secret."""
        return _private_pem(self.key) + self.certificate.public_bytes(serialization.Encoding.PEM)

    def names(self, certificate: bytes, rank: int) -> bool:
        """Whether a certificate (DER) of the run is that of agent ``rank``."""
        return bool(_names(certificate) & {name_of(rank), EVERYBODY})

    def sign(self, text: bytes) -> tuple[bytes, bytes]:
        """A signature of ``text``, and the certificate (DER) that it belongs to."""
        certificate = self.certificate.public_bytes(serialization.Encoding.DER)
        return self.key.sign(text), certificate

    def has_signed(
        self, text: bytes, signature: bytes, certificate: bytes, rank: int | None
    ) -> bool:
        """Whether agent ``rank`` (None: any of the run) has signed ``text``."""
        try:
            found = x509.load_der_x509_certificate(certificate)
            found.verify_directly_issued_by(self.authority)
            key = found.public_key()
            if not isinstance(key, Ed25519PublicKey):
                return False
            key.verify(signature, text)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return rank is None or self.names(certificate, rank)


@lru_cache(maxsize=64)
def _names(certificate: bytes) -> frozenset[str]:
    try:
        extensions = x509.load_der_x509_certificate(certificate).extensions
        found = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (ValueError, x509.ExtensionNotFound):
        return frozenset()
    return frozenset(found.value.get_values_for_type(x509.UniformResourceIdentifier))


def _derived(secret: bytes, purpose: str) -> bytes:
    """32 bytes for one purpose; a guess at ``secret`` costs 16 MiB and some 50 ms."""
    return hashlib.scrypt(secret, salt=f"gala {purpose}".encode(), n=2**14, r=8, p=1, dklen=32)


@lru_cache(maxsize=2)
def derive(secret: bytes) -> Certified:
    """The authority and the one certificate of all who know ``secret``: always the same."""
    root = Ed25519PrivateKey.from_private_bytes(_derived(secret, "authority"))
    key = Ed25519PrivateKey.from_private_bytes(_derived(secret, "agent"))
    authority = _certificate(root, root, "gala shared secret", None, serial=1)
    return Certified(key, _certificate(root, key, "agent", EVERYBODY, serial=2), authority)


def read(folder: Path, rank: int) -> Certified:
    """What agent ``rank`` finds in a folder of keys.

    Raises:
        UserError: something is missing, damaged or open to others.
    """
    own = folder / file_of(rank)
    require_private(own)
    text = read_bounded(own, MAX_PEM_BYTES)
    try:
        authority = x509.load_pem_x509_certificate(read_bounded(folder / AUTHORITY, MAX_PEM_BYTES))
        certificate = x509.load_pem_x509_certificate(text)
        key = serialization.load_pem_private_key(text, None)
        assert isinstance(key, Ed25519PrivateKey), "made by gala keys new"
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, AssertionError, InvalidSignature):
        hint = "gala keys new FOLDER --agents N makes the keys of a run"
        raise UserError("is no key of this authority", file=own, hint=hint) from None
    certified = Certified(key, certificate, authority)
    if not certified.names(certificate.public_bytes(serialization.Encoding.DER), rank):
        raise UserError(f"is not the key of agent {rank}", file=own)
    return certified


def write(folder: Path, agents: int) -> list[Path]:
    """Make an authority and a certificate for each agent; returns the files.

    Raises:
        UserError: the folder holds keys, or cannot be written.
    """
    root = Ed25519PrivateKey.generate()
    authority = _certificate(root, root, "gala run", None)
    public = authority.public_bytes(serialization.Encoding.PEM)
    made: dict[Path, tuple[bytes, int]] = {
        folder / AUTHORITY_KEY: (_private_pem(root), 0o600),
        folder / AUTHORITY: (public, 0o644),
    }
    for rank in range(agents):
        key = Ed25519PrivateKey.generate()
        certificate = _certificate(root, key, f"agent {rank}", name_of(rank))
        pem = _private_pem(key) + certificate.public_bytes(serialization.Encoding.PEM)
        made[folder / file_of(rank)] = pem, 0o600
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, (text, mode) in made.items():
            write_new(path, text, mode)
    except FileExistsError as error:
        raise UserError("is there already", file=str(error.filename), hint="a new folder") from None
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", file=folder) from None
    return list(made)


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _certificate(
    root: Ed25519PrivateKey,
    key: Ed25519PrivateKey,
    subject: str,
    name: str | None,
    *,
    serial: int | None = None,
) -> x509.Certificate:
    """A certificate of ``key`` by the authority ``root``; without ``name``, of itself."""
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gala authority")])
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(issuer if name is None else own)
        .public_key(key.public_key())
        .serial_number(serial if serial is not None else x509.random_serial_number())
        .not_valid_before(_SINCE)
        .not_valid_after(_UNTIL)
        .add_extension(x509.BasicConstraints(ca=name is None, path_length=None), critical=True)
    )
    if name is not None:
        uri = x509.UniformResourceIdentifier(name)
        builder = builder.add_extension(x509.SubjectAlternativeName([uri]), critical=False)
    return builder.sign(root, None)
