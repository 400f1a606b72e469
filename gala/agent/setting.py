"""Setting: what one agent is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from gala.config.tasks import own_tasks
from gala.config.tree import Config
from gala.gossip.in_process import LocalGroup
from gala.launch.launch import Launch
from gala.run.folder import RunFolder
from gala.topology import Topology


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Choices of the user and facts of the launch, for one agent.

    Attributes:
        config: the user's choices.
        launch: rank of this agent among the others.
        run: the run folder.
        run_id: 16 hex digits that messages of this launch carry.
        topology: who listens to whom.
        device: where the network computes.
        threads: for environments and torch.
        local_group: the agents of this process.
        started: unix seconds of the launch, the same for all agents.
        restore: makes a run folder that was lost anew, as far as it is known.
    """

    config: Config
    launch: Launch
    run: RunFolder
    run_id: str
    topology: Topology
    device: torch.device
    threads: int
    local_group: LocalGroup = field(default_factory=lambda: LocalGroup((0,)))
    started: float = field(default_factory=time.time)
    restore: Callable[[], object] = lambda: None

    @property
    def steps_per_update(self) -> int:
        """Environment steps of one agent between two updates."""
        steps: int = self.config.learning.n_step * self.config.env.num_envs
        return steps

    @property
    def tasks(self) -> tuple[int, ...]:
        """Numbers of this agent's tasks; empty where the run has none."""
        return own_tasks(len(self.config.env.tasks), self.launch.rank, self.launch.agents)

    def seed(self, stream: int) -> int:
        """A seed for one purpose of this agent.

        0 is for actions, 1 for environments, 2 for faults, 3 for batches, 4 for a replay.
        """
        launch = self.launch
        return agent_seed(self.config.seed, launch.rank, stream, launch.incarnation)


def agent_seed(seed: int, rank: int, stream: int = 0, incarnation: int = 0) -> int:
    """A seed of its own for each agent, purpose and incarnation, from the seed of the run."""
    path = [seed, rank, stream] + [incarnation] * (incarnation > 0)
    words = np.random.SeedSequence(path).generate_state(1, np.uint64)
    return int(words[0] >> 1)
