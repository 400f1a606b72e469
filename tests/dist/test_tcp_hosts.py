"""Agents on hosts of their own (network namespaces), over tcp with a secret, on bad days."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gala.launch.processes import bound_to

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(240)]

AGENT = Path(__file__).parent / "gossiping.py"
STORE = """
import sys
from gala.launch.launch import store_at
store = store_at(sys.argv[1], serve=True)
sys.stdin.read()
"""
PORT = 29488


def ip(*words: object) -> None:
    subprocess.run(["ip", *map(str, words)], check=True, capture_output=True)


class Hosts:
    """Network namespaces on one bridge."""

    def __init__(self, count: int, log: Path, *, v6: bool) -> None:
        self.log, self.v6 = log, v6
        self.names = [f"gt{os.getpid()}h{host}" for host in range(count)]
        self.bridge = f"gt{os.getpid()}"
        self.processes: list[subprocess.Popen[bytes]] = []
        ip("link", "add", self.bridge, "type", "bridge")
        ip("link", "set", self.bridge, "up")
        for host, name in enumerate(self.names):
            ip("netns", "add", name)
            ip("link", "add", f"{self.bridge}v{host}", "type", "veth", "peer", "name", "eth0",
               "netns", name)  # fmt: skip
            ip("link", "set", f"{self.bridge}v{host}", "master", self.bridge, "up")
            for device in ("lo", "eth0"):
                ip("-n", name, "link", "set", device, "up")
            self.address(host, host + 1)

    def at(self, number: int) -> str:
        return f"fd77::{number}" if self.v6 else f"10.77.0.{number}"

    def address(self, host: int, number: int, do: str = "add") -> None:
        """Give a host an address, or take it."""
        more = ("64", "nodad") if self.v6 else ("24",)
        ip("-n", self.names[host], "addr", do, f"{self.at(number)}/{more[0]}", "dev", "eth0",
           *(more[1:] if do == "add" else ()))  # fmt: skip

    @property
    def store(self) -> str:
        return f"tcp://[{self.at(1)}]:{PORT}" if self.v6 else f"tcp://{self.at(1)}:{PORT}"

    def start(self, host: int, name: str, *command: object, **environment: str) -> Process:
        """Run a program on a host."""
        out = open(self.log / f"{name}.out", "wb")
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.names[host], sys.executable, *map(str, command)],
            stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.PIPE, start_new_session=True,
            env=os.environ | environment, preexec_fn=bound_to(os.getpid()),
        )  # fmt: skip
        out.close()
        self.processes.append(process)
        return Process(process, self.log / f"{name}.out")

    def agent(self, host: int, rank: int, size: int, *arguments: str, **more: str) -> Process:
        """Start an agent."""
        settings = {
            "RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1",
            "GALA_STORE": self.store, "TORCHELASTIC_USE_AGENT_STORE": "True",
            "GALA_SECRET": "correct horse battery staple",
        }  # fmt: skip
        return self.start(host, f"agent{rank}", AGENT, *arguments, **(settings | more))

    def agents(self, count: int) -> list[Process]:
        """Agents on the hosts, by turns, that mix."""
        agents = [self.agent(rank % len(self.names), rank, count) for rank in range(count)]
        until(lambda: all(each.now["mixes"] > 5 for each in agents), 60, agents)
        return agents

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()
        for host, name in enumerate(self.names):
            subprocess.run(
                ["ip", "link", "del", f"{self.bridge}v{host}"], check=False, capture_output=True
            )
            ip("netns", "del", name)
        ip("link", "del", self.bridge)


class Process:
    """A program on a host."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path) -> None:
        self.process, self.out = process, out

    @property
    def now(self) -> dict[str, Any]:
        """What an agent said last."""
        lines = [line for line in self.out.read_text().splitlines() if line.endswith("}")]
        return json.loads(lines[-1]) if lines else {"mixes": 0, "events": []}

    @property
    def told(self) -> str:
        return "\n".join(self.now["events"])


def until(condition: Callable[[], bool], seconds: float, agents: list[Process]) -> float:
    """Seconds until it was so."""
    began = time.monotonic()
    while not condition():
        words = [each.out.read_text()[-600:] for each in agents]
        assert time.monotonic() - began < seconds, "\n".join(words)
        time.sleep(0.05)
    return time.monotonic() - began


def mix_again(agents: list[Process], seconds: float) -> float:
    """Seconds until all mix again."""
    before = [each.now["mixes"] for each in agents]
    return until(
        lambda: all(each.now["mixes"] > n + 5 for each, n in zip(agents, before, strict=True)),
        seconds, agents,
    )  # fmt: skip


def apart(agents: list[Process], seconds: float) -> None:
    """Wait until none of them mixes."""

    def silent() -> bool:
        before = [each.now["mixes"] for each in agents]
        time.sleep(1.0)
        return all(each.now["mixes"] == n for each, n in zip(agents, before, strict=True))

    until(silent, seconds, agents)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Hosts]]:
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("SEVERAL HOSTS ARE NOT TESTED: needs root and ip")
    made: list[Hosts] = []

    def make_(count: int = 2, *, v6: bool = False) -> Hosts:
        try:
            made.append(Hosts(count, tmp_path, v6=v6))
        except subprocess.CalledProcessError as error:
            pytest.skip(f"SEVERAL HOSTS ARE NOT TESTED: {error.stderr.decode().strip()}")
        hosts = made[-1]
        hosts.server = hosts.start(0, "store", "-c", STORE, hosts.store)
        return hosts

    yield make_
    for hosts in made:
        hosts.close()


def test_hosts_that_have_ipv6_alone(make: Callable[..., Hosts]) -> None:
    hosts = make(v6=True)
    agents = hosts.agents(2)
    assert all("store" not in each.told for each in agents)


def test_a_host_comes_back_with_another_address(make: Callable[..., Hosts]) -> None:
    hosts = make()
    agents = hosts.agents(2)
    hosts.address(1, 2, "del")
    hosts.address(1, 9)
    assert mix_again(agents, 30) < 10


def test_one_direction_is_cut(make: Callable[..., Hosts]) -> None:
    """Host 0 speaks to a neighbour that is not there any more, silently; then it heals."""
    hosts = make()
    agents = hosts.agents(2)
    there = ("neigh", "replace", hosts.at(2), "lladdr", "02:00:00:00:00:99", "dev", "eth0")
    ip("-n", hosts.names[0], *there, "nud", "permanent")
    apart(agents, 40)
    time.sleep(20)  # the cut itself: kernels wait longer and longer between their tries
    before = agents[0].now["updates"]
    until(lambda: agents[0].now["updates"] > before + 20, 10, agents)  # nobody waits
    ip("-n", hosts.names[0], "neigh", "del", hosts.at(2), "dev", "eth0")
    assert mix_again(agents, 30) < 6


def test_only_one_of_them_can_be_dialled(make: Callable[..., Hosts]) -> None:
    """As behind an address translation: agent 0 tells an address that nobody else reaches."""
    hosts = make()
    agents = [hosts.agent(0, 0, 2, "127.0.0.1"), hosts.agent(1, 1, 2)]
    until(lambda: all(each.now["mixes"] > 5 for each in agents), 60, agents)


def test_the_store_is_gone_for_good(make: Callable[..., Hosts]) -> None:
    """Edges that break come back, also from a new address, which one agent tells another."""
    hosts = make(3)
    agents = hosts.agents(3)
    hosts.server.process.kill()
    until(lambda: all("store: the store cannot be reached" in a.told for a in agents), 30, agents)
    os.kill(agents[2].process.pid, signal.SIGSTOP)
    until(lambda: all(a.now["states"]["2"] != "ACTIVE" for a in agents[:2]), 40, agents)
    assert mix_again(agents[:2], 20) < 10
    os.kill(agents[2].process.pid, signal.SIGCONT)
    assert mix_again(agents, 30) < 10
    for host in (1, 2):  # neither of these two knows where the other one is now
        hosts.address(host, host + 1, "del")
        hosts.address(host, host + 10)
    assert mix_again(agents, 40) < 15
    until(lambda: agents[1].now["states"]["2"] == "ACTIVE", 15, agents)
