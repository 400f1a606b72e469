"""The copy of the policy that computes: float32 parameters, optionally a bfloat16 trunk.

Parameters, gradients, optimizer and messages are float32 always. Where bfloat16 is native, the
convolutional trunk computes in it on a copy of its weights that is refreshed once after each
change of the parameters; the heads stay float32. One cast per update replaces autocast's casts in
every forward pass, and acting and learning see the same weights.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from gala.networks.activations import Activations, Layer
from gala.networks.network import Network
from gala.networks.trunks import NatureCNN
from gala.parameters.flat import FlatParameters


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


def choose_precision(setting: str, policy: Network, device: torch.device) -> torch.dtype:
    """The trunk's dtype: ``auto`` means bfloat16 for convolutions where it is native."""
    if setting == "auto":
        convolutional = isinstance(policy.actor, NatureCNN)
        return torch.bfloat16 if convolutional and native_bfloat16(device) else torch.float32
    return torch.bfloat16 if setting == "bfloat16" else torch.float32


class Model:
    """The module that acts and learns for ``flat``, the master parameters of ``policy``.

    Args:
        policy: gives the form.
        flat: its parameters.
        dtype: of the trunk.
        observations: between two updates, whose activations are kept from acting for learning
            (convolutions only); 0: none.

    Attributes:
        module: call it; it is ``policy`` itself in float32.
    """

    def __init__(
        self, policy: Network, flat: FlatParameters, dtype: torch.dtype, *, observations: int = 0
    ) -> None:
        self.module = policy
        self._flat = flat
        self._trunk: FlatParameters | None = None
        if dtype != torch.float32 and policy.critic is None:
            self.module = _with_trunk(policy, copy.deepcopy(policy.actor))
            self._trunk = FlatParameters(self.module.actor, dtype=dtype)
            assert flat.layout[0][0].startswith("actor."), "the trunk leads the flat vector"
            self._end = self._trunk.data.numel()
        trunk = self.module.actor
        self._cnn = trunk if isinstance(trunk, NatureCNN) and observations else None
        self._kept = Activations(observations)
        self._acting: list[Layer] = []  # memory of their own: a recording of acting reads there
        if self._cnn is not None:
            with torch.no_grad():
                self._acting = [layer.laid_out() for layer in self._cnn.layers()]
        self.refresh()

    @torch.no_grad()
    def act(self, obs: Tensor, place: slice | None = None) -> tuple[Tensor, Tensor]:
        """``dist`` and value of B observations, without gradients.

        Args:
            obs: [B, ...].
            place: theirs among the T x B observations that are going to be learned from, which
                come one after the other from 0 on; None: they are not part of them.
        """
        if place is None or self._cnn is None:
            return self._all(obs)
        self._kept.begin(place)
        features = self._cnn.record(obs, self._acting, self._kept)
        return self.module.heads(features, features)

    def learn(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """``dist`` and value of T x B observations, with gradients to the parameters.

        When these parameters have acted on all of them, each at its place, nothing is computed
        again: the observations must be those.

        Args:
            obs: [T x B, ...].
        """
        if self._cnn is None or not self._kept.complete:
            return self._all(obs)
        features = self._cnn.replay(self._kept)
        assert len(features) == len(obs), (features.shape, obs.shape)
        return self.module.heads(features, features)

    def _all(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        dist, value = self.module(obs)
        return dist, value

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over changed master parameters; call after each update and each mix."""
        if self._trunk is not None:
            self._trunk.data.copy_(self._flat.data[: self._end])
        self._kept.forget()
        if self._cnn is not None:
            for mine, changed in zip(self._acting, self._cnn.layers(), strict=True):
                mine.follow(changed)

    def zero_grad(self) -> None:
        """Set all gradients to zero in place."""
        self._flat.zero_grad()
        if self._trunk is not None:
            self._trunk.zero_grad()

    def gradient(self) -> Tensor:
        """Float32[P], the gradient of the master parameters after a backward pass."""
        if self._trunk is not None:
            self._flat.grad[: self._end].copy_(self._trunk.grad)
        return self._flat.grad


def _with_trunk(policy: Network, trunk: nn.Module) -> Network:
    """A policy with another trunk and the same (shared) heads."""
    twin = Network.__new__(Network)
    nn.Module.__init__(twin)
    twin.head = policy.head
    twin.actor, twin.critic = trunk, None
    twin.logits, twin.value, twin.log_std = policy.logits, policy.value, policy.log_std
    return twin
