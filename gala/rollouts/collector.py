"""Act for T steps in B simulators and hand the trajectory to the learner.

On a device the trajectory lies there and is written once: observations go up step by step, actions
and values are computed there, and what the simulators said besides goes up at the end in one piece.
Each step is recorded by itself, as it works on rows of its own.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from gala.envs import VectorEnv
from gala.lane import Direct, Lane
from gala.networks.heads import ActionHead

RECENT_EPISODES = 100


class Act(Protocol):
    """Float[B, K] action distribution and Float[B] value of observations.

    ``row`` is their place in the rollout, None for observations that are only valued.
    """

    def __call__(self, obs: Tensor, row: int | None = None) -> tuple[Tensor, Tensor]:
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
        env: the simulators.
        act: see :class:`Act`.
        head: turns distributions into actions.
        n_step: T.
        gamma: discount per step.
        reward_clip: learn from the sign of the reward.
        generator: random numbers of this agent's actions.
        lane: where ``act`` computes.

    Attributes:
        returns: raw returns of the newest finished games, at most 100.
        lengths: their lengths in steps.
        episodes: finished games so far.
        return_sum: of their raw returns.
    """

    def __init__(
        self,
        env: VectorEnv,
        act: Act,
        head: ActionHead,
        *,
        n_step: int,
        gamma: float,
        reward_clip: bool,
        generator: torch.Generator,
        lane: Lane | None = None,
    ) -> None:
        self._lane = lane = lane or Direct()
        self.env, self._act, self._head, self._generator = env, act, head, generator
        self._gamma, self._reward_clip = gamma, reward_clip
        self.returns: deque[float] = deque(maxlen=RECENT_EPISODES)
        self.lengths: deque[int] = deque(maxlen=RECENT_EPISODES)
        self.episodes = 0
        self.return_sum = 0.0
        first = torch.from_numpy(env.reset())
        device, shape = lane.device, (n_step, env.num_envs)
        said = torch.zeros(_Said.size(*shape), dtype=torch.uint8)
        self._said = _Said(said, *shape)
        self._known = _Said(lane.mirror(said), *shape)  # the same, where the learner is
        self._values = torch.zeros((n_step + 1, env.num_envs), device=device)
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
        self._steps = [lane.captured(partial(self._step, t), generator) for t in range(n_step)]
        self._finish = lane.captured(self._value_successors)
        self._value_final = lane.captured(self._value_final_obs)

    @torch.no_grad()
    def collect(self) -> Rollout:
        """The next T steps of every simulator."""
        r = self._rollout
        self._said.ended_elsewhere.zero_()
        for t, step in enumerate(self._steps):
            step()
            self.env.send(self._head.to_env(self._lane.download(r.action[t])))
            self._receive(t)
        self._lane.upload(self._said.memory, self._known.memory)
        self._finish()
        return r

    def recent(self) -> Tensor:
        """Observations of the newest rollout, [T * B, ...]; reused by the next one."""
        return self._rollout.obs[:-1].flatten(0, 1)

    def _step(self, t: int) -> None:
        """Act on row t."""
        r = self._rollout
        if t == 0:
            r.obs[0].copy_(r.obs[-1])
        dist, value = self._act(r.obs[t], t)
        r.action[t].copy_(self._head.sample(dist, self._generator))
        self._values[t].copy_(value)

    def _value_successors(self) -> None:
        r, known = self._rollout, self._known
        self._values[-1].copy_(self._act(r.obs[-1])[1])
        torch.where(known.ended_elsewhere, known.final_value, self._values[1:], out=r.next_value)

    def _value_final_obs(self) -> None:
        self._final_value.copy_(self._act(self._final_obs)[1])

    def _receive(self, t: int) -> None:
        said, step = self._said, self.env.recv()
        self._lane.upload(torch.from_numpy(step.obs), self._rollout.obs[t + 1])
        reward, terminated = torch.from_numpy(step.reward), torch.from_numpy(step.terminated)
        truncated = torch.from_numpy(step.truncated)
        said.reward[t].copy_(reward.sign() if self._reward_clip else reward)
        torch.mul(~terminated, self._gamma, out=said.discount[t])
        torch.logical_or(terminated, truncated, out=said.cut[t])
        said.valid[t].copy_(torch.from_numpy(step.valid))
        if step.final_obs is not None and step.truncated.any():
            # Row t + 1 begins another episode: value the last observation of this one by itself.
            said.ended_elsewhere[t].copy_(truncated)
            self._lane.upload(torch.from_numpy(step.final_obs), self._final_obs)
            self._value_final()
            said.final_value[t].copy_(self._lane.download(self._final_value))
        for episode in step.episodes:
            self.returns.append(episode.ret)
            self.lengths.append(episode.length)
            self.episodes += 1
            self.return_sum += episode.ret

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors; with ``env.restorable`` a run resumes exactly from it."""
        state: dict[str, Any] = {
            "generator": self._generator.get_state(),
            "returns": list(self.returns),
            "lengths": list(self.lengths),
            "episodes": self.episodes,
            "return_sum": self.return_sum,
        }
        if self.env.restorable:
            obs = self._rollout.obs[-1].to("cpu", copy=True)
            state |= {"env": self.env.state_dict(), "obs": obs}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`; simulators that cannot be restored begin new episodes."""
        self._generator.set_state(state["generator"])
        self.returns.extend(state["returns"])
        self.lengths.extend(state["lengths"])
        self.episodes = state["episodes"]
        self.return_sum = state.get("return_sum", 0.0)  # missing in old ones; differences count
        if self.env.restorable and "env" in state:
            self.env.load_state_dict(state["env"])
            self._rollout.obs[-1].copy_(state["obs"])
