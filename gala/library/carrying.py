"""What goes along: parameters and whatever else is mixed, copied into one vector and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from gala.library.apart import require_apart, require_whole
from gala.library.moments import MeanAndVariance, batch_norms, moments_of
from gala.parameters.flat import FlatVector
from gala.parameters.statistics import Moments

Named = list[tuple[str, Tensor]]


class Carried(FlatVector):
    """One float32 vector on the CPU that holds a loop's tensors; they stay where they are.

    Parameters come first. Behind them lie the lagging networks, buffers and moments, which are
    mixed with the same weights.

    Args:
        learned: parameters.
        behind: other tensors.
        moments: running means and variances, by name.
    """

    def __init__(
        self, learned: Named, behind: Named, moments: list[tuple[str, MeanAndVariance]]
    ) -> None:
        named = learned + behind
        layout = [(name, tuple(tensor.shape)) for name, tensor in named]
        for name, each in moments:
            layout += [(f"{name}.first", each.shape), (f"{name}.second", each.shape)]
        sizes = [torch.Size(shape).numel() for _, shape in layout]
        count = sum(sizes[: len(learned)])
        super().__init__(torch.zeros(sum(sizes)), layout, count)
        parts = torch.split(self.vector, sizes)
        views = [part.view(shape) for part, (_, shape) in zip(parts, layout, strict=True)]
        self._tensors = [tensor for _, tensor in named]
        self._views, rest = views[: len(named)], views[len(named) :]
        self._moments = list(zip((each for _, each in moments), rest[::2], rest[1::2], strict=True))
        self._learned = [tensor for _, tensor in learned]

    @torch.no_grad()
    def collect(self) -> None:
        """Copy everything into the vector."""
        torch._foreach_copy_(self._views, self._tensors)
        for each, first, second in self._moments:
            each.collect(first, second)

    @torch.no_grad()
    def distribute(self) -> None:
        """Copy the vector back."""
        torch._foreach_copy_(self._tensors, self._views)
        for each, first, second in self._moments:
            each.distribute(first, second)

    @torch.no_grad()
    def now(self) -> Tensor:
        """Float[P], the parameters as they are; the vector is as it was."""
        return torch.cat([each.to("cpu", torch.float32).reshape(-1) for each in self._learned])

    @property
    def computes_on(self) -> torch.device:
        """Where the first parameter lies."""
        return self._learned[0].device

    def holds(self, tensor: Tensor) -> bool:
        """Whether ``tensor`` is among the parameters."""
        return any(each is tensor for each in self._learned)


def carry(
    model: Any,
    *,
    buffers: bool = False,
    extra: Any = (),
    lagging: Any = (),
    statistics: Any = (),
) -> Carried:
    """Gather what is to be mixed; see :func:`gala.library.api.gossip` for what may be given.

    Raises:
        TypeError: something cannot be averaged.
        ValueError: there is nothing, a lagging network is not like the one that it follows, or
            something keeps agents alike at every step, or shards a tensor.
    """
    taken: set[int] = set()
    pairs = _pairs(lagging)
    targets = {id(p) for target, _ in pairs for p in target.parameters()}
    learned = _fresh(_parameters(model), taken | targets)
    for name, module in _modules(model):
        require_apart(name.removesuffix(".") or "model", module)
    taken |= {id(tensor) for _, tensor in learned}
    learned += (more := _fresh(_tensors(extra, "extra"), taken | targets))
    taken |= {id(tensor) for _, tensor in more}
    if not learned:
        raise ValueError("model: has no parameters")
    behind: Named = []
    for i, (target, online) in enumerate(pairs):
        behind += _lagging(f"lagging[{i}]", target, online, taken)
    moments: list[tuple[str, MeanAndVariance]] = []
    for i, holder in enumerate(_several(statistics)):
        for name, found in moments_of(holder, f"statistics[{i}]"):
            if isinstance(found, Moments):  # raw moments already, and a count that fades
                behind += [(f"{name}.{n}", b) for n, b in found.named_buffers()]
            else:
                moments.append((name, found))
    if buffers:
        plain, pooled = _buffers(model, {id(tensor) for _, tensor in behind})
        behind += plain
        moments += pooled
    return Carried(_checked(learned), _checked(behind), moments)


def _parameters(model: Any) -> Named:
    """Parameters of a module, of several, or tensors themselves; by name."""
    if isinstance(model, nn.Module):
        return list(model.named_parameters())
    found: Named = []
    for name, part in _items(model, "model", "a torch.nn.Module, or tensors"):
        if isinstance(part, nn.Module):
            found += [(f"{name}.{inner}", p) for inner, p in part.named_parameters()]
        else:
            found.append((name, _tensor(name, part)))
    return found


def _modules(model: Any) -> Iterator[tuple[str, nn.Module]]:
    """Modules in ``model``, with what stands before the names in them."""
    if isinstance(model, nn.Module):
        yield "", model
    elif isinstance(model, Mapping | Sequence):
        for name, part in _items(model, "model", "modules"):
            if isinstance(part, nn.Module):
                yield f"{name}.", part


def _tensors(given: Any, name: str) -> Named:
    if isinstance(given, Tensor):
        return [(name, given)]
    return [(key, _tensor(key, value)) for key, value in _items(given, name, "tensors")]


def _items(given: Any, name: str, wanted: str) -> list[tuple[str, Any]]:
    if isinstance(given, Mapping):
        return [(str(key), value) for key, value in given.items()]
    if isinstance(given, Tensor) or isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"{name}: must be {wanted}, got {type(given).__name__}")
    return [(f"{name}[{i}]", value) for i, value in enumerate(given)]


def _tensor(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: must be a tensor, got {type(value).__name__}")
    return value


def _several(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [given]


def _fresh(named: Named, taken: set[int]) -> Named:
    """Those that are not ``taken``, each once: networks may share layers."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in named:
        if id(tensor) not in taken:
            found.setdefault(id(tensor), (name, tensor))
    return list(found.values())


def _pairs(lagging: Any) -> list[tuple[nn.Module, nn.Module]]:
    if not isinstance(lagging, Iterable):
        kind = type(lagging).__name__
        raise TypeError(f"lagging: must be pairs (target, online), got {kind}")
    given = list(lagging)
    if len(given) == 2 and all(isinstance(each, nn.Module) for each in given):
        given = [tuple(given)]
    for i, pair in enumerate(given):
        pair = tuple(pair) if isinstance(pair, list | tuple) else (pair,)
        if len(pair) != 2 or not all(isinstance(each, nn.Module) for each in pair):
            raise TypeError(f"lagging[{i}]: must be (target, online), two modules")
    return [(target, online) for target, online in given]


def _lagging(name: str, target: nn.Module, online: nn.Module, learned: set[int]) -> Named:
    """The tensors of a target network, once it is known to be like its online one."""
    copies, originals = dict(target.named_parameters()), dict(online.named_parameters())
    for inner in copies.keys() ^ originals.keys():
        where = "target" if inner in copies else "online"
        raise ValueError(f"{name}: {inner} is in the {where} network alone")
    for inner, copy in copies.items():
        if copy.shape != originals[inner].shape:
            shapes = f"{list(copy.shape)}, online {list(originals[inner].shape)}"
            raise ValueError(f"{name}: {inner} has the shape {shapes}")
        if id(originals[inner]) not in learned:
            raise ValueError(f"{name}: {inner} of its online network is not in the model")
    return [(f"{name}.{inner}", p) for inner, p in copies.items()]


def _buffers(model: Any, taken: set[int]) -> tuple[Named, list[tuple[str, MeanAndVariance]]]:
    """Floating-point buffers: those of batch norms as moments; whole numbers are counts."""
    plain: Named = []
    pooled: list[tuple[str, MeanAndVariance]] = []
    for prefix, module in _modules(model):
        for name, found in batch_norms(module):
            assert isinstance(found, MeanAndVariance)
            pooled.append((f"{prefix}{name}", found))
        for name, buffer in module.named_buffers():
            kept = name.rpartition(".")[2] not in ("running_mean", "running_var")
            if kept and buffer.is_floating_point() and id(buffer) not in taken:
                plain.append((f"{prefix}{name}", buffer))
    return plain, pooled


def _checked(named: Iterable[tuple[str, Tensor]]) -> Named:
    found = list(named)
    for name, tensor in found:
        if isinstance(tensor, UninitializedParameter):
            raise ValueError(f"{name}: has no shape yet; call the model once before")
        require_whole(name, tensor)
        if not tensor.is_floating_point():
            raise TypeError(f"{name}: {tensor.dtype} cannot be averaged, floating point can")
    return found
