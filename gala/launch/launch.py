"""The launch: rank, size, host and incarnation of an agent, and the little it shares at the start.

torchrun tells each process its rank by environment variables and runs a key-value store; agents use
that store only to start (one agent makes the run folder, the others learn its name) and to find
each other between hosts. Training itself never touches it: when it is lost, only joining stops.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch.distributed as dist

from gala.errors import EXIT_START_AGAIN, UserError
from gala.launch import joining
from gala.launch.cores import available_cores, bound_cores, slurm_cores
from gala.launch.credentials import OPEN, Credentials, Security
from gala.launch.environment import (
    JOIN,
    STORE_VARIABLE,
    check_store_address,
    rank_from_environment,
)
from gala.launch.rendezvous import Rendezvous
from gala.launch.supervisor import INCARNATION_VARIABLE

START_TIMEOUT = timedelta(seconds=120)

SOON_S = 2.0
"""Seconds after which it is said that a store is waited for."""

COMPANY_S = timedelta(seconds=5)
"""How long agents that are started one by one wait for one another to count who shares cores."""

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
        sharing: agents that share the cores of this process; None: those of :attr:`local_agents`.
        security: what the user chose for the way between hosts.
    """

    rank: int = 0
    agents: int = 1
    local_rank: int = 0
    local_agents: int = 1
    local_group: tuple[int, ...] = (0,)
    incarnation: int = 0
    rendezvous: Rendezvous | None = None
    host: str = ""
    sharing: int | None = None
    security: Security = OPEN

    @property
    def leads(self) -> bool:
        """Whether this agent prepares the run folder and talks to the user."""
        return self.rank == 0

    @property
    def threads(self) -> int:
        """Fair share of this host's cores."""
        return max(1, available_cores() // (self.sharing or self.local_agents))

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
        first = self.local_group[0]
        while self.rendezvous.check([f"incarnation/{first}/{incarnation}"], by=first):
            incarnation += 1
        for each in range(incarnation + 1):
            self.rendezvous.set(f"incarnation/{first}/{each}", "begun", by=first)
        return replace(self, incarnation=incarnation)

    def after(self, incarnation: int) -> Launch:
        """The same launch, as an incarnation after ``incarnation``: the store may have come back
        empty since, and who counts from 0 again is not heard by those who heard it before.
        """
        if incarnation < self.incarnation:
            return self
        later = replace(self, incarnation=incarnation + 1)
        if self.rendezvous is not None:
            first = self.local_group[0]
            for each in range(incarnation + 2):
                self.rendezvous.promise(f"incarnation/{first}/{each}", "begun", by=first)
        return later

    def share(self, name: str, value: Any = None) -> Any:
        """Rank 0's ``value`` (plain data), on every agent. Waits for rank 0.

        Each agent keeps it in the store from then on, as rank 0 has signed it.

        Raises:
            UserError: rank 0 did not come.
        """
        if self.rendezvous is None:
            return value
        key = f"gala/{name}"
        if self.leads:
            self.rendezvous.set(key, json.dumps(value), by=0)
            return value
        _wait_for_lead(self.rendezvous, [key])
        return json.loads(self.rendezvous.pass_on(key, by=0))

    def share_bytes(self, name: str, value: bytes) -> bytes:
        """Rank 0's ``value``, on every agent; in pieces that a store carries. Waits for rank 0.

        Raises:
            UserError: rank 0 did not come.
        """
        if self.rendezvous is None:
            return value
        rendezvous = self.rendezvous
        pieces = range(0, len(value), STORE_PIECE)
        keys = [f"gala/{name}/{start}" for start in pieces]
        if self.leads:
            for key, start in zip(keys, pieces, strict=True):
                rendezvous.set(key, value[start : start + STORE_PIECE], by=0)
            return value
        _wait_for_lead(rendezvous, keys)
        return b"".join(rendezvous.get(key, by=0) for key in keys)

    def put(self, name: str, value: Any) -> None:
        """Let the others read this agent's ``value`` (plain data)."""
        if self.rendezvous is not None:
            key = f"gala/{name}/{self.rank}"
            self.rendezvous.set(key, json.dumps(value), by=self.rank)

    def told(self, name: str, rank: int) -> Any:
        """What agent ``rank`` has put there."""
        assert self.rendezvous is not None, "alone there is nobody to be told by"
        return json.loads(self.rendezvous.get(f"gala/{name}/{rank}", by=rank))

    def gather(self, name: str, value: Any) -> dict[int, Any]:
        """Everybody's ``value`` (plain data), by rank. Waits for all.

        Raises:
            UserError: somebody did not come.
        """
        if self.rendezvous is None:
            return {self.rank: value}
        self.put(name, value)
        keys = {rank: f"gala/{name}/{rank}" for rank in range(self.agents)}
        found = {}
        try:
            for rank, key in keys.items():
                self.rendezvous.wait([key], START_TIMEOUT, by=rank)
                found[rank] = self.told(name, rank)
        except dist.DistStoreError:
            absent = [rank for rank, key in keys.items() if not self.rendezvous.check([key])]
            raise _did_not_come(absent) from None
        return found

    def keep(self) -> None:
        """See that a store that comes back empty learns again what later agents need."""
        if self.rendezvous is not None:
            self.rendezvous.keep()

    def announce(self, name: str) -> None:
        """Let later agents know that ``name`` is so; does not wait for the store."""
        if self.rendezvous is not None:
            self.rendezvous.promise(f"gala/{name}", "true")

    def announced(self, name: str) -> bool:
        """Whether anybody has announced that ``name`` is so."""
        return self.rendezvous is not None and self.rendezvous.check([f"gala/{name}"])

    def shared(self, name: str) -> Any:
        """What rank 0 shared before; None if it did not. See :meth:`share`."""
        key = f"gala/{name}"
        if self.rendezvous is None or not self.rendezvous.check([key], by=0):
            return None
        return json.loads(self.rendezvous.pass_on(key, by=0))


def _wait_for_lead(rendezvous: Rendezvous, keys: list[str]) -> None:
    """Wait for what rank 0 has to say; one that was started by itself says so if that takes long.

    Raises:
        UserError: rank 0 did not come.
    """
    if STORE_VARIABLE in os.environ and not _has_come(rendezvous, keys, timedelta(seconds=SOON_S)):
        limit = START_TIMEOUT.total_seconds()
        print(f"gala: waiting for rank 0, at most {limit:.0f} s", file=sys.stderr, flush=True)
    if not _has_come(rendezvous, keys, START_TIMEOUT):
        raise _did_not_come([0])


def _has_come(rendezvous: Rendezvous, keys: list[str], timeout: timedelta) -> bool:
    try:
        rendezvous.wait(keys, timeout, by=0)
    except dist.DistStoreError:
        return False
    return True


def _did_not_come(ranks: list[int]) -> UserError:
    who = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
    waited = int(START_TIMEOUT.total_seconds())
    return UserError(f"{who} did not come this far within {waited} s")


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


def from_environment(agents_per_process: int = 1, security: Security = OPEN) -> Launch:
    """The launch that torchrun or ``gala launch`` described in the environment.

    Args:
        agents_per_process: k; process p runs the agents k p to k p + k - 1.
        security: what the user chose for the way between hosts.

    Raises:
        UserError: the store cannot be reached, or the credentials are none.
    """
    process, processes = rank_from_environment()
    # with a store of its own, a group of one has incarnations and a plan like any other
    alone = processes == 1 and STORE_VARIABLE not in os.environ
    k = agents_per_process
    local_group = tuple(range(process * k, process * k + k))
    if alone:
        return Launch(agents=k, local_agents=k, local_group=local_group)
    rendezvous = open_rendezvous(process, security.credentials(local_group[0]), local_group[0])
    one_by_one = STORE_VARIABLE in os.environ
    return Launch(
        rank=local_group[0],
        agents=processes * k,
        local_rank=int(os.environ["LOCAL_RANK"]) * k,
        local_agents=int(os.environ["LOCAL_WORLD_SIZE"]) * k,
        local_group=local_group,
        rendezvous=rendezvous,
        host=host_identity(),
        security=security,
        sharing=k * _sharing(rendezvous, process, processes) if one_by_one else None,
    )


def _sharing(rendezvous: Rendezvous, process: int, processes: int) -> int:
    """How many processes, started one by one, may run on the cores of this one.

    Those that come within :data:`COMPANY_S` count; a core of a Slurm task is its own.
    """
    if slurm_cores() is not None:
        return 1
    mine = {"host": host_identity(), "cores": sorted(bound_cores())}
    rendezvous.set(f"company/{process}", json.dumps(mine))
    keys = [f"company/{each}" for each in range(processes)]
    if int(os.environ.get(INCARNATION_VARIABLE, "0")) == 0 and not _joins():
        with contextlib.suppress(dist.DistStoreError):
            rendezvous.wait(keys, COMPANY_S)
    known = [json.loads(rendezvous.get(key)) for key in keys if rendezvous.check([key])]
    cores = set(mine["cores"])
    return sum(each["host"] == mine["host"] and bool(cores & {*each["cores"]}) for each in known)


def _joins() -> bool:
    """Whether this agent comes to a run that goes on, and asks one of its agents."""
    return os.environ.get(STORE_VARIABLE, "").startswith(JOIN)


def open_rendezvous(
    process: int, credentials: Credentials | None = None, rank: int = 0
) -> Rendezvous:
    """The store of this launch, from the environment.

    Args:
        process: index of this process; the first one serves the store where nobody else does.
        credentials: see :class:`~gala.launch.rendezvous.Rendezvous`.
        rank: of the first agent of this process.

    Raises:
        UserError: it cannot be reached, or its address is none.
    """
    address = os.environ.get(STORE_VARIABLE)
    # Without torchrun's own store, the first process serves one.
    owns = process == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    if address is not None and not owns:
        _say_if_awaited(address)
    connect = partial(_connect, address, credentials, rank)
    try:
        return Rendezvous(connect(serve=owns), connect, credentials)
    except RuntimeError as error:  # torch's DistNetworkError and DistStoreError among them
        # it was there for an earlier incarnation: wait until it is back
        if int(os.environ.get(INCARNATION_VARIABLE, "0")) > 0:
            raise SystemExit(EXIT_START_AGAIN) from None
        reason = str(error).splitlines()[0]
        if _joins():
            raise UserError(f"nobody there tells of a run: {reason}", field="--join") from None
        raise UserError(
            f"cannot reach the store {address or 'of torchrun'}: {reason}", field="--store"
        ) from None


def _connect(
    address: str | None, credentials: Credentials | None, rank: int, serve: bool = False
) -> dist.Store:
    if _joins():
        assert address is not None, "it has a scheme"
        return joining.join(address, credentials, rank)
    if address is not None:
        return dist.PrefixStore("gala", store_at(address))
    # A restarted group must not read the answers of the group before it.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(host, port, None, serve, timeout=START_TIMEOUT)
    return dist.PrefixStore(f"attempt/{attempt}", store)


def _say_if_awaited(address: str) -> None:
    """One line where nobody serves the store yet, or its host has no name yet: it may come."""
    url = urlparse(address)
    if url.scheme != "tcp":
        return
    try:
        socket.create_connection((url.hostname, url.port), timeout=SOON_S).close()
    except OSError as error:
        limit, reason = START_TIMEOUT.total_seconds(), error.strerror or str(error)
        line = f"gala: waiting for the store at {address}, at most {limit:.0f} s ({reason})"
        print(line, file=sys.stderr, flush=True)


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
