"""Model: the network that acts and learns for a flat vector of parameters.

Parameters, gradients, optimizer and messages are float32 always. Where bfloat16 is native, the
convolutional trunk computes in it on a copy of its weights that is refreshed once after each
change of the parameters; the heads stay float32. One cast per update replaces autocast's casts in
every forward pass, and acting and learning see the same weights.
"""

from __future__ import annotations

import copy
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gala.networks.activations import Activations, Keeping, Layer
from gala.networks.memory import Recall
from gala.networks.network import Network, outputs_at
from gala.networks.outputs import Outputs
from gala.parameters.flat import FlatParameters


class Observed(Protocol):
    """What a model reads of a :class:`~gala.experience.batch.Batch`."""

    @property
    def obs(self) -> Tensor:
        """[T + 1, B, ...]."""
        ...

    @property
    def mask(self) -> Tensor | None:
        """Bool[T, B, K]; None where all actions always are allowed."""
        ...

    @property
    def memory(self) -> Tensor | None:
        """Float[B, ...], what was remembered before row 0; None: the network is feed-forward."""
        ...

    @property
    def begin(self) -> Tensor | None:
        """Bool[T + 1, B], where an observation is the first of an episode; None likewise."""
        ...

    @property
    def burn_in(self) -> int:
        """Leading rows that are there for the memory alone."""
        ...

    @property
    def version(self) -> NDArray[np.int64]:
        """Int64[T, B], revision of the parameters that acted."""
        ...


def native_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are native (AVX512-BF16 or AMX; CUDA from Ampere on)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        with open("/proc/cpuinfo") as file:
            flags = next((line for line in file if line.startswith("flags")), "").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def choose_precision(setting: str, network: Network, device: torch.device) -> torch.dtype:
    """The trunk's dtype: ``auto`` means bfloat16 where it is native, for who keeps activations."""
    if setting == "auto":
        keeping = isinstance(network.actor, Keeping) and network.soft is None
        return torch.bfloat16 if keeping and native_bfloat16(device) else torch.float32
    return torch.bfloat16 if setting == "bfloat16" else torch.float32


class Model:
    """The network that acts and learns for ``flat``, the master parameters of ``network``.

    Args:
        network: gives the form.
        flat: its parameters.
        dtype: of the trunk.
        observations: between two updates, whose activations are kept from acting for learning
            (by trunks that can, and without a memory); 0: none.

    Attributes:
        module: call it; it is ``network`` itself in float32.
        flat: as given.
        revision: grows with each change of the parameters. A batch whose ``version`` is equal was
            acted by these very parameters.
    """

    def __init__(
        self, network: Network, flat: FlatParameters, dtype: torch.dtype, *, observations: int = 0
    ) -> None:
        self.module = network
        self.flat = flat
        self.revision = 0
        self._network, self._dtype = network, dtype
        self._trunk: FlatParameters | None = None
        if dtype != torch.float32 and network.critic is None:
            self.module = _with_trunk(network, copy.deepcopy(network.actor))
            self._trunk = FlatParameters(self.module.actor, dtype=dtype)
            begin = 0  # a free log deviation comes before the trunk
            for name, shape in flat.layout:
                if name.startswith("actor."):
                    break
                begin += torch.Size(shape).numel()
            self._span = slice(begin, begin + self._trunk.data.numel())
        trunk = self.module.actor
        keeps = observations > 0 and network.memory is None
        self._keeping = trunk if keeps and isinstance(trunk, Keeping) else None
        self._kept = Activations(observations)
        self._acting: list[Layer] = []  # memory of their own: a recording of acting reads there
        if self._keeping is not None:
            with torch.no_grad():
                self._acting = [layer.laid_out() for layer in self._keeping.layers()]
        self.follow()

    @torch.no_grad()
    def act(
        self,
        obs: Tensor,
        rows: slice | None = None,
        mask: Tensor | None = None,
        recall: Recall | None = None,
    ) -> tuple[Tensor, Tensor]:
        """``dist`` and value of B observations, without gradients.

        Args:
            obs: [B, ...].
            rows: theirs among the T x B observations that are going to be learned from, which
                come one after the other from 0 on; None: they are not part of them.
            mask: Bool[B, K], actions that are allowed; None: all.
            recall: of a network with a memory; where there are ``rows``, its state moves on.
        """
        if recall is not None:
            dist, value = self._remember(obs, recall, keep=rows is not None)
        elif rows is None or self._keeping is None:
            dist, value = self.module(obs)
        else:
            self._kept.begin(rows)
            features = self._keeping.record(obs, self._acting, self._kept)
            dist, value = self.module.heads(features)
        return (dist if mask is None else self.module.head.masked(dist, mask)), value

    def _remember(self, obs: Tensor, recall: Recall, *, keep: bool) -> tuple[Tensor, Tensor]:
        begin = recall.begin
        if begin is None:
            begin = torch.zeros(len(obs), dtype=torch.bool, device=obs.device)
        dist, value, state = self.module.unroll(obs.unsqueeze(0), recall.state, begin.unsqueeze(0))
        if keep:
            recall.state.copy_(state)
        return dist, value

    def acted(self, batch: Observed) -> bool:
        """Whether the current parameters are those that acted in all of ``batch``."""
        return bool((batch.version == self.revision).all())

    def unroll(self, batch: Observed, rows: Tensor | None = None) -> Outputs:
        """What the current parameters say of a batch's observations, with gradients.

        When these parameters have acted in it, and all of it is asked for, nothing is computed
        again: activations were kept while acting.

        Args:
            batch: T x B observations and the masks they came with.
            rows: Int64[N], which of the T x B observations, in any order; None: all. With a memory
                all steps of some environments: first the rows of step 0, then those of step 1.
                What is said of rows that a memory is burned in with has no gradient.
        """
        if batch.memory is not None:
            return self._unroll_remembering(batch, batch.memory, rows)
        obs = batch.obs[:-1].flatten(0, 1)
        mask = None if batch.mask is None else batch.mask.flatten(0, 1)
        if rows is not None:
            obs = obs.index_select(0, rows)
            mask = None if mask is None else mask.index_select(0, rows)
        elif self._keeping is not None and self._kept.complete and self.acted(batch):
            features = self._keeping.replay(self._kept)
            assert len(features) == len(obs), (features.shape, obs.shape)
            return self._outputs((features,), mask)
        return self._outputs(self.module.features(obs), mask)

    def _unroll_remembering(self, batch: Observed, state: Tensor, rows: Tensor | None) -> Outputs:
        assert batch.begin is not None
        obs, begin = batch.obs[:-1], batch.begin[:-1]
        mask = None if batch.mask is None else batch.mask.flatten(0, 1)
        if rows is not None:
            envs = rows[: len(rows) // len(obs)]
            obs, begin = obs.index_select(1, envs), begin.index_select(1, envs)
            state = state.index_select(0, envs)
            mask = None if mask is None else mask.index_select(0, rows)
        if batch.burn_in:
            return self._outputs((self._burned_in(obs, state, begin, batch.burn_in),), mask)
        found, _ = self.module.remember(obs, state, begin)
        return self._outputs((found,), mask)

    def _burned_in(self, obs: Tensor, state: Tensor, begin: Tensor, rows: int) -> Tensor:
        """No gradient goes further back than where the memory has been burned in."""
        with torch.no_grad():
            before, state = self.module.remember(obs[:rows], state, begin[:rows])
        found, _ = self.module.remember(obs[rows:], state, begin[rows:])
        return torch.cat([before, found])

    @torch.no_grad()
    def evaluate(self, batch: Observed) -> tuple[Tensor, Tensor]:
        """Distributions Float[T + 1, B, K] and values Float[T + 1, B] by the current parameters.

        The last row of distributions has no mask.
        """
        shape = batch.obs.shape[:2]
        if batch.memory is not None:
            assert batch.begin is not None
            dist, value, _ = self.module.unroll(batch.obs, batch.memory, batch.begin)
        else:
            dist, value = self.module(batch.obs.flatten(0, 1))
        dist = dist.view(*shape, -1)
        if batch.mask is not None:
            dist = torch.cat([self.module.head.masked(dist[:-1], batch.mask), dist[-1:]])
        return dist, value.view(shape)

    def at(self, vector: Tensor, obs: Tensor) -> Tensor:
        """The action distributions Float[N, K] that other parameters would give.

        With a memory, each observation is taken for the first of an episode.

        Args:
            vector: Float[P], laid out as :attr:`flat`, on any device.
            obs: [N, ...].
        """
        device = self.flat.data.device
        return outputs_at(self._network, self.flat.layout, vector.to(device), obs.to(device))[0]

    @torch.no_grad()
    def consult(self, vector: Tensor, batch: Observed) -> tuple[Tensor, Tensor]:
        """What other parameters say of a batch; may be recorded. Of networks without a memory.

        Args:
            vector: Float[P], laid out as :attr:`flat`, on its device.
            batch: T x B observations and the masks they came with.

        Returns:
            Distributions Float[T, B, K] and values Float[T, B].
        """
        obs = batch.obs[:-1]
        shape = obs.shape[:2]
        dist, value = outputs_at(self._network, self.flat.layout, vector, obs.flatten(0, 1))
        dist = dist.view(*shape, -1)
        if batch.mask is not None:
            dist = self.module.head.masked(dist, batch.mask)
        return dist, value.view(shape)

    def twin(self) -> Model:
        """A model of the same form, with parameters of its own that are equal now."""
        network = copy.deepcopy(self._network)
        flat = FlatParameters(network, buffers=network.statistics)
        return Model(network, flat, self._dtype)

    def refresh(self) -> None:
        """Take over changed parameters; call after each mix."""
        self.revision += 1
        self.follow()

    @property
    def copies(self) -> bool:
        """Whether something computes on copies of the parameters, so that it must follow them."""
        return self._trunk is not None or self._keeping is not None

    @torch.no_grad()
    def follow(self) -> None:
        """Let the copies that compute follow the parameters; may be recorded."""
        if self._trunk is not None:
            self._trunk.data.copy_(self.flat.data[self._span])
        self._kept.forget()
        if self._keeping is not None:
            for mine, changed in zip(self._acting, self._keeping.layers(), strict=True):
                mine.follow(changed)

    @torch.no_grad()
    def count(self, batch: Observed) -> None:
        """Let the observations of a batch count in the statistics; may be recorded."""
        if self._network.observed is not None:
            self._network.observed.update(batch.obs[:-1].flatten(0, 1))

    @property
    def counts(self) -> bool:
        """Whether observations are counted."""
        return self._network.observed is not None

    @property
    def duals(self) -> tuple[Tensor, ...]:
        """The duals, Float[] each, with gradients; none: the algorithm has none."""
        mine = self._network.duals
        return () if mine is None else mine.values.unbind()

    def zero_grad(self) -> None:
        """Set all gradients to zero in place, but those that :meth:`gradient` writes anew."""
        if self._trunk is None:
            self.flat.zero_grad()
            return
        self._trunk.zero_grad()
        self.flat.grad[: self._span.start].zero_()
        self.flat.grad[self._span.stop :].zero_()

    def gradient(self) -> Tensor:
        """Float32[P], the gradient of the master parameters after a backward pass."""
        if self._trunk is not None:
            self.flat.grad[self._span].copy_(self._trunk.grad)
        return self.flat.grad

    def _outputs(self, features: tuple[Tensor, ...], mask: Tensor | None) -> Outputs:
        head = self.module.head
        dist, value = self.module.heads(*features)
        return Outputs(dist if mask is None else head.masked(dist, mask), value, head, features)


def _with_trunk(network: Network, trunk: nn.Module) -> Network:
    """A network with another trunk and the same (shared) heads."""
    twin = Network.__new__(Network)
    nn.Module.__init__(twin)
    twin.head, twin.observed, twin.returns = network.head, None, network.returns
    twin.duals = twin.soft = None
    twin.dueling = network.dueling
    twin.actor, twin.critic, twin.memory = trunk, None, network.memory
    twin.logits, twin.value, twin.log_std = network.logits, network.value, network.log_std
    return twin
