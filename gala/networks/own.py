"""The user's own trunk, ``network.kind MODULE:CALLABLE``.

``CALLABLE(observation_space, generator)`` makes a ``torch.nn.Module`` with an attribute ``features:
int`` that maps observations [B, ...] to Float32[B, features]. The space is what the network sees:
pictures are channels x height x width, in bytes (UInt8, ``high`` stands for 1) or in Float32 from 0
to 1; vectors are Float32; of too many states for one-hot, Int64[B] is their number.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

from gala.errors import UserError
from gala.files.importing import import_object, users_code

FIELD = "network.kind"


def own_trunk(
    spec: str, observation_space: gymnasium.Space[Any], generator: torch.Generator
) -> tuple[nn.Module, int]:
    """Make and try the trunk that ``spec`` names.

    What it draws from torch's own random numbers follows the seed of ``generator``, too: all agents
    begin alike.

    Returns:
        The trunk and its ``features``.

    Raises:
        UserError: it cannot be made, or is no such module.
    """
    make = import_object(spec, field=FIELD)
    if not callable(make):
        raise UserError(f"{spec} is {_named(make)}, not a callable", field=FIELD)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        with users_code(spec, field=FIELD):
            trunk = make(observation_space, generator)
        if not isinstance(trunk, nn.Module):
            rule = f"{spec} made {_named(trunk)}, wanted a torch.nn.Module"
            raise UserError(rule, field=FIELD)
        features = getattr(trunk, "features", None)
        if not isinstance(features, int) or isinstance(features, bool) or features < 1:
            rule = f"{spec}: its attribute features must be a whole number above 0"
            hint = "it is missing" if features is None else f"it is {_named(features)}"
            raise UserError(rule, field=FIELD, hint=hint)
        out, again = _trial(trunk, observation_space, spec)
    _require(out, features, spec)
    if not torch.equal(out.nan_to_num(), again.nan_to_num()):
        rule = f"{spec} gives something else when it sees the same again"
        raise UserError(rule, field=FIELD, hint="no dropout: probabilities would not be comparable")
    for name, parameter in trunk.named_parameters():
        if parameter.dtype != torch.float32:
            rule = f"{spec}: parameter {name} is {parameter.dtype}, wanted torch.float32"
            raise UserError(rule, field=FIELD)
    return trunk, features


def _trial(trunk: nn.Module, space: gymnasium.Space[Any], spec: str) -> tuple[Any, Any]:
    """What it gives for two observations of ones, and when it sees them again.

    Raises:
        UserError: it raises, or remembers something: buffers are neither mixed nor saved, so that
            an evaluation would play another network than the one that was trained.
    """
    assert space.shape is not None and space.dtype is not None
    ones = torch.from_numpy(np.ones((2, *space.shape), space.dtype))
    before = {name: buffer.clone() for name, buffer in trunk.named_buffers()}
    with users_code(spec, field=FIELD), torch.no_grad():
        out, again = trunk(ones), trunk(ones)
    for name, buffer in trunk.named_buffers():
        if name not in before or not torch.equal(buffer, before[name]):
            rule = f"{spec}: its buffer {name} changes with what it sees, and is not saved"
            raise UserError(rule, field=FIELD, hint="LayerNorm instead of BatchNorm")
    return out, again


def _require(out: Any, features: int, spec: str) -> None:
    if not isinstance(out, Tensor):
        raise UserError(f"{spec} gives {_named(out)}, wanted a tensor", field=FIELD)
    if tuple(out.shape) != (2, features):
        raise UserError(
            f"{spec} gives {list(out.shape)} for 2 observations, wanted [2, {features}]",
            field=FIELD,
            hint="[B, features]",
        )
    if out.dtype != torch.float32:
        raise UserError(f"{spec} gives {out.dtype}, wanted torch.float32", field=FIELD)


def _named(thing: Any) -> str:
    return f"the class {thing.__name__}" if isinstance(thing, type) else f"a {type(thing).__name__}"
