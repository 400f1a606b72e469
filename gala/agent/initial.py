"""Initial parameters of a run: those of another one's policy (``--init``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gala.errors import UserError
from gala.networks import Network
from gala.parameters.flat import unflatten
from gala.policy.loading import mean_of

ANEW = ("duals.", "returns.")
"""What begins anew, by the first words of its name: it is of an algorithm, or of its rewards."""


def begin_as(path: str, networks: Sequence[Network]) -> None:
    """Give networks the parameters, and the moments of observations, of a run's mean policy.

    Args:
        path: a run folder, or an exported policy.
        networks: freshly made.

    Raises:
        UserError: there is no such policy, or it is of another network.
    """
    trained, snapshot = mean_of(path)
    found = _kept(unflatten(snapshot.params, trained.layout))
    for network in networks:
        own = _kept(_tensors(network))
        for name in sorted(own.keys() | found.keys()):
            if _shape(own, name) != _shape(found, name):
                rule = f"its {name} is {_shape(found, name)}, that of this run {_shape(own, name)}"
                hint = f"network and env as in {trained.folder.config}"
                raise UserError(rule, file=path, field="--init", hint=hint)
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(found[name])


def _tensors(network: Network) -> dict[str, Tensor]:
    """By name, those of its flat vector."""
    found: dict[str, Tensor] = dict(network.named_parameters())
    if network.statistics:
        found |= {name: each for name, each in network.named_buffers() if each.is_floating_point()}
    return found


def _kept(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: each for name, each in tensors.items() if not name.startswith(ANEW)}


def _shape(tensors: Mapping[str, Tensor], name: str) -> str:
    return "x".join(map(str, tensors[name].shape)) or "a number" if name in tensors else "missing"
