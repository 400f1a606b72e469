"""Worker state: what an agent knows of one worker, and the unroll that its environments fill.

A worker only steps. What it shows is acted on in turns with others, so that an unroll is written
row by row: what was acted on, by whom, and what came of it one message later. Row T is acted on
too, as row 0 of the next unroll; its value completes the one before.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala.envs.remote import RemoteEnv
from gala.envs.step import Array, Step
from gala.experience.screening import Screening
from gala.experience.signals import OutcomeRow
from gala.experience.unroll import Layout, Unroll
from gala.launch.watchdog import Limits, Watchdog


class WorkerState:
    """A worker's place.

    Args:
        index: of the place.
        layout: of unrolls.
        envs: n of a worker.
        gamma: discount per step.
        reward_clip: learn from the sign of the reward.
        limits: of a worker's silence.

    Attributes:
        index: as given.
        columns: of its environments among those of all places.
        env: the worker's; None: nobody sits here.
        obs: [n, ...], to be acted on; valid until then. None: the worker steps, or has not begun.
        mask: Bool[n, K], actions that are allowed there; None: all are.
        begin: Bool[n], where they are the first of an episode.
        unroll: that is being filled; None: there was none to be had.
        row: of it that is acted on next.
        complete: an unroll that lacks the value of ``obs``, and nothing else.
        since: when ``obs`` came, or was acted on, in seconds.
    """

    def __init__(
        self,
        index: int,
        layout: Layout,
        envs: int,
        *,
        gamma: float,
        reward_clip: bool,
        limits: Limits,
    ) -> None:
        self.index, self.columns = index, slice(index * envs, (index + 1) * envs)
        self._layout, self._envs = layout, envs
        self._gamma, self._reward_clip, self._limits = gamma, reward_clip, limits
        self._own = slice(0, envs)
        self._values = torch.zeros(layout.steps, envs)
        self._finals = torch.zeros(layout.steps, envs)
        self.env: RemoteEnv | None = None
        self.leave()

    def sit(self, env: RemoteEnv) -> None:
        """A worker has come."""
        self.env = env
        self._watchdog = Watchdog(self._limits)

    def leave(self, *, done: bool = False) -> list[Unroll]:
        """Forget the worker; returns what it had not completed.

        Args:
            done: tell it that the agent needs nobody any more.
        """
        if self.env is not None:
            (self.env if done else self.env.link).close()
        dropped = [each for each in (self.unroll, self.complete) if each] if self.env else []
        self.env = None
        self.obs: Array | None = None
        self.mask: NDArray[np.bool_] | None = None
        self.begin = np.ones(self._envs, np.bool_)
        self.unroll: Unroll | None = None
        self.complete: Unroll | None = None
        self.row, self.since, self._beats = 0, 0.0, 0
        self._filled = 0
        self._games: list[tuple[float, int]] = []
        self._faults: tuple[str, ...] = ()
        self._screening = Screening(self._layout.steps, self._envs)
        return dropped

    @property
    def stepping(self) -> bool:
        """Whether its environments are in a step."""
        return self._beats > 0 and self.obs is None

    def hung(self, now: float) -> str | None:
        """What was waited for, and for how long; None as long as all is well."""
        if self.env is None or (self._beats > 0 and not self.stepping):
            return None  # it is the worker who waits
        return self._watchdog.look([self._beats << 1] if self._beats else [], now)

    def show_first(self, obs: Array, mask: NDArray[np.bool_] | None, now: float) -> None:
        """The environments have begun."""
        self.obs = self._screening.observations(obs, -1, self._own)
        self.mask, self.since = mask, now

    def fill(self, unroll: Unroll) -> None:
        """Begin to fill an unroll with what is to be acted on."""
        self.unroll, self.row = unroll, 0
        unroll.batch.final.zero_()
        self._screening.begin()

    def acted(self, dist: Tensor, value: Tensor, action: Tensor, revision: int) -> None:
        """Write what was acted on, and how, into the row.

        Args:
            dist: Float32[n, K].
            value: Float32[n].
            action: [n, ...].
            revision: of the parameters.
        """
        assert self.unroll is not None and self.obs is not None
        batch, t = self.unroll.batch, self.row
        self._show(batch.obs[t])
        if batch.begin is not None:
            batch.begin[t].copy_(torch.from_numpy(self.begin))
        if batch.mask is not None:
            batch.mask[t].copy_(torch.from_numpy(self._masks(batch.mask.shape[-1])))
        batch.dist[t].copy_(dist)
        batch.action[t].copy_(action)
        batch.version[t] = revision
        self._values[t].copy_(value)

    def remembers(self, memory: Tensor) -> None:
        """What the network remembered before row 0, Float32[n, ...]."""
        assert self.unroll is not None and self.unroll.batch.memory is not None
        self.unroll.batch.memory.copy_(memory)

    def sent(self, now: float) -> float:
        """The actions are on their way; returns the seconds that the worker waited for them."""
        waited_s, self.since = now - self.since, now
        self.obs, self._beats = None, self._beats + 1
        return waited_s

    def outcome(self, step: Step, now: float) -> tuple[float, Array | None]:
        """Write what came of the row; the unroll is complete after the last one, but for a value.

        Returns:
            Seconds that the worker stepped, and final observations [n, ...] that need a value.
        """
        assert self.unroll is not None
        batch, t = self.unroll.batch, self.row
        self.obs = self._screening.observations(step.obs, t, self._own)
        self.mask, self.begin = step.action_mask, step.first
        row = OutcomeRow(batch, t, self._own)
        final = row.note(step, self._screening, gamma=self._gamma, reward_clip=self._reward_clip)
        self._games += [(game.ret, game.length) for game in step.episodes]
        self.row += 1
        if self.row == self._layout.steps:
            self._complete()
        stepped_s, self.since = now - self.since, now
        return stepped_s, final

    def valued_finals(self, value: Tensor) -> None:
        """Values Float32[n] of the final observations that the newest outcome had."""
        self._finals[self.row - 1].copy_(value)

    def valued(self, value: Tensor) -> Unroll:
        """The value Float32[n] of what is to be acted on; returns the unroll that it completes."""
        unroll, self.complete = self.complete, None
        assert unroll is not None
        batch = unroll.batch
        following = torch.cat((batch.value[1:], value.unsqueeze(0)))
        torch.where(batch.final, self._finals, following, out=batch.next_value)
        unroll.note(games=self._games, faults=self._faults, actor=self.index, number=self._filled)
        self._filled += 1
        self._games = []
        return unroll

    def _complete(self) -> None:
        complete, self.unroll = self.unroll, None
        assert complete is not None
        self.complete, batch = complete, complete.batch
        self._show(batch.obs[-1])
        if batch.begin is not None:
            batch.begin[-1].copy_(torch.from_numpy(self.begin))
        batch.value.copy_(self._values)
        self._faults = self._screening.finish(batch.reward)

    def _show(self, row: Tensor) -> None:
        assert self.obs is not None
        row.copy_(torch.from_numpy(self.obs))

    def _masks(self, size: int) -> NDArray[np.bool_]:
        return np.ones((self._envs, size), np.bool_) if self.mask is None else self.mask
