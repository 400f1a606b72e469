"""Act for T steps in B simulators and hand the trajectory to the learner.

On a device the trajectory lies there and is written once: observations go up step by step, actions
and values are computed there, and what the simulators said besides goes up at the end in one piece.
Each step is recorded by itself, as it works on rows of its own.

Simulators in processes of their own come in two vectors: while one plays, the network acts for the
other.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from gala.device.streams import Direct, Stream
from gala.envs import VectorEnv
from gala.networks.heads import ActionHead

RECENT_EPISODES = 100


class Act(Protocol):
    """Float[B, K] action distribution and Float[B] value of observations.

    ``place`` is theirs among the T x B of the rollout, None for those that are only valued.
    """

    def __call__(self, obs: Tensor, place: slice | None = None) -> tuple[Tensor, Tensor]:
        """See the class."""
        ...


@dataclass(slots=True)
class Rollout:
    """T steps of B simulators; the arrays are reused by the next rollout.

    Attributes:
        obs: [T + 1, B, ...]; row T is what the next rollout starts from.
        action: [T, B, ...].
        reward: Float32[T, B], the learner's (clipped if asked).
        discount: Float32[T, B]: 0 at termination, gamma elsewhere.
        value: Float32[T, B], V(obs[t]) of the policy that acted.
        next_value: Float32[T, B], V of the true successor of step t.
        cut: Bool[T, B], True where the episode does not go on in row t + 1.
        valid: Bool[T, B], False where autoreset ignored the action: keep out of the loss.
    """

    obs: Tensor
    action: Tensor
    reward: Tensor
    discount: Tensor
    value: Tensor
    next_value: Tensor
    cut: Tensor
    valid: Tensor


class _Said:
    """What T steps of B simulators said besides observations: one piece of memory.

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
        self.cut, self.valid, self.ended_elsewhere = flags.view(torch.bool).view(3, steps, envs)

    @staticmethod
    def size(steps: int, envs: int) -> int:
        """Bytes: three numbers in float32 and three flags a step."""
        return 15 * steps * envs


class Collector:
    """Owns the simulators of one agent and the arrays they fill.

    Args:
        envs: the simulators, B in all; where there are several vectors of them, some play while the
            network acts for others.
        act: see :class:`Act`.
        head: turns distributions into actions.
        n_step: T.
        gamma: discount per step.
        reward_clip: learn from the sign of the reward.
        generator: random numbers of this agent's actions.
        stream: where ``act`` computes.

    Attributes:
        returns: raw returns of the newest finished games, at most 100.
        lengths: their lengths in steps.
        episodes: finished games so far.
        return_sum: of their raw returns.
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
        stream: Stream | None = None,
    ) -> None:
        self._stream = stream = stream or Direct()
        self._act, self._head, self._generator = act, head, generator
        ends = list(itertools.accumulate((env.num_envs for env in envs), initial=0))
        columns = [slice(*pair) for pair in itertools.pairwise(ends)]
        self._envs = list(zip(envs, columns, strict=True))
        self._gamma, self._reward_clip = gamma, reward_clip
        self.returns: deque[float] = deque(maxlen=RECENT_EPISODES)
        self.lengths: deque[int] = deque(maxlen=RECENT_EPISODES)
        self.episodes = 0
        self.return_sum = 0.0
        # a copy: what a simulator shows may be its own buffer
        first = torch.cat([torch.from_numpy(env.reset()) for env in envs])
        device, shape = stream.device, (n_step, ends[-1])
        said = torch.zeros(_Said.size(*shape), dtype=torch.uint8)
        self._said = _Said(said, *shape)
        self._known = _Said(stream.mirror(said), *shape)  # the same, where the learner is
        self._values = torch.zeros((n_step + 1, ends[-1]), device=device)
        self._rollout = Rollout(
            obs=first.new_zeros((n_step + 1, *first.shape), device=device),
            action=head.buffer(*shape).to(device),
            reward=self._known.reward,
            discount=self._known.discount,
            value=self._values[:-1],
            next_value=torch.zeros(shape, device=device),
            cut=self._known.cut,
            valid=self._known.valid,
        )
        self._rollout.obs[-1].copy_(first)
        self._final_obs = torch.zeros_like(self._rollout.obs[0])
        self._final_value = torch.zeros_like(self._values[0])
        self._steps = [
            [stream.captured(partial(self._step, t, where), generator) for where in columns]
            for t in range(n_step)
        ]
        self._value_last = [stream.captured(partial(self._value_last_obs, w)) for w in columns]
        self._finish = stream.captured(self._value_successors)
        self._value_final = [stream.captured(partial(self._value_final_obs, w)) for w in columns]

    @property
    def restorable(self) -> bool:
        """Whether :meth:`state_dict` restores the simulators exactly."""
        return all(env.restorable for env, _ in self._envs)

    @torch.no_grad()
    def collect(self) -> Rollout:
        """The next T steps of every simulator."""
        r = self._rollout
        self._said.ended_elsewhere.zero_()
        for t, steps in enumerate(self._steps):
            for part, step in enumerate(steps):
                env, where = self._envs[part]
                if t > 0:
                    self._receive(t - 1, part)
                step()
                env.send(self._head.to_env(self._stream.download(r.action[t, where])))
        for part, value_last in enumerate(self._value_last):
            self._receive(len(self._steps) - 1, part)
            value_last()  # while the next part still plays
        self._stream.upload(self._said.memory, self._known.memory)
        self._finish()
        return r

    def recent(self) -> Tensor:
        """Observations of the newest rollout, [T * B, ...]; reused by the next one."""
        return self._rollout.obs[:-1].flatten(0, 1)

    def _step(self, t: int, where: slice) -> None:
        """Act in the columns ``where`` of row t."""
        r = self._rollout
        if t == 0:
            r.obs[0, where].copy_(r.obs[-1, where])
        begin = t * r.obs.shape[1]
        place = slice(begin + where.start, begin + where.stop)
        dist, value = self._act(r.obs[t, where], place)
        r.action[t, where].copy_(self._head.sample(dist, self._generator))
        self._values[t, where].copy_(value)

    def _value_last_obs(self, where: slice) -> None:
        self._values[-1, where].copy_(self._act(self._rollout.obs[-1, where])[1])

    def _value_successors(self) -> None:
        known, values = self._known, self._values[1:]
        torch.where(known.ended_elsewhere, known.final_value, values, out=self._rollout.next_value)

    def _value_final_obs(self, where: slice) -> None:
        self._final_value[where].copy_(self._act(self._final_obs[where])[1])

    def _receive(self, t: int, part: int) -> None:
        env, where = self._envs[part]
        said, step = self._said, env.recv()
        self._stream.upload(torch.from_numpy(step.obs), self._rollout.obs[t + 1, where])
        reward, terminated = torch.from_numpy(step.reward), torch.from_numpy(step.terminated)
        truncated = torch.from_numpy(step.truncated)
        said.reward[t, where].copy_(reward.sign() if self._reward_clip else reward)
        torch.mul(~terminated, self._gamma, out=said.discount[t, where])
        torch.logical_or(terminated, truncated, out=said.cut[t, where])
        said.valid[t, where].copy_(torch.from_numpy(step.valid))
        if step.final_obs is not None and step.truncated.any():
            # Row t + 1 begins another episode: value the last observation of this one by itself.
            said.ended_elsewhere[t, where].copy_(truncated)
            self._stream.upload(torch.from_numpy(step.final_obs), self._final_obs[where])
            self._value_final[part]()
            said.final_value[t, where].copy_(self._stream.download(self._final_value[where]))
        for episode in step.episodes:
            self.returns.append(episode.ret)
            self.lengths.append(episode.length)
            self.episodes += 1
            self.return_sum += episode.ret

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors; if :attr:`restorable` a run resumes exactly from it."""
        state: dict[str, Any] = {
            "generator": self._generator.get_state(),
            "returns": list(self.returns),
            "lengths": list(self.lengths),
            "episodes": self.episodes,
            "return_sum": self.return_sum,
        }
        if self.restorable:
            obs = self._rollout.obs[-1].to("cpu", copy=True)
            state |= {"envs": [env.state_dict() for env, _ in self._envs], "obs": obs}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`; simulators that cannot be restored begin new episodes."""
        generator = state["generator"]
        if generator.shape == self._generator.get_state().shape:
            self._generator.set_state(generator)  # else of another kind of device: go on with ours
        self.returns.extend(state["returns"])
        self.lengths.extend(state["lengths"])
        self.episodes = state["episodes"]
        self.return_sum = state.get("return_sum", 0.0)  # missing in old ones; differences count
        saved = [state["env"]] if "env" in state else state.get("envs")  # in old ones
        if self.restorable and saved:
            for (env, _), each in zip(self._envs, saved, strict=True):
                env.load_state_dict(each)
            self._rollout.obs[-1].copy_(state["obs"])

    def close(self) -> None:
        """Release the simulators, all of them even if one fails."""
        with ExitStack() as stack:
            for env, _ in self._envs:
                stack.callback(env.close)
