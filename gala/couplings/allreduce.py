"""All-reduce coupling: gradients averaged over all agents at each update."""

from __future__ import annotations

from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from gala.couplings.coupling import Coupling
from gala.launch.launch import Launch


class AllReduce(Coupling):
    """``--coupling allreduce``: the synchronous form that the paper compares with.

    Every agent waits for the slowest. The wish to stop rides on the same collective, as one more
    element, so that all stop at the same update.


    Args:
        launch: rank of the agent, and how it finds the others.
        parameters: P.
        statistics: Float[S], what is averaged as it is after each update; None: nothing.
    """

    lock_step = True

    def __init__(self, launch: Launch, parameters: int, statistics: Tensor | None = None) -> None:
        super().__init__()
        self._statistics = statistics if statistics is not None and len(statistics) else None
        self._agents = launch.agents
        self._update = 0
        self._asked = False
        self._parameters = parameters
        self._buffer = torch.zeros(parameters + 1)
        if launch.rendezvous is not None:
            dist.init_process_group(
                "gloo",
                store=launch.rendezvous.fresh(),
                rank=launch.rank,
                world_size=launch.agents,
                timeout=timedelta(minutes=10),
            )

    def reduce(self, gradient: Tensor) -> None:
        """Replace the gradient by its mean over the agents. Waits for all of them."""
        if self._agents == 1:
            return
        mine = gradient[: self._parameters]
        buffer = self._buffer[: len(mine) + 1]
        buffer[:-1].copy_(mine)
        buffer[-1] = float(self._asked)
        dist.all_reduce(buffer)
        mine.copy_(buffer[:-1]).div_(self._agents)
        self._hear(float(buffer[-1]))

    def _hear(self, asked: float) -> None:
        """How many of the agents wish to stop."""
        if asked > 0:
            self._stop = min(self._stop, self._update + 1)

    def agree(self, number: float) -> float:
        """The mean over the agents: whoever ended an update alone would not be waited for."""
        if self._agents == 1:
            return number
        both = torch.tensor([number, float(self._asked)], dtype=torch.float64)
        dist.all_reduce(both)
        self._hear(float(both[1]))
        return float(both[0]) / self._agents

    def exchange(self, update: int, step: int) -> bool:
        """Parameters are equal already; statistics are averaged."""
        self._update = update
        if self._statistics is None or self._agents == 1:
            return False
        mean = self._statistics.cpu()
        dist.all_reduce(mean)
        self._statistics.copy_(mean.div_(self._agents))
        return True

    def ask_to_stop(self, update: int) -> None:
        """Say so at the next reduction; alone, stop now."""
        self._asked = True
        if self._agents == 1:
            super().ask_to_stop(update)

    def close(self) -> None:
        """Leave the process group."""
        if dist.is_initialized():
            dist.destroy_process_group()
