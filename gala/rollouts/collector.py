"""Act for T steps in B simulators and hand the trajectory to the learner."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from gala.envs import VectorEnv
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
    ) -> None:
        self.env, self._act, self._head, self._generator = env, act, head, generator
        self._gamma, self._reward_clip = gamma, reward_clip
        self.returns: deque[float] = deque(maxlen=RECENT_EPISODES)
        self.lengths: deque[int] = deque(maxlen=RECENT_EPISODES)
        self.episodes = 0
        self.return_sum = 0.0
        first = torch.from_numpy(env.reset())
        shape = (n_step, env.num_envs)
        self._values = torch.zeros((n_step + 1, env.num_envs))
        self._final_values = torch.zeros(shape)
        self._ended_elsewhere = torch.zeros(shape, dtype=torch.bool)
        self._rollout = Rollout(
            obs=first.new_zeros((n_step + 1, *first.shape)),
            action=head.buffer(*shape),
            reward=torch.zeros(shape),
            discount=torch.zeros(shape),
            value=self._values[:-1],
            next_value=torch.zeros(shape),
            cut=torch.zeros(shape, dtype=torch.bool),
            valid=torch.zeros(shape, dtype=torch.bool),
        )
        self._rollout.obs[-1].copy_(first)

    @torch.no_grad()
    def collect(self) -> Rollout:
        """The next T steps of every simulator."""
        r = self._rollout
        steps = r.reward.shape[0]
        r.obs[0].copy_(r.obs[steps])
        self._ended_elsewhere.zero_()
        for t in range(steps):
            dist, value = self._act(r.obs[t], t)
            action = self._head.sample(dist, self._generator)
            self.env.send(self._head.to_env(action))
            r.action[t].copy_(action)
            self._values[t].copy_(value)
            self._receive(t)
        self._values[steps].copy_(self._act(r.obs[steps])[1])
        torch.where(self._ended_elsewhere, self._final_values, self._values[1:], out=r.next_value)
        return r

    def recent(self) -> Tensor:
        """Observations of the newest rollout, [T * B, ...]; reused by the next one."""
        return self._rollout.obs[:-1].flatten(0, 1)

    def _receive(self, t: int) -> None:
        r, step = self._rollout, self.env.recv()
        r.obs[t + 1].copy_(torch.from_numpy(step.obs))
        reward, terminated = torch.from_numpy(step.reward), torch.from_numpy(step.terminated)
        truncated = torch.from_numpy(step.truncated)
        r.reward[t].copy_(reward.sign() if self._reward_clip else reward)
        torch.mul(~terminated, self._gamma, out=r.discount[t])
        torch.logical_or(terminated, truncated, out=r.cut[t])
        r.valid[t].copy_(torch.from_numpy(step.valid))
        if step.final_obs is not None and step.truncated.any():
            # Row t + 1 begins another episode: value the last observation of this one by itself.
            self._ended_elsewhere[t].copy_(truncated)
            self._final_values[t].copy_(self._act(torch.from_numpy(step.final_obs))[1])
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
            state |= {"env": self.env.state_dict(), "obs": self._rollout.obs[-1].clone()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`; simulators that cannot be restored begin new episodes."""
        self._generator.set_state(state["generator"])
        self.returns.extend(state["returns"])
        self.lengths.extend(state["lengths"])
        self.episodes, self.return_sum = state["episodes"], state["return_sum"]
        if self.env.restorable and "env" in state:
            self.env.load_state_dict(state["env"])
            self._rollout.obs[-1].copy_(state["obs"])
