"""Inference in one place for environments that step elsewhere (SEED RL, Espeholt et al. 2020).

The policy is a copy that takes over the newest parameters between two batches. What a network
remembers of each environment stays here, and never travels.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala.device.streams import Stream
from gala.envs.step import Array
from gala.experience.exploration import Exploration
from gala.experience.unroll import Layout
from gala.networks.memory import Recall
from gala.networks.model import Model


@dataclass(frozen=True, kw_only=True)
class Question:
    """What some environments show.

    Attributes:
        columns: theirs among all B.
        obs: [n, ...].
        mask: Bool[n, K]; None: all actions are allowed.
        begin: Bool[n], where an episode begins.
    """

    columns: slice
    obs: Array
    mask: NDArray[np.bool_] | None
    begin: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the policy says to it, on the CPU; valid until the next one.

    Attributes:
        dist: Float32[N, K].
        value: Float32[N].
        action: [M, ...], of the first M of N.
        given: the same, as environments take them.
        memory: Float32[N, ...], what was remembered before; None: the network is feed-forward.
    """

    dist: Tensor
    value: Tensor
    action: Tensor
    given: Array
    memory: Tensor | None


class Inference:
    """Acts in any of B environments.

    Args:
        model: a copy of the learner's, which nobody else uses.
        layout: of unrolls.
        envs: B.
        stream: of the thread that calls :meth:`act`.
        generator: random numbers of actions, on the stream's device.
        epsilon: of each environment, see :class:`~gala.experience.exploration.Exploration`.

    Attributes:
        revision: of the parameters that act; None: nothing was offered yet.
    """

    def __init__(
        self,
        model: Model,
        layout: Layout,
        envs: int,
        *,
        stream: Stream,
        generator: torch.Generator,
        epsilon: Sequence[float] | None = None,
    ) -> None:
        self._model, self._stream, self._generator = model, stream, generator
        self._exploration = Exploration(model.module.head, epsilon, stream.device)
        self._obs = torch.zeros((envs, *layout.obs), dtype=layout.obs_dtype)
        self._mask = torch.ones((envs, layout.dist), dtype=torch.bool) if layout.masked else None
        self._begin = torch.zeros(envs, dtype=torch.bool)
        self._numbers = torch.arange(envs, device=stream.device)
        self._there = [stream.mirror(each) for each in (self._obs, self._begin)]
        self._mask_there = None if self._mask is None else stream.mirror(self._mask)
        self._state: Tensor | None = None
        if layout.memory is not None:
            self._state = torch.zeros((envs, *layout.memory), device=stream.device)
        self._lock = threading.Lock()
        self._offered = torch.empty_like(model.flat.data, device="cpu")
        self._newest: int | None = None
        self.revision: int | None = None

    def offer(self, vector: Tensor, revision: int) -> None:
        """Newer parameters, Float32[P] on the CPU, for batches from now on; from any thread."""
        with self._lock:
            self._offered.copy_(vector)
            self._newest = revision

    @property
    def offered(self) -> bool:
        """Whether there are parameters to act with."""
        return self._newest is not None

    @torch.no_grad()
    def act(self, questions: Sequence[Question], acting: int) -> Answer:
        """Act where the first environments ask, and value what the others show.

        What is remembered moves on where it acts.

        Args:
            questions: of different environments.
            acting: how many of them are acted in, the first ones.
        """
        self._follow()
        envs, stream = self._take_in(questions), self._stream
        obs, begin = (there[:envs] for there in self._there)
        columns = torch.cat([self._numbers[each.columns] for each in questions])
        acted = sum(len(each.obs) for each in questions[:acting])
        state = None if self._state is None else self._state[columns]
        memory = None if state is None else stream.download(state.clone())
        recall = None if state is None else Recall(state, begin)
        mask = None if self._mask_there is None else self._mask_there[:envs]
        dist, value = self._model.act(obs, slice(0, envs), mask, recall)
        if self._state is not None and state is not None:
            self._state[columns[:acted]] = state[:acted]
        dist = self._exploration.policy(dist, columns)
        action = self._exploration.sample(dist[:acted], self._generator)
        dist, value = stream.send_down(dist), stream.send_down(value)
        action = stream.download(action)
        return Answer(
            dist=dist,
            value=value,
            action=action,
            given=self._model.module.head.to_env(action),
            memory=memory,
        )

    @torch.no_grad()
    def value(self, columns: slice, obs: Array) -> Tensor:
        """Values Float32[n] of observations that nobody acts on: the last of their episodes."""
        self._follow()
        shown = torch.from_numpy(obs).to(self._stream.device)
        recall = None if self._state is None else Recall(self._state[columns], None)
        return self._stream.download(self._model.act(shown, None, None, recall)[1])

    def _take_in(self, questions: Sequence[Question]) -> int:
        """Put what is shown together, on the device; returns the number of environments."""
        end = 0
        for each in questions:
            where = slice(end, end := end + len(each.obs))
            self._obs[where].copy_(torch.from_numpy(each.obs))
            self._begin[where].copy_(torch.from_numpy(each.begin))
            if self._mask is not None:
                self._mask[where] = True if each.mask is None else torch.from_numpy(each.mask)
        for host, there in zip((self._obs, self._begin), self._there, strict=True):
            self._send_up(host, there, end)
        if self._mask is not None and self._mask_there is not None:
            self._send_up(self._mask, self._mask_there, end)
        return end

    def _send_up(self, host: Tensor, there: Tensor, end: int) -> None:
        if there is not host:
            self._stream.upload(host[:end], there[:end])

    def _follow(self) -> None:
        """Take over what was offered."""
        if self._newest == self.revision:
            return
        with self._lock:
            self._model.flat.data.copy_(self._offered)
            self.revision = self._newest
        self._model.refresh()
