"""The launch: rank, size, host and incarnation of an agent, and the little it shares at the start.

torchrun tells each process its rank by environment variables and runs a key-value store; agents use
that store only to start (one agent makes the run folder, the others learn its name) and to find
each other between hosts. Training itself never touches it: when it is lost, only joining stops.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch.distributed as dist

from gala.errors import EXIT_START_AGAIN, UserError
from gala.launch.environment import (
    STORE_VARIABLE,
    check_store_address,
    rank_from_environment,
)
from gala.launch.rendezvous import Rendezvous
from gala.launch.supervisor import INCARNATION_VARIABLE

START_TIMEOUT = timedelta(seconds=120)

STORE_PIECE = 2**20
"""Largest value in bytes that is put into a store at once."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """An agent of a launch, and what it can learn of the others.

    Attributes:
        rank: index of this agent.
        agents: number of agents.
        local_rank: index among the agents of this host.
        local_agents: number of agents on this host.
        local_group: ranks of the agents of this process, threads of it.
        incarnation: restarts of this agent in this launch so far.
        rendezvous: the store by which agents find each other, None for a single process.
        host: names this host; agents of equal hosts share memory.
    """

    rank: int = 0
    agents: int = 1
    local_rank: int = 0
    local_agents: int = 1
    local_group: tuple[int, ...] = (0,)
    incarnation: int = 0
    rendezvous: Rendezvous | None = None
    host: str = ""

    @property
    def leads(self) -> bool:
        """Whether this agent prepares the run folder and talks to the user."""
        return self.rank == 0

    @property
    def threads(self) -> int:
        """Fair share of this host's cores."""
        return max(1, available_cores() // self.local_agents)

    def sibling(self, rank: int) -> Launch:
        """The launch as another agent of this process sees it."""
        assert rank in self.local_group, (rank, self.local_group)
        shift = rank - self.rank
        return replace(self, rank=rank, local_rank=self.local_rank + shift)

    def register(self) -> Launch:
        """The same launch with this incarnation counted in the store; once per process."""
        if self.rendezvous is None:
            return self
        # a key per incarnation, no counter: all can be written again to a store that lost them;
        # who is supervised never counts below what the supervisor has seen
        incarnation = int(os.environ.get(INCARNATION_VARIABLE, "0"))
        while self.rendezvous.check([f"incarnation/{self.local_group[0]}/{incarnation}"]):
            incarnation += 1
        for each in range(incarnation + 1):
            self.rendezvous.set(f"incarnation/{self.local_group[0]}/{each}", "begun")
        return replace(self, incarnation=incarnation)

    def share(self, name: str, value: Any = None) -> Any:
        """Rank 0's ``value`` (plain data), on every agent. Waits for rank 0."""
        if self.rendezvous is None:
            return value
        key = f"gala/{name}"
        if self.leads:
            self.rendezvous.set(key, json.dumps(value))
            return value
        self.rendezvous.wait([key], START_TIMEOUT)
        return json.loads(self.rendezvous.get(key))

    def share_bytes(self, name: str, value: bytes) -> bytes:
        """Rank 0's ``value``, on every agent; in pieces that a store carries. Waits for rank 0."""
        if self.rendezvous is None:
            return value
        rendezvous = self.rendezvous
        pieces = range(0, len(value), STORE_PIECE)
        keys = [f"gala/{name}/{start}" for start in pieces]
        if self.leads:
            for key, start in zip(keys, pieces, strict=True):
                rendezvous.set(key, value[start : start + STORE_PIECE])
            return value
        rendezvous.wait(keys, START_TIMEOUT)
        return b"".join(map(rendezvous.get, keys))

    def keep_plan(self, plan: Any) -> None:
        """See that a store that comes back empty learns again what later agents need."""
        if self.rendezvous is not None:
            self.rendezvous.set("gala/plan", json.dumps(plan))
            self.rendezvous.keep()

    def announce(self, name: str) -> None:
        """Let later agents know that ``name`` is so; does not wait for the store."""
        if self.rendezvous is not None:
            self.rendezvous.promise(f"gala/{name}", "true")

    def shared(self, name: str) -> Any:
        """What was shared or announced before, None if it was not."""
        key = f"gala/{name}"
        if self.rendezvous is None or not self.rendezvous.check([key]):
            return None
        return json.loads(self.rendezvous.get(key))


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def host_identity() -> str:
    """Equal for processes that can map one another's shared memory."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    memory = Path("/dev/shm")
    parts = [
        boot.read_text().strip() if boot.exists() else os.uname().nodename,
        str(memory.stat().st_dev) if memory.exists() else "",
        str(os.getuid()),
    ]
    return "/".join(parts)


def from_environment(agents_per_process: int = 1) -> Launch:
    """The launch that torchrun or ``gala launch`` described in the environment.

    Args:
        agents_per_process: k; process p runs the agents k p to k p + k - 1.

    Raises:
        UserError: the store cannot be reached.
    """
    process, processes = rank_from_environment()
    k = agents_per_process
    local_group = tuple(range(process * k, process * k + k))
    if processes == 1:
        return Launch(agents=k, local_agents=k, local_group=local_group)
    return Launch(
        rank=local_group[0],
        agents=processes * k,
        local_rank=int(os.environ["LOCAL_RANK"]) * k,
        local_agents=int(os.environ["LOCAL_WORLD_SIZE"]) * k,
        local_group=local_group,
        rendezvous=open_rendezvous(process),
        host=host_identity(),
    )


def open_rendezvous(process: int) -> Rendezvous:
    """The store of this launch, from the environment.

    Raises:
        UserError: it cannot be reached, or its address is none.
    """
    address = os.environ.get(STORE_VARIABLE)
    # Without torchrun's own store, the first process serves one.
    owns = process == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    # A restarted group must not read the answers of the group before it.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")

    def connect(serve: bool = False) -> dist.Store:
        if address is not None:
            return dist.PrefixStore("gala", store_at(address))
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(host, port, None, serve, timeout=START_TIMEOUT)
        return dist.PrefixStore(f"attempt/{attempt}", store)

    try:
        return Rendezvous(connect(serve=owns), connect)
    except RuntimeError as error:  # torch's DistNetworkError and DistStoreError among them
        # it was there for an earlier incarnation: wait until it is back
        if int(os.environ.get(INCARNATION_VARIABLE, "0")) > 0:
            raise SystemExit(EXIT_START_AGAIN) from None
        raise UserError(
            f"cannot reach the store {address or 'of torchrun'}: {str(error).splitlines()[0]}",
            field="--store",
        ) from None


def store_at(address: str, *, serve: bool = False) -> dist.Store:
    """The store at ``tcp://host:port`` (with ``serve``: serve it here) or ``file:///folder/file``.

    Raises:
        UserError: this is no such address.
    """
    check_store_address(address)
    url = urlparse(address)
    if url.scheme == "file":
        Path(url.path).parent.mkdir(parents=True, exist_ok=True)
        return dist.FileStore(url.path)
    assert url.hostname is not None and url.port is not None
    return dist.TCPStore(
        url.hostname, url.port, None, serve, timeout=START_TIMEOUT, wait_for_workers=False
    )
