"""A callback that lets agents of Stable-Baselines3 gossip, whichever of its algorithms they run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from gala.errors import UserError
from gala.files import commands
from gala.library.api import gossip
from gala.library.gossiping import Gossiping

try:
    from stable_baselines3.common.callbacks import BaseCallback
except ImportError:
    hint = commands.install("sb3")
    raise UserError("needs Stable-Baselines3", field="gala.sb3", hint=hint) from None

TARGETS = (("actor_target", "actor"), ("critic_target", "critic"), ("q_net_target", "q_net"))
"""Target networks of its policies, and what they follow."""


class GossipCallback(BaseCallback):
    """Averages the policy with the neighbours' after the steps of its optimizers.

    A2C, PPO, DQN, SAC, TD3, DDPG: networks, targets that follow by Polyak's average, SAC's
    temperature, and the statistics of a VecNormalize go along. With a run folder the returns of its
    Monitor and what the algorithm logs of its training are recorded.

    Args:
        topology: see :func:`gala.library.api.gossip`.
        options: of that function, such as ``every=16`` for algorithms that learn at each step.

    Attributes:
        node: from the start of training on.
    """

    node: Gossiping

    def __init__(self, topology: str | Path, **options: Any) -> None:
        super().__init__()
        self._topology, self._options = topology, options

    def _on_training_start(self) -> None:
        parts = parts_of(self.model)
        self.node = gossip(topology=self._topology, **(parts | self._options))

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        games = [game["r"] for game in self.model.ep_info_buffer or ()]
        found: dict[str, float | None] = {
            f"losses/{name.removeprefix('train/')}": float(value)
            for name, value in self.logger.name_to_value.items()
            if name.startswith("train/")
        }
        found["charts/episodic_return"] = sum(games) / len(games) if games else None
        self.node.log(found, step=self.num_timesteps)

    def _on_training_end(self) -> None:
        self.node.close()


def parts_of(model: Any) -> dict[str, Any]:
    """What of an algorithm goes along, as arguments of :func:`gala.library.api.gossip`."""
    policy = model.policy
    pairs = [
        (getattr(policy, target), getattr(policy, online))
        for target, online in TARGETS
        if isinstance(getattr(policy, target, None), nn.Module)
    ]
    followed = [name for _, name in TARGETS if pairs and hasattr(policy, name)]
    networks = {name: getattr(policy, name) for name in followed}
    owners = [policy, *(getattr(policy, name, None) for name in ("actor", "critic"))]
    optimizers = [each.optimizer for each in owners if getattr(each, "optimizer", None) is not None]
    found: dict[str, Any] = {"model": networks or policy}
    # a copy taken every n steps is taken of what was mixed; it need not be mixed itself
    found["lagging"] = pairs if getattr(model, "tau", 1.0) < 1.0 else []
    if getattr(model, "ent_coef_optimizer", None) is not None:
        found["extra"] = {"log_ent_coef": model.log_ent_coef}
        optimizers.append(model.ent_coef_optimizer)
    normaliser = model.get_vec_normalize_env()
    found["statistics"] = [] if normaliser is None else [normaliser]
    found["optimizer"] = optimizers
    if "critic" in networks:
        # never between an actor's forward and backward pass: SAC's actor acts before the critic's
        # step and learns behind it, TD3's does both behind it, and at every other step only
        last = policy.critic if hasattr(model, "policy_delay") else policy.actor
        found["after"] = last.optimizer
    return found
