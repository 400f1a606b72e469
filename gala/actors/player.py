"""Player: acts with a copy of a policy, wherever its parameters come from."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor

from gala.config.tree import Config
from gala.envs import make_vector_envs
from gala.experience import Collector
from gala.experience.unroll import Unroll
from gala.files.yaml import parse_yaml
from gala.gossip.message import checksum
from gala.networks.build import Values, network_of
from gala.networks.model import Model, choose_precision
from gala.parameters.flat import FlatParameters
from gala.run.config import from_document


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one player plays.

    Attributes:
        config: the configuration of the run, as YAML; where it has tasks, with that of the actor.
        envs: environments of this actor.
        actor: its index among those of its agent.
        env_seed: of its environments.
        action_seed: of its actions.
        duals: of its algorithm, in its flat vector.
        values: what its network knows, see :func:`~gala.networks.build.build_network`.
        epsilon: of its environments, see :class:`~gala.experience.exploration.Exploration`.
    """

    config: str
    envs: int
    actor: int
    env_seed: int
    action_seed: int
    duals: int
    values: Values
    epsilon: Sequence[float] | None

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """From :meth:`to_json`."""
        return cls(**json.loads(text))


class _Collector(Collector):
    """Keeps the games of an unroll one by one, for the learner to count."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.games: list[tuple[float, int]] = []

    def finished(self, ret: float, length: int, task: int | None = None) -> None:
        """A game has ended; of which task it is, the learner knows by the actor."""
        self.games.append((ret, length))


class Player:
    """Acts with a copy of its learner's policy.

    Args:
        part: see :class:`Part`.

    Attributes:
        flat: its parameters.
        layout: of its unrolls.

    Raises:
        UserError: the environments cannot be made.
    """

    def __init__(self, part: Part) -> None:
        config: Config = from_document(parse_yaml(part.config, "the configuration of the run"))
        env = dataclasses.replace(config.env, num_envs=part.envs)
        envs = make_vector_envs(env, seed=part.env_seed)
        spaces = envs[0].observation_space, envs[0].action_space
        network = network_of(config, *spaces, values=part.values)
        network.hold((1.0,) * part.duals)
        self.flat = FlatParameters(network, buffers=network.statistics)
        precision = choose_precision(config.network.precision, network, torch.device("cpu"))
        self._part = part
        self._model = Model(network, self.flat, precision)
        self._collector = _Collector(
            envs,
            self._model.act,
            self._model.module.head,
            n_step=config.learning.n_step,
            gamma=config.learning.gamma,
            reward_clip=config.env.reward_clip,
            generator=torch.Generator().manual_seed(part.action_seed),
            memory=None if network.memory is None else network.memory.shape,
            epsilon=part.epsilon,
        )
        self.layout = self._collector.layout
        self._played = 0

    def follow(self, vector: Tensor) -> None:
        """Act with other parameters, Float32[P], from the next unroll on."""
        self.flat.data.copy_(vector)
        self._model.refresh()

    def play(self, unroll: Unroll, revision: int, idle_s: float) -> None:
        """Act for T steps, and write what came of it.

        Args:
            unroll: where to.
            revision: of the parameters.
            idle_s: seconds that were waited for it.
        """
        began = time.perf_counter()
        unroll.fill(
            self._collector.next(),
            version=revision,
            games=self._collector.games,
            faults=self._collector.faults,
            actor=self._part.actor,
            number=self._played,
            idle_s=idle_s,
            busy_s=time.perf_counter() - began,
        )
        self._played += 1
        self._collector.games.clear()
        unroll.checksum[0] = checksum(unroll.sealed)

    def close(self) -> None:
        """Release the environments."""
        self._collector.close()
