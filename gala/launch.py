"""Who am I among the agents: rank, size and host, and the few words exchanged before training.

torchrun tells each process its rank by environment variables and runs a key-value store; agents use
that store only to start (one agent makes the run folder, the others learn its name). Training
itself never touches it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch.distributed as dist

START_TIMEOUT = timedelta(seconds=120)


@dataclass(frozen=True, kw_only=True)
class Launch:
    """The place of this process in the launch.

    Attributes:
        rank: index of this agent.
        agents: number of agents.
        local_rank: index among the agents of this host.
        local_agents: number of agents on this host.
        store: torchrun's store, None for a single agent.
    """

    rank: int = 0
    agents: int = 1
    local_rank: int = 0
    local_agents: int = 1
    store: dist.Store | None = None

    @property
    def leads(self) -> bool:
        """Whether this agent prepares the run folder and talks to the user."""
        return self.rank == 0

    @property
    def threads(self) -> int:
        """Fair share of this host's cores."""
        return max(1, available_cores() // self.local_agents)

    def share(self, name: str, value: Any = None) -> Any:
        """Rank 0's ``value`` (plain data), on every agent. Waits for rank 0."""
        if self.store is None:
            return value
        key = f"gala/{name}"
        if self.leads:
            self.store.set(key, json.dumps(value))
            return value
        self.store.wait([key], START_TIMEOUT)
        return json.loads(self.store.get(key))


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def rank_from_environment() -> tuple[int, int]:
    """(rank, agents) as torchrun set them; (0, 1) without torchrun."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def from_environment() -> Launch:
    """The launch that torchrun described in the environment; a single agent without torchrun."""
    rank, agents = rank_from_environment()
    if agents == 1:
        return Launch()
    # A restarted group must not read the answers of the group before it.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    owns = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    store = dist.TCPStore(host, port, None, owns, timeout=START_TIMEOUT)
    return Launch(
        rank=rank,
        agents=agents,
        local_rank=int(os.environ["LOCAL_RANK"]),
        local_agents=int(os.environ["LOCAL_WORLD_SIZE"]),
        store=dist.PrefixStore(f"attempt/{attempt}", store),
    )
