"""Credentials over real connections: who belongs to the run gets in, and nobody else."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gala.errors import UserError
from gala.launch import authority, keys_command
from gala.launch.authority import derive, file_of
from gala.launch.credentials import SECRET_VARIABLE, Credentials, Security

SECRET = b"correct horse battery staple"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "keys"
    assert keys_command.main(["new", str(folder), "--agents", "3"]) == 0
    return folder


def of_keys(folder: Path, rank: int) -> Credentials:
    found = Security(keys=folder).credentials(rank, {})
    assert found is not None
    return found


def talk(server: Credentials, client: Credentials) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """Both ends of a connection; raises what the client, or else the server, runs into."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    theirs.settimeout(20)
    made: list[ssl.SSLSocket | OSError] = []

    def serve() -> None:
        try:
            end = server.as_server(theirs)
            assert isinstance(end, ssl.SSLSocket)
            try:
                end.do_handshake()
            except OSError:
                end.close()
                raise
            made.append(end)
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        end = client.as_client(ours)
    except OSError:
        thread.join()
        for each in made:
            if isinstance(each, ssl.SSLSocket):
                each.close()
        raise
    thread.join()
    if isinstance(made[0], OSError):
        end.close()
        raise made[0]
    assert isinstance(end, ssl.SSLSocket)
    return made[0], end


def test_who_shares_the_secret_gets_in_as_anybody() -> None:
    server, client = (Credentials(derive(SECRET)) for _ in range(2))
    theirs, ours = talk(server, client)
    with theirs, ours:
        assert ours.version() == "TLSv1.3"
        ours.sendall(b"words")
        assert theirs.recv(5) == b"words"
        assert server.may_be(theirs, 0) and client.may_be(ours, 7)


def test_a_certificate_is_of_one_agent(keys: Path) -> None:
    theirs, ours = talk(of_keys(keys, 0), of_keys(keys, 2))
    with theirs, ours:
        assert of_keys(keys, 0).may_be(theirs, 2) and not of_keys(keys, 0).may_be(theirs, 1)
        assert of_keys(keys, 2).may_be(ours, 0) and not of_keys(keys, 2).may_be(ours, 20)


@pytest.mark.parametrize("side", ["server", "client"])
def test_another_secret_opens_nothing(side: str) -> None:
    ours, theirs = Credentials(derive(SECRET)), Credentials(derive(b"another secret, as long"))
    with pytest.raises(ssl.SSLError):
        talk(ours, theirs) if side == "server" else talk(theirs, ours)


def test_another_run_opens_nothing(keys: Path, tmp_path: Path) -> None:
    authority.write(tmp_path / "other", 3)
    with pytest.raises(ssl.SSLError):
        talk(of_keys(keys, 0), of_keys(tmp_path / "other", 1))


def test_signatures_are_of_an_agent_a_key_and_a_value(keys: Path) -> None:
    one, two = of_keys(keys, 1), of_keys(keys, 2)
    sealed = one.seal("plan", b"value")
    assert two.open("plan", sealed, 1) == two.open("plan", sealed, None) == b"value"
    assert two.open("plan", sealed, 2) is None, "agent 1 cannot speak for agent 2"
    assert two.open("other", sealed, 1) is None, "a value stays where it was put"
    for place in range(0, len(sealed), 7):
        damaged = bytearray(sealed)
        damaged[place] ^= 1
        assert two.open("plan", bytes(damaged), 1) in (None, b"value")
    assert Credentials(derive(SECRET)).open("plan", sealed, None) is None
    for nonsense in (b"", b"[]", b'["", ""]', b'["x", 5]', b'[1, "a.b"]', b"[" * 100_000, b"\xff"):
        assert two.open("plan", nonsense, None) is None


def test_a_certificate_that_is_made_up_signs_nothing(keys: Path, tmp_path: Path) -> None:
    """A rogue authority has the same names; its signature is good, its certificate is not."""
    authority.write(tmp_path / "rogue", 3)
    rogue = of_keys(tmp_path / "rogue", 0).sign(b"text")
    good = of_keys(keys, 0).sign(b"text")
    mixed = f"{rogue.partition('.')[0]}.{good.partition('.')[2]}"
    one = of_keys(keys, 1)
    assert one.is_signed(b"text", good, 0)
    assert not one.is_signed(b"text", rogue, 0) and not one.is_signed(b"text", mixed, 0)


def write(path: Path, text: bytes = SECRET, mode: int = 0o600) -> Path:
    path.write_bytes(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("security", "environment", "words"),
    [
        (lambda f: Security(secret_file=f / "none"), {}, "cannot be read"),
        (lambda f: Security(secret_file=write(f / "s", mode=0o640)), {}, "open to others"),
        (lambda f: Security(secret_file=write(f / "s", b"short\n")), {}, "at least 16 bytes"),
        (lambda f: Security(secret_file=f), {}, "is no file"),
        (lambda f: Security(), {SECRET_VARIABLE: "short"}, "GALA_SECRET"),
        (lambda f: Security(secret_file=f / "s"), {SECRET_VARIABLE: "x" * 20}, "take one"),
        (lambda f: Security(keys=f), {}, "agent_01.pem"),
        (lambda f: Security(keys=write(f / file_of(1)).parent), {}, "authority.pem: no such file"),
    ],
)
def test_credentials_that_are_none_are_a_line(
    tmp_path: Path,
    security: Callable[[Path], Security],
    environment: dict[str, str],
    words: str,
) -> None:
    with pytest.raises(UserError, match=words):
        security(tmp_path).credentials(1, environment)


def test_keys_of_another_agent_are_a_line(keys: Path, tmp_path: Path) -> None:
    for name, text in (
        (authority.AUTHORITY, (keys / authority.AUTHORITY).read_bytes()),
        (file_of(1), (keys / file_of(0)).read_bytes()),
        (file_of(2), b"-----BEGIN PRIVATE KEY-----\n"),
    ):
        write(tmp_path / name, text)
    with pytest.raises(UserError, match="is not the key of agent 1"):
        Security(keys=tmp_path).credentials(1, {})
    with pytest.raises(UserError, match="is no key of this authority"):
        Security(keys=tmp_path).credentials(2, {})


def test_what_is_secret_is_written_for_its_owner_alone(keys: Path, tmp_path: Path) -> None:
    for path in keys.iterdir():
        assert path.stat().st_mode & 0o777 == (0o644 if path.name == "authority.pem" else 0o600)
    file = tmp_path / "secret"
    assert keys_command.main(["secret", str(file)]) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    found = Security(secret_file=file).credentials(0, {})
    assert found is not None and found.safe
    for again in (["secret", str(file)], ["new", str(keys), "--agents", "1"]):
        with pytest.raises(UserError, match="is there already"):
            keys_command.main(again)
    assert len(os.listdir(keys)) == 5


def test_nothing_given_is_nothing() -> None:
    assert Security().credentials(0, {}) is None
