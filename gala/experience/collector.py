"""Collector: acts for T steps in B environments, in the learner's thread.

On a device the batch lies there and is written once: observations go up step by step, actions and
values are computed there, and what the environments gave besides goes up at the end in one piece.
Each step is recorded by itself, as it works on rows of its own.

Environments in processes of their own come in two vectors: while one plays, the network acts for
the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gala.device.streams import Direct, Stream
from gala.envs import VectorEnv
from gala.experience.batch import Batch
from gala.experience.exploration import Exploration
from gala.experience.reward_scale import RewardScale
from gala.experience.screening import Screening
from gala.experience.signals import OutcomeRow, Signals
from gala.experience.tally import Tally
from gala.experience.unroll import Layout, layout_of
from gala.networks.heads import ActionHead
from gala.networks.memory import Recall


class Act(Protocol):
    """Float[B, K] action distribution and Float[B] value of observations.

    ``rows`` are theirs among the T x B of the batch, None for those that are only valued;
    ``mask``, Bool[B, K], says which actions are allowed, None: all. Networks with a memory are
    given ``recall``, whose state moves on where there are ``rows``.
    """

    def __call__(
        self,
        obs: Tensor,
        rows: slice | None = None,
        mask: Tensor | None = None,
        recall: Recall | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See the class."""
        ...


class _Cell:
    """Row t of a batch in the columns of one vector of environments: views that stay where they
    are. To index a tensor costs as much as to write eight numbers into it.

    Args:
        batch: T x B.
        values: Float[T + 1, B].
        signals: of the batch, on the CPU.
        t: the row.
        where: the columns.
    """

    def __init__(
        self, batch: Batch, values: Tensor, signals: Signals, t: int, where: slice
    ) -> None:
        begin = t * batch.envs
        self.rows = slice(begin + where.start, begin + where.stop)
        self.obs, self.next_obs = batch.obs[t, where], batch.obs[t + 1, where]
        self.action, self.dist = batch.action[t, where], batch.dist[t, where]
        self.value = values[t, where]
        self.final_value = signals.final_value.numpy()[t, where]
        self.outcome = OutcomeRow(signals, t, where)


class Collector(Tally):
    """A :class:`~gala.experience.source.Source` that owns the environments of one agent.

    Args:
        envs: the environments, B in all; where there are several vectors of them, some play while
            the network acts for others.
        act: see :class:`Act`.
        head: turns distributions into actions.
        n_step: T.
        gamma: discount per step.
        reward_clip: learn from the sign of the reward.
        reward_scale: scales rewards; None: they are learned from as they are.
        generator: random numbers of this agent's actions.
        stream: where ``act`` computes.
        memory: shape of what the network remembers of an environment; None: it is feed-forward.
        epsilon: see :class:`~gala.experience.exploration.Exploration`.
        tasks: number of the task of each of ``envs``; none: there are no tasks.
    """

    def __init__(
        self,
        envs: Sequence[VectorEnv],
        act: Act,
        head: ActionHead,
        *,
        n_step: int,
        gamma: float,
        reward_clip: bool,
        generator: torch.Generator,
        reward_scale: RewardScale | None = None,
        stream: Stream | None = None,
        memory: tuple[int, ...] | None = None,
        epsilon: Sequence[float] | None = None,
        tasks: Sequence[int] = (),
    ) -> None:
        super().__init__(tasks)
        self._tasks: list[int | None] = [*tasks] or [None] * len(envs)
        self._stream = stream = stream or Direct()
        self._exploration = Exploration(head, epsilon, stream.device)
        self._act, self._head, self._generator = act, head, generator
        ends = list(itertools.accumulate((env.num_envs for env in envs), initial=0))
        columns = [slice(*pair) for pair in itertools.pairwise(ends)]
        self._envs = list(zip(envs, columns, strict=True))
        self._gamma, self._reward_clip, self._scale = gamma, reward_clip, reward_scale
        self._screening = Screening(n_step, ends[-1])
        self.faults: tuple[str, ...] = ()
        self.meanwhile: Callable[[], object] = lambda: None
        # a copy: what an environment shows may be its own buffer
        first = torch.cat(
            [
                torch.from_numpy(self._screening.observations(env.reset(), -1, where))
                for env, where in self._envs
            ]
        )
        self._masks = self._first_masks(n_step) if any(env.masks for env in envs) else None
        self._state: Tensor | None = None
        if memory is not None:
            self._state = torch.zeros((ends[-1], *memory), device=stream.device)
        self._allocate(first, n_step, stream)
        self._cells = [
            [_Cell(self._batch, self._values, self._signals, t, where) for where in columns]
            for t in range(n_step)
        ]
        parts = range(len(columns))
        self._rows = [
            [stream.captured(partial(self._act_in, t, part), generator) for part in parts]
            for t in range(n_step)
        ]
        self._value_last = [stream.captured(partial(self._value_last_obs, w)) for w in columns]
        self._finish = stream.captured(self._value_successors)
        self._value_final = [stream.captured(partial(self._value_final_obs, w)) for w in columns]

    def _allocate(self, first: Tensor, n_step: int, stream: Stream) -> None:
        device, shape = stream.device, (n_step, len(first))
        memory = torch.zeros(Signals.size(*shape), dtype=torch.uint8)
        self._signals = Signals(memory, *shape)
        self._known = Signals(stream.mirror(memory), *shape)  # the same, where the learner is
        self._values = torch.zeros((n_step + 1, len(first)), device=device)
        self._batch = Batch(
            obs=first.new_zeros((n_step + 1, *first.shape), device=device),
            action=self._head.buffer(*shape).to(device),
            reward=self._known.reward,
            discount=self._known.discount,
            cut=self._known.cut,
            valid=self._known.valid,
            final=self._known.final,
            dist=torch.zeros((*shape, self._head.size), device=device),
            value=self._values[:-1],
            next_value=torch.zeros(shape, device=device),
            version=np.zeros(shape, np.int64),
            mask=None if self._masks is None else self._masks[:-1],
        )
        if self._state is not None:
            self._batch.memory = torch.zeros_like(self._state)
            begin = torch.zeros((n_step + 1, len(first)), dtype=torch.bool, device=device)
            self._batch.begin = begin
            begin[-1] = True
        self._batch.obs[-1].copy_(first)
        self._final_obs = torch.zeros_like(self._batch.obs[0])
        self._final_value = torch.zeros_like(self._values[0])

    def _first_masks(self, n_step: int) -> Tensor:
        """Bool[T + 1, B, K], of which the last row belongs to the first observations."""
        envs = sum(env.num_envs for env, _ in self._envs)
        shape = (n_step + 1, envs, self._head.size)
        masks = torch.ones(shape, dtype=torch.bool, device=self._stream.device)
        for env, where in self._envs:
            if env.action_mask is not None:
                masks[-1, where] = torch.from_numpy(env.action_mask).to(masks.device)
        return masks

    @property
    def elsewhere(self) -> bool:
        """False: this thread acts."""
        return False

    @property
    def restorable(self) -> bool:
        """Whether :meth:`state_dict` restores the environments exactly."""
        return all(env.restorable for env, _ in self._envs)

    @property
    def layout(self) -> Layout:
        """Of its batches."""
        batch, masked = self._batch, self._masks is not None
        memory = None if self._state is None else tuple(self._state.shape[1:])
        return layout_of(batch.steps, batch.obs[0], self._head, masked=masked, memory=memory)

    @torch.no_grad()
    def next(self) -> Batch:
        """The next T steps of every environment."""
        batch = self._batch
        self._signals.final.zero_()
        self._screening.begin()
        for t, row in enumerate(self._rows):
            for part, act in enumerate(row):
                if t > 0:
                    self._receive(t - 1, part)
                act()
                action = self._stream.download(self._cells[t][part].action)
                self._envs[part][0].send(self._head.to_env(action))
        for part, value_last in enumerate(self._value_last):
            self._receive(len(self._rows) - 1, part)
            value_last()  # while the next part still plays
        if self._scale is not None:
            signals = self._signals
            self._scale.apply(signals.reward, signals.cut, signals.valid)
        self.faults = self._screening.finish(self._signals.reward)
        self._stream.upload(self._signals.memory, self._known.memory)
        self._finish()
        self.steps += batch.steps * batch.envs
        return batch

    def learned(self, revision: int, priority: Tensor | None = None) -> None:
        """See :class:`~gala.experience.source.Source`."""
        self._batch.version.fill(revision)
        if self._scale is not None:
            self._scale.learned()

    def recent(self) -> Tensor:
        """Observations of the newest batch, [T * B, ...]; reused by the next one."""
        return self._batch.obs[:-1].flatten(0, 1)

    def metrics(self) -> dict[str, float]:
        """Nothing besides."""
        return {}

    def events(self) -> list[tuple[str, str]]:
        """None."""
        return []

    def _act_in(self, t: int, part: int) -> None:
        """Act in row t, in the environments of one vector."""
        batch, cell, where = self._batch, self._cells[t][part], self._envs[part][1]
        if t == 0:
            cell.obs.copy_(batch.obs[-1, where])
            if self._masks is not None:
                self._masks[0, where].copy_(self._masks[-1, where])
            if self._state is not None and batch.memory is not None and batch.begin is not None:
                batch.memory[where].copy_(self._state[where])
                batch.begin[0, where].copy_(batch.begin[-1, where])
        mask = None if self._masks is None else self._masks[t, where]
        dist, value = self._ask(cell.obs, self._recall(where, t), cell.rows, mask)
        dist = self._exploration.policy(dist, where)
        cell.action.copy_(self._exploration.sample(dist, self._generator))
        cell.dist.copy_(dist)
        cell.value.copy_(value)

    def _value_last_obs(self, where: slice) -> None:
        recall = self._recall(where, -1)
        self._values[-1, where].copy_(self._ask(self._batch.obs[-1, where], recall)[1])

    def _value_successors(self) -> None:
        known, values = self._known, self._values[1:]
        torch.where(known.final, known.final_value, values, out=self._batch.next_value)

    def _value_final_obs(self, where: slice) -> None:
        recall = self._recall(where, None)  # the episode's: it is cleared in the row after
        self._final_value[where].copy_(self._ask(self._final_obs[where], recall)[1])

    def _recall(self, where: slice, t: int | None) -> Recall | None:
        """What is remembered in the columns ``where`` before row t; None: nothing begins there."""
        if self._state is None or self._batch.begin is None:
            return None
        return Recall(self._state[where], None if t is None else self._batch.begin[t, where])

    def _ask(
        self,
        obs: Tensor,
        recall: Recall | None,
        rows: slice | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        if recall is None:
            return self._act(obs, rows, mask)
        return self._act(obs, rows, mask, recall)

    def _receive(self, t: int, part: int) -> None:
        (env, where), cell = self._envs[part], self._cells[t][part]
        step, screening = env.recv(), self._screening
        obs = screening.observations(step.obs, t, where)
        self._stream.upload(torch.from_numpy(obs), cell.next_obs)
        if self._masks is not None:
            shape = (env.num_envs, self._head.size)
            given = np.ones(shape, np.bool_) if step.action_mask is None else step.action_mask
            self._stream.upload(torch.from_numpy(given), self._masks[t + 1, where])
        if self._batch.begin is not None:
            begins = torch.from_numpy(step.first)
            self._stream.upload(begins, self._batch.begin[t + 1, where])
        final = cell.outcome.note(step, screening, gamma=self._gamma, reward_clip=self._reward_clip)
        if final is not None:
            # Row t + 1 begins another episode: value the last observation of this one by itself.
            self._stream.upload(torch.from_numpy(final), self._final_obs[where])
            self._value_final[part]()
            cell.final_value[:] = self._stream.download(self._final_value[where]).numpy()
        for episode in step.episodes:
            self.finished(episode.ret, episode.length, self._tasks[part])

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors; if :attr:`restorable` a run resumes exactly from it."""
        state: dict[str, Any] = {"generator": self._generator.get_state()} | self.counts()
        if self.restorable:
            obs = self._batch.obs[-1].to("cpu", copy=True)
            if self._scale is not None:
                state["running_return"] = self._scale.running.clone()
            state |= {"envs": [env.state_dict() for env, _ in self._envs], "obs": obs}
            state["tasks"] = self._tasks
            if self._masks is not None:
                state["mask"] = self._masks[-1].to("cpu", copy=True)
            if self._state is not None and self._batch.begin is not None:
                state["memory"] = self._state.to("cpu", copy=True)
                state["begin"] = self._batch.begin[-1].to("cpu", copy=True)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`; what cannot be restored begins new episodes."""
        generator = state.get("generator")  # none: actors elsewhere had their own
        if generator is not None and generator.shape == self._generator.get_state().shape:
            self._generator.set_state(generator)  # else of another kind of device: go on with ours
        self.count_from(state)
        same = state.get("tasks", [None] * len(self._envs)) == self._tasks
        if self.restorable and "envs" in state and same:  # else it is of other tasks
            for (env, _), each in zip(self._envs, state["envs"], strict=True):
                env.load_state_dict(each)
            self._batch.obs[-1].copy_(state["obs"])
            if self._scale is not None:
                self._scale.running.copy_(state["running_return"])
            if self._masks is not None:
                self._masks[-1].copy_(state["mask"])
            if self._state is not None and self._batch.begin is not None:
                self._state.copy_(state["memory"])
                self._batch.begin[-1].copy_(state["begin"])

    def done(self) -> None:
        """Nobody acts elsewhere."""

    def close(self) -> None:
        """Release the environments, all of them even if one fails."""
        with ExitStack() as stack:
            for env, _ in self._envs:
                stack.callback(env.close)
