"""A store that dies and comes back empty."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist

from gala.launch.rendezvous import Rendezvous

SERVER = """
import sys, torch.distributed as dist
store = dist.TCPStore("127.0.0.1", int(sys.argv[1]), None, True, wait_for_workers=False)
print(store.port, flush=True)
sys.stdin.read()
"""


class Server:
    """A store in a process of its own, that can be killed and started again."""

    def __init__(self) -> None:
        self.port = 0
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(self.port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def connect(self) -> dist.Store:
        return dist.TCPStore("127.0.0.1", self.port, None, False, timeout=timedelta(seconds=10))


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.kill()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def test_what_was_said_is_there(server: Server) -> None:
    first = Rendezvous(server.connect(), server.connect)
    second = Rendezvous(server.connect(), server.connect)
    assert not second.check(["a"])
    first.set("a", "1")
    first.set("b", b"\x00\xff")
    second.wait(["a", "b"], timedelta(seconds=5))
    assert second.get("a") == b"1" and second.get("b") == b"\x00\xff"


def test_a_key_that_never_comes_is_a_time_out(server: Server) -> None:
    rendezvous = Rendezvous(server.connect(), server.connect)
    with pytest.raises(RuntimeError):
        rendezvous.wait(["never"], timedelta(milliseconds=100))
    assert not rendezvous.check(["never"]), "the connection still stands"


def test_a_key_that_never_comes_is_a_time_out_in_a_file_too(tmp_path: Path) -> None:
    def connect() -> dist.Store:
        return dist.FileStore(str(tmp_path / "store"))

    rendezvous = Rendezvous(connect(), connect)
    began = time.monotonic()
    with pytest.raises(dist.DistStoreError):
        rendezvous.wait(["never"], timedelta(seconds=0.5))
    assert time.monotonic() - began < 5.0, "once, not once more after a connection is made anew"


def test_a_store_that_comes_back_empty_is_told_everything_again(server: Server) -> None:
    rendezvous = Rendezvous(server.connect(), server.connect)
    rendezvous.keep()
    rendezvous.set("plan", "run it")
    rendezvous.promise("running", "true")
    eventually(lambda: Rendezvous(server.connect(), server.connect).check(["plan", "running"]))
    server.kill()
    server.start()
    eventually(lambda: Rendezvous(server.connect(), server.connect).check(["plan", "running"]))
    newcomer = Rendezvous(server.connect(), server.connect)
    assert newcomer.get("plan") == b"run it"
    rendezvous.close()


def test_promises_never_wait(server: Server) -> None:
    rendezvous = Rendezvous(server.connect(), server.connect)
    rendezvous.keep()
    server.kill()
    began = time.monotonic()
    for k in range(100):
        rendezvous.promise(f"key{k}", "value")
    assert time.monotonic() - began < 5.0, "a wait for each would be longer"
    server.start()
    eventually(lambda: Rendezvous(server.connect(), server.connect).check(["key99"]))
    rendezvous.close()
