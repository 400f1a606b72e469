"""Replaying: what an agent keeps to learn from again, and how its environments explore for it."""

from __future__ import annotations

import torch

from gala.agent.setting import Setting
from gala.config.tasks import dealt
from gala.device.streams import Stream
from gala.experience.collector import Collector
from gala.experience.exploration import epsilons
from gala.experience.replay import Replay, Store
from gala.experience.sequences import SequenceStore
from gala.experience.source import Source
from gala.experience.transitions import TransitionStore
from gala.experience.unroll_queue import UnrollQueue
from gala.learning.table import SEQUENCES, UNROLLS, source_of


def replayed(setting: Setting, unrolls: Collector | UnrollQueue, stream: Stream) -> Source:
    """The source that the agent learns from: ``unrolls``, or a replay of them."""
    source = source_of(setting.config.algorithm)
    if source == UNROLLS:
        return unrolls
    store = (_sequences if source == SEQUENCES else _transitions)(setting, unrolls)
    return Replay(unrolls, store, setting.config.replay, stream=stream)


def exploration(setting: Setting) -> tuple[float, ...] | None:
    """Epsilons of the agent's environments; None: its policy explores by itself."""
    config, launch = setting.config, setting.launch
    if source_of(config.algorithm) != SEQUENCES:
        return None
    every = epsilons(
        launch.agents,
        launch.rank,
        config.env.num_envs,
        base=config.learning.epsilon,
        spread=config.learning.epsilon_spread,
    )
    if len(setting.tasks) < 2:
        return every
    # A task has neighbouring environments: dealt out, so that some explore and some do not in each.
    parts = dealt(config.actors.count or len(setting.tasks), len(every))
    return tuple(every[k] for part in parts for k in part)


def _generator(setting: Setting) -> torch.Generator:
    return torch.Generator().manual_seed(setting.seed(4))


def _transitions(setting: Setting, unrolls: Collector | UnrollQueue) -> Store:
    replay = setting.config.replay
    updates = round(replay.updates_per_step * setting.steps_per_update)
    return TransitionStore(
        unrolls.layout,
        capacity=replay.capacity,
        n_step=replay.n_step,
        draws=updates * replay.batch,
        generator=_generator(setting),
    )


def _sequences(setting: Setting, unrolls: Collector | UnrollQueue) -> Store:
    learning, layout = setting.config.learning, unrolls.layout
    return SequenceStore(
        layout,
        capacity=setting.config.replay.capacity,
        burn_in=learning.burn_in if layout.memory is not None else 0,
        draws=learning.updates * learning.sequences,
        priority_exponent=learning.priority_exponent,
        importance_exponent=learning.importance_exponent,
        generator=_generator(setting),
    )
