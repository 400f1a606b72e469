"""Collector: acts for T steps in B environments, in the learner's thread.

On a device the batch lies there and is written once: observations go up step by step, actions and
values are computed there, and what the environments gave besides goes up at the end in one piece.
Each step is recorded by itself, as it works on rows of its own.

Environments in processes of their own come in two vectors: while one plays, the network acts for
the other.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gala.device.streams import Direct, Stream
from gala.envs import VectorEnv
from gala.experience.batch import Batch
from gala.experience.reward_scale import RewardScale
from gala.networks.heads import ActionHead

RECENT_EPISODES = 100


class Act(Protocol):
    """Float[B, K] action distribution and Float[B] value of observations.

    ``rows`` are theirs among the T x B of the batch, None for those that are only valued;
    ``mask``, Bool[B, K], says which actions are allowed, None: all.
    """

    def __call__(
        self, obs: Tensor, rows: slice | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See the class."""
        ...


class _Signals:
    """What T steps of B environments gave besides observations: one piece of memory.

    Args:
        memory: Uint8, :meth:`size` bytes.
        steps: T.
        envs: B.
    """

    def __init__(self, memory: Tensor, steps: int, envs: int) -> None:
        floats, flags = torch.split(memory, [12 * steps * envs, 3 * steps * envs])
        self.memory = memory
        self.reward, self.discount, self.final_value = floats.view(torch.float32).view(
            3, steps, envs
        )
        self.cut, self.valid, self.final = flags.view(torch.bool).view(3, steps, envs)

    @staticmethod
    def size(steps: int, envs: int) -> int:
        """Bytes: three numbers in float32 and three flags a step."""
        return 15 * steps * envs


class Collector:
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
    ) -> None:
        self._stream = stream = stream or Direct()
        self._act, self._head, self._generator = act, head, generator
        ends = list(itertools.accumulate((env.num_envs for env in envs), initial=0))
        columns = [slice(*pair) for pair in itertools.pairwise(ends)]
        self._envs = list(zip(envs, columns, strict=True))
        self._gamma, self._reward_clip, self._scale = gamma, reward_clip, reward_scale
        self.steps = self.episodes = 0
        self.returns: deque[float] = deque(maxlen=RECENT_EPISODES)
        self.lengths: deque[int] = deque(maxlen=RECENT_EPISODES)
        self.return_sum = 0.0
        # a copy: what an environment shows may be its own buffer
        first = torch.cat([torch.from_numpy(env.reset()) for env in envs])
        self._masks = self._first_masks(n_step) if any(env.masks for env in envs) else None
        self._allocate(first, n_step, stream)
        self._rows = [
            [stream.captured(partial(self._act_in, t, where), generator) for where in columns]
            for t in range(n_step)
        ]
        self._value_last = [stream.captured(partial(self._value_last_obs, w)) for w in columns]
        self._finish = stream.captured(self._value_successors)
        self._value_final = [stream.captured(partial(self._value_final_obs, w)) for w in columns]

    def _allocate(self, first: Tensor, n_step: int, stream: Stream) -> None:
        device, shape = stream.device, (n_step, len(first))
        memory = torch.zeros(_Signals.size(*shape), dtype=torch.uint8)
        self._signals = _Signals(memory, *shape)
        self._known = _Signals(stream.mirror(memory), *shape)  # the same, where the learner is
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
            version=np.zeros(len(first), np.int64),
            mask=None if self._masks is None else self._masks[:-1],
        )
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
    def restorable(self) -> bool:
        """Whether :meth:`state_dict` restores the environments exactly."""
        return all(env.restorable for env, _ in self._envs)

    @torch.no_grad()
    def next(self) -> Batch:
        """The next T steps of every environment."""
        batch = self._batch
        self._signals.final.zero_()
        for t, row in enumerate(self._rows):
            for part, act in enumerate(row):
                env, where = self._envs[part]
                if t > 0:
                    self._receive(t - 1, part)
                act()
                env.send(self._head.to_env(self._stream.download(batch.action[t, where])))
        for part, value_last in enumerate(self._value_last):
            self._receive(len(self._rows) - 1, part)
            value_last()  # while the next part still plays
        if self._scale is not None:
            signals = self._signals
            self._scale.apply(signals.reward, signals.cut, signals.valid)
        self._stream.upload(self._signals.memory, self._known.memory)
        self._finish()
        self.steps += batch.steps * batch.envs
        return batch

    def learned(self, revision: int) -> None:
        """See :class:`~gala.experience.source.Source`."""
        self._batch.version.fill(revision)
        if self._scale is not None:
            self._scale.learned()

    def recent(self) -> Tensor:
        """Observations of the newest batch, [T * B, ...]; reused by the next one."""
        return self._batch.obs[:-1].flatten(0, 1)

    def _act_in(self, t: int, where: slice) -> None:
        """Act in the columns ``where`` of row t."""
        batch = self._batch
        if t == 0:
            batch.obs[0, where].copy_(batch.obs[-1, where])
            if self._masks is not None:
                self._masks[0, where].copy_(self._masks[-1, where])
        begin = t * batch.obs.shape[1]
        rows = slice(begin + where.start, begin + where.stop)
        mask = None if self._masks is None else self._masks[t, where]
        dist, value = self._act(batch.obs[t, where], rows, mask)
        batch.action[t, where].copy_(self._head.sample(dist, self._generator))
        batch.dist[t, where].copy_(dist)
        self._values[t, where].copy_(value)

    def _value_last_obs(self, where: slice) -> None:
        self._values[-1, where].copy_(self._act(self._batch.obs[-1, where])[1])

    def _value_successors(self) -> None:
        known, values = self._known, self._values[1:]
        torch.where(known.final, known.final_value, values, out=self._batch.next_value)

    def _value_final_obs(self, where: slice) -> None:
        self._final_value[where].copy_(self._act(self._final_obs[where])[1])

    def _receive(self, t: int, part: int) -> None:
        env, where = self._envs[part]
        signals, step = self._signals, env.recv()
        self._stream.upload(torch.from_numpy(step.obs), self._batch.obs[t + 1, where])
        if self._masks is not None:
            shape = (env.num_envs, self._head.size)
            given = np.ones(shape, np.bool_) if step.action_mask is None else step.action_mask
            self._stream.upload(torch.from_numpy(given), self._masks[t + 1, where])
        reward, terminated = torch.from_numpy(step.reward), torch.from_numpy(step.terminated)
        truncated = torch.from_numpy(step.truncated)
        signals.reward[t, where].copy_(reward.sign() if self._reward_clip else reward)
        torch.mul(~terminated, self._gamma, out=signals.discount[t, where])
        torch.logical_or(terminated, truncated, out=signals.cut[t, where])
        signals.valid[t, where].copy_(torch.from_numpy(step.valid))
        if step.final_obs is not None and step.truncated.any():
            # Row t + 1 begins another episode: value the last observation of this one by itself.
            signals.final[t, where].copy_(truncated)
            self._stream.upload(torch.from_numpy(step.final_obs), self._final_obs[where])
            self._value_final[part]()
            signals.final_value[t, where].copy_(self._stream.download(self._final_value[where]))
        for episode in step.episodes:
            self.returns.append(episode.ret)
            self.lengths.append(episode.length)
            self.episodes += 1
            self.return_sum += episode.ret

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors; if :attr:`restorable` a run resumes exactly from it."""
        state: dict[str, Any] = {
            "generator": self._generator.get_state(),
            "steps": self.steps,
            "returns": list(self.returns),
            "lengths": list(self.lengths),
            "episodes": self.episodes,
            "return_sum": self.return_sum,
        }
        if self.restorable:
            obs = self._batch.obs[-1].to("cpu", copy=True)
            if self._scale is not None:
                state["running_return"] = self._scale.running.clone()
            state |= {"envs": [env.state_dict() for env, _ in self._envs], "obs": obs}
            if self._masks is not None:
                state["mask"] = self._masks[-1].to("cpu", copy=True)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`; what cannot be restored begins new episodes."""
        generator = state["generator"]
        if generator.shape == self._generator.get_state().shape:
            self._generator.set_state(generator)  # else of another kind of device: go on with ours
        self.steps, self.episodes = state["steps"], state["episodes"]
        self.returns.extend(state["returns"])
        self.lengths.extend(state["lengths"])
        self.return_sum = state["return_sum"]
        if self.restorable and "envs" in state:
            for (env, _), each in zip(self._envs, state["envs"], strict=True):
                env.load_state_dict(each)
            self._batch.obs[-1].copy_(state["obs"])
            if self._scale is not None:
                self._scale.running.copy_(state["running_return"])
            if self._masks is not None:
                self._masks[-1].copy_(state["mask"])

    def close(self) -> None:
        """Release the environments, all of them even if one fails."""
        with ExitStack() as stack:
            for env, _ in self._envs:
                stack.callback(env.close)
