"""Mailbox files that are deleted, cut or replaced, and folders of others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_shared_memory import IDENTITY, P, owner, publish, transport, values

from gala.errors import UserError
from gala.gossip import shared_memory
from gala.gossip.shared_memory import folder_of, path_of
from gala.gossip.transport import PeerState

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "_REOPEN_S", 0.0)


def link(folder: Path) -> None:
    folder.symlink_to(folder.parent / "elsewhere")
    (folder.parent / "elsewhere").mkdir(mode=0o700)


FOLDERS: dict[str, Callable[[Path], None]] = {
    "is open to others": lambda folder: (folder.mkdir(), folder.chmod(0o750))[1],
    "is no folder": link,
    "belongs to user 65534": lambda folder: (folder.mkdir(0o700), os.chown(folder, 65534, 65534))[
        1
    ],
    "is no folder, and": lambda folder: (folder.write_text("x"), None)[1],
}


@pytest.mark.parametrize("rule", FOLDERS)
def test_a_folder_that_is_not_ours_alone_is_refused(tmp_path: Path, rule: str) -> None:
    if "user" in rule and os.geteuid():
        pytest.skip("needs root")
    folder = folder_of(IDENTITY.run, tmp_path)
    FOLDERS[rule](folder)
    with pytest.raises(UserError, match=rule) as refused:
        transport(tmp_path, 0)
    assert str(folder) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder"])
def test_nothing_is_written_through_what_lies_in_the_place_of_a_file(
    tmp_path: Path, kind: str
) -> None:
    path, precious = path_of(IDENTITY.run, 1, tmp_path), tmp_path / "precious"
    path.parent.mkdir(mode=0o700)
    if kind == "link":
        precious.write_text("precious")
    if kind in ("link", "dangling"):
        path.symlink_to(precious)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    reader = transport(tmp_path, 0)
    assert reader.latest(1) is None and reader.state(1) is PeerState.JOINING
    with pytest.raises(UserError, match="cannot create a mailbox"):
        transport(tmp_path, 1)
    assert not precious.exists() or precious.read_text() == "precious"
    os.utime(path.parent, (0, 0))
    shared_memory.sweep(tmp_path)  # whatever it finds there, it does not wait


@pytest.mark.parametrize("what", ["file", "folder", "another file"])
def test_a_mailbox_that_vanished_is_made_again_with_what_it_held(tmp_path: Path, what: str) -> None:
    a = transport(tmp_path, 0)
    body = """
    from gala.gossip import shared_memory
    shared_memory._REOPEN_S = 0.0
    publish(3)
    box.acknowledge(0, 7)
    print('ready', flush=True)
    for line in sys.stdin:
        box.state(1)
        print('looked', flush=True)
    """
    with owner(tmp_path, body) as process:
        assert process.stdin is not None and process.stdout is not None
        assert a.state(1) is PeerState.ACTIVE
        path = path_of(IDENTITY.run, 1, tmp_path)
        if what == "folder":
            shutil.rmtree(path.parent)
        elif what == "file":
            path.unlink()
        else:
            path.with_suffix(".new").write_bytes(path.read_bytes())
            path.with_suffix(".new").rename(path)
        assert float(values(a.latest(1))[0]) == 3.0, "whoever mapped the old one reads on"
        process.stdin.write("look\n")
        process.stdin.flush()
        assert process.stdout.readline() == "looked\n"
        for reader in (a, transport(tmp_path, 0)):
            assert reader.state(1) is PeerState.ACTIVE, "never thought to be down"
            assert float(values(reader.latest(1))[0]) == 3.0
            assert reader.acknowledged(1) == 7
        assert a.state(0) is PeerState.JOINING and path_of(IDENTITY.run, 0, tmp_path).exists()


@pytest.mark.parametrize("left", [0, pytest.param(8, marks=pytest.mark.long), 3 * 4096 + 5])
def test_a_mailbox_that_is_cut_ends_nobody(tmp_path: Path, left: int) -> None:
    a = transport(tmp_path, 0)
    body = """
    from gala.gossip import shared_memory
    shared_memory._REOPEN_S = 1e9  # not even once looked after
    publish(3)
    box.acknowledge(0, 7)
    print('ready', flush=True)
    for line in sys.stdin:
        publish(int(line))
        print('published', flush=True)
    """
    with owner(tmp_path, body) as process:
        assert process.stdin is not None and process.stdout is not None
        assert a.latest(1) is not None
        os.truncate(path_of(IDENTITY.run, 1, tmp_path), left)
        assert (a.version(1), a.latest(1), a.steps(1), a.acknowledged(1)) == (0, None, 0, 0)
        assert a.state(1) is PeerState.JOINING
        process.stdin.write("4\n")
        process.stdin.flush()
        assert process.stdout.readline() == "published\n"
        assert a.acknowledged(1) == 7, "what was taken stays so"
        assert a.version(1) == 4 and torch.equal(values(a.latest(1)), torch.full((P,), 4.0))


def test_a_neighbour_that_comes_back_again_and_again_leaves_no_open_files(tmp_path: Path) -> None:
    a, counts = transport(tmp_path, 0), []
    for version in range(1, 5):
        body = f"publish({version})\nprint('ready', flush=True)\nsys.stdin.read()\nbox.close()"
        with owner(tmp_path, body) as process:
            assert a.state(1) is PeerState.ACTIVE and a.latest(1) is not None
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
        counts.append(len(os.listdir("/proc/self/fd")))
    assert len(set(counts[1:])) == 1, counts


def test_a_state_that_is_none_counts_as_down(tmp_path: Path) -> None:
    a, b = transport(tmp_path, 0), transport(tmp_path, 1)
    publish(a, 0, 1, 1.0)
    for word in (-1, 5, 2**62):
        a._own.words[1] = word
        assert b.state(0) is PeerState.DOWN


def test_leaving_leaves_the_file_of_another_alone(tmp_path: Path) -> None:
    a = transport(tmp_path, 0)
    path = path_of(IDENTITY.run, 0, tmp_path)
    path.unlink()
    path.write_text("mine now")
    a.close()
    assert path.read_text() == "mine now"
