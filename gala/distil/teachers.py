"""Teachers: trained policies that say what they would do where their student is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import gymnasium
import torch
from torch import Tensor
from torch.nn import functional as F

from gala.config.sections import EnvConfig
from gala.config.tree import Config
from gala.envs.translation import difference
from gala.errors import UserError
from gala.experience.batch import Batch
from gala.learning.mimic import Taught
from gala.learning.table import values_of
from gala.policy.loading import mean_of, policy_of

OF_VALUES = 0.01
"""Temperature of values, whose softmax is taken for a policy (Rusu et al. 2015, arXiv 1511.06295);
policies are taught as they are."""


class Teacher:
    """The mean policy of a run, and the environments that it was trained in.

    Args:
        path: the run folder, or an exported policy.
        device: where it computes.

    Attributes:
        path: as given.
        trained: the run.
        snapshot: its policy's parameters.
        policy: ready to act.

    Raises:
        UserError: there is no such policy, or none that a student's network can learn.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self.path = path
        self.trained, self.snapshot = mean_of(path)
        self.policy = policy_of(self.trained, self.snapshot, seed=0, device=device)
        if self.config.env.tasks:
            rule = "was trained in several tasks (env.tasks), and a teacher has one"
            raise UserError(rule, file=path, hint="the runs of one task each")
        box = isinstance(self.policy.action_space, gymnasium.spaces.Box)
        if box and values_of(self.config.algorithm) == "soft":
            rule = f"{self.config.algorithm} squashes its actions, which no student does"
            raise UserError(rule, file=path, hint="a teacher of ppo")

    @property
    def config(self) -> Config:
        """Of the run."""
        return self.trained.config

    @property
    def channels(self) -> int | None:
        """Of the pictures that its network sees; None: it sees none."""
        shape = self.policy.translation.observations.space.shape or ()
        return shape[0] if len(shape) == 3 else None

    @property
    def width(self) -> int:
        """F, numbers that its heads are given."""
        return self.policy.model.logits.in_features

    @property
    def text(self) -> str:
        """Who it is, for the opening block."""
        algorithm, steps = self.config.algorithm, self.snapshot.step
        return f"{self.path}: {algorithm} on {self.config.env.id}, {steps:,} steps"


class Task:
    """The environments of a teacher, as columns of a batch, and what it says of them.

    Args:
        teacher: whose they are.
        columns: of every batch.
        temperature: of its distributions; None: see :data:`OF_VALUES`.
    """

    def __init__(self, teacher: Teacher, columns: slice, temperature: float | None) -> None:
        self._network, self._columns = teacher.policy.model, columns
        values = values_of(teacher.config.algorithm) == "dueling"
        self._channels = teacher.channels
        self._temperature = temperature or (OF_VALUES if values else 1.0)
        self._state: Tensor | None = None
        if self._network.memory is not None:
            self._state = self._network.initial(columns.stop - columns.start)

    def say(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Action distributions Float[T, b, A], and features Float[T, b, F], of the columns."""
        network, where = self._network, self._columns
        obs = batch.obs[:-1, where]
        if self._channels is not None:
            obs = obs[:, :, : self._channels]  # those behind are zeros
        features = self._features(obs, batch)
        shape = obs.shape[:2]
        dist = network.heads(*features)[0].view(*shape, -1)
        if batch.mask is not None:
            dist = network.head.masked(dist, batch.mask[:, where])
        shown = features[0].reshape(*shape, -1).to(dist.dtype)
        return network.head.tempered(dist, self._temperature), shown

    def _features(self, obs: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        if self._state is None:
            return self._network.features(obs.flatten(0, 1))
        assert batch.begin is not None, "its student remembers nothing"
        found, state = self._network.remember(obs, self._state, batch.begin[:-1, self._columns])
        self._state.copy_(state)
        return (found,)


class Teachers:
    """All teachers of a student: each is asked about its own part of a batch.

    Args:
        tasks: in the order of their columns.
        envs: environments of each.
        device: of the batches.
    """

    def __init__(self, tasks: Sequence[Task], envs: Sequence[int], device: torch.device) -> None:
        self._tasks = tasks
        numbers = torch.arange(len(tasks)).repeat_interleave(torch.tensor(list(envs)))
        self._numbers = numbers.to(device)

    @torch.no_grad()
    def teach(self, batch: Batch) -> Taught:
        """What they say of T x B observations."""
        said = [task.say(batch) for task in self._tasks]
        most = max(features.shape[-1] for _, features in said)
        padded = [F.pad(features, (0, most - features.shape[-1])) for _, features in said]
        numbers = self._numbers.expand(batch.steps, -1)
        return Taught(torch.cat([dist for dist, _ in said], 1), numbers, torch.cat(padded, 1))


def environments(teachers: Sequence[Teacher]) -> list[EnvConfig]:
    """Those of each teacher, as one network sees and acts in all of them.

    Pictures with fewer channels than others get channels of zeros.

    Raises:
        UserError: the spaces of two of them differ in anything else.
    """
    first, pad = teachers[0], None
    for each in teachers[1:]:
        differs = difference(each.policy.translation, first.policy.translation)
        if differs is not None:
            rule = f"{differs[0]}, and {first.path} {differs[1]}"
            hint = "one student has one kind of observations, and of actions"
            raise UserError(rule, file=each.path, hint=hint)
    channels = {each.channels for each in teachers if each.channels is not None}
    if len(channels) > 1:
        pad = max(channels)
    envs = [each.config.env for each in teachers]
    return envs if pad is None else [replace(env, pad_channels=pad) for env in envs]
