"""A trained policy: observations of its environment in, actions for it out, all numpy.

``predict`` has the arguments and results of Stable-Baselines3's, so that loops written for one work
with the other.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from gala.config.tree import Config
from gala.envs.translation import Translation, allowed
from gala.errors import UserError
from gala.networks import Network
from gala.policy.acting import Acting
from gala.policy.trained_run import AgentName, Snapshot

Array = NDArray[Any]


class Policy:
    """One policy of a trained run; :func:`gala.load` makes it.

    Args:
        acting: the network of the run, with the parameters of ``snapshot``.
        translation: between the run's environment and that network.
        config: of the run.
        snapshot: who it is.

    Attributes:
        model: the torch module that acts, normaliser included. Of B observations as the network
            sees them it gives the parameters of the action distributions, Float[B, K], and values,
            Float[B]; see :class:`gala.networks.network.Network`.
        observation_space: of the environment of the run, wrappers included.
        action_space: likewise.
        config: the resolved configuration of the run.
        agent: rank of the agent, or "mean".
        update: local updates that it has learned from.
        step: environment steps until then: of the agent, or of all agents together for the mean.
    """

    def __init__(
        self, acting: Acting, translation: Translation, config: Config, snapshot: Snapshot
    ) -> None:
        self.acting, self.translation, self.config = acting, translation, config
        self.agent: AgentName = snapshot.agent
        self.update, self.step = snapshot.update, snapshot.step
        self.model: Network = acting.network
        self.observation_space: gymnasium.Space[Any] = translation.given
        self.action_space: gymnasium.Space[Any] = translation.actions.given
        self._masks, self._see = translation.masks(), translation.observations.converter()

    def predict(
        self,
        observation: Any,
        state: Array | None = None,
        episode_start: Any = None,
        deterministic: bool = False,
        *,
        action_masks: Any = None,
    ) -> tuple[Any, Array | None]:
        """What the policy does.

        Args:
            observation: of :attr:`observation_space`, or B of them: arrays with one axis more in
                front (in every part of a Dict or Tuple).
            state: what the last call returned, Float32[B, ...]; None: nothing is remembered.
                B is 1 for a single observation.
            episode_start: Bool[B] or one truth value, where an episode begins: what ``state`` says
                of that row is forgotten; None: nowhere.
            deterministic: take the most likely action; else draw one, see :meth:`seed`.
            action_masks: Bool[B, K], the actions that are allowed; None: all, or what the field
                ``action_mask`` of the observation says.

        Returns:
            The action, of :attr:`action_space`, or B of them; and what to hand over as ``state``
            next time: None for a policy without memory.

        Raises:
            UserError: an argument of another shape.
        """
        batch, count, single = self.translation.batch(observation)
        mask = allowed(self._masks, batch, action_masks, count)
        before = self.acting.state(count, self._remembered(state, count))
        actions, after = self.acting.act(
            np.ascontiguousarray(self._see(batch)),
            mask,
            before,
            _begins(episode_start, count),
            greedy=deterministic,
        )
        given = self.translation.actions.to_env(actions)
        kept = None if after is None else after.to("cpu", torch.float32).numpy()
        return (given[0] if single else given), kept

    def seed(self, seed: int) -> None:
        """Begin the draws of actions anew; the same seed draws the same."""
        self.acting.seed(seed)

    def _remembered(self, state: Any, count: int) -> Array | None:
        memory = self.model.memory
        if state is None or memory is None:
            return None
        given = np.asarray(state, np.float32)
        if given.shape != (count, *memory.shape):
            rule = f"has the shape {list(given.shape)}, wanted {[count, *memory.shape]}"
            raise UserError(rule, field="state", hint="what the last call returned, or None")
        return given


def _begins(given: Any, count: int) -> NDArray[np.bool_]:
    """Bool[B]."""
    first = np.asarray(False if given is None else given, np.bool_)
    if first.size not in (1, count):
        rule = f"has the shape {list(first.shape)}, wanted {[count]}"
        raise UserError(rule, field="episode_start")
    return np.array(np.broadcast_to(first.reshape(-1), (count,)))
