"""What goes along: parameters of anything, extra tensors, target networks, buffers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gala.library.carrying import carry


def names(**options: Any) -> list[str]:
    model = options.pop("model")
    return [name for name, _ in carry(model, **options).layout]


def test_a_module_several_modules_and_bare_tensors() -> None:
    actor, critic, alpha = nn.Linear(2, 1), nn.Linear(2, 1), nn.Parameter(torch.zeros(()))
    assert names(model=actor) == ["weight", "bias"]
    assert names(model=[actor, critic]) == [
        "model[0].weight", "model[0].bias", "model[1].weight", "model[1].bias",
    ]  # fmt: skip
    assert names(model={"actor": actor, "critic": critic})[:2] == ["actor.weight", "actor.bias"]
    assert names(model=[alpha, critic]) == ["model[0]", "model[1].weight", "model[1].bias"]
    assert names(model=actor, extra=[alpha]) == ["weight", "bias", "extra[0]"]
    assert names(model=actor, extra={"log_alpha": alpha})[-1] == "log_alpha"
    assert names(model=actor, extra=alpha)[-1] == "extra"


def test_extra_tensors_are_parameters_and_shared_ones_go_once() -> None:
    actor, alpha = nn.Linear(2, 1), torch.zeros(1, requires_grad=True)
    carried = carry([actor, actor], extra=[alpha, alpha, actor.weight])
    assert carried.learned == len(carried.data) == 4
    assert carried.holds(alpha) and carried.holds(actor.bias)
    assert not carried.holds(torch.zeros(1))


def test_they_stay_where_they_are_and_as_exact_as_they_were() -> None:
    model = nn.Linear(2, 2).to(torch.bfloat16)
    weight = model.weight
    carried = carry(model)
    carried.collect()
    assert torch.equal(carried.now(), carried.weights)
    carried.data.fill_(0.5)
    carried.distribute()
    assert model.weight is weight and weight.dtype == torch.bfloat16
    assert torch.equal(weight, torch.full((2, 2), 0.5, dtype=torch.bfloat16))


def test_now_reads_parameters_and_leaves_the_vector() -> None:
    model = nn.Linear(1, 1)
    carried = carry(model)
    carried.collect()
    before = carried.data.clone()
    with torch.no_grad():
        model.weight.fill_(7.0)
    assert carried.now()[0] == 7.0 and torch.equal(carried.data, before)


def test_targets_lie_behind_the_parameters_also_where_they_are_inside_the_model() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.online, self.target = nn.Linear(2, 1), nn.Linear(2, 1)

    both = Both()
    carried = carry(both, lagging=[(both.target, both.online)])
    assert [name for name, _ in carried.layout] == [
        "online.weight", "online.bias", "lagging[0].weight", "lagging[0].bias",
    ]  # fmt: skip
    assert carried.learned == 3 and len(carried.statistics) == 3
    assert names(model=both.online, lagging=(both.target, both.online))[2:] == [
        "lagging[0].weight", "lagging[0].bias",
    ]  # fmt: skip


def test_buffers_are_floating_point_ones() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
            self.register_buffer("scale", torch.ones(2))
            self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    found = names(model={"net": Counts()}, buffers=True)
    assert found[4:] == ["net.scale", "net.layer.1.first", "net.layer.1.second"]
    assert len(names(model=Counts())) == 4


OTHER = nn.Linear(3, 1)
MODEL = nn.Linear(2, 1)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"model": "net"}, TypeError, "model: must be a torch.nn.Module, or tensors, got str"),
        ({"model": 4}, TypeError, "model: must be a torch.nn.Module, or tensors, got int"),
        ({"model": nn.ReLU()}, ValueError, "model: has no parameters"),
        ({"model": []}, ValueError, "model: has no parameters"),
        ({"model": [MODEL, None]}, TypeError, r"model\[1\]: must be a tensor, got NoneType"),
        ({"model": nn.LazyLinear(2)}, ValueError, "weight: has no shape yet"),
        ({"extra": [3.0]}, TypeError, r"extra\[0\]: must be a tensor, got float"),
        ({"extra": torch.tensor([1])}, TypeError, "extra: torch.int64 cannot be averaged"),
        ({"extra": 3.0}, TypeError, "extra: must be tensors, got float"),
        ({"lagging": [MODEL]}, TypeError, r"lagging\[0\]: must be \(target, online\)"),
        ({"lagging": [(OTHER, MODEL)]}, ValueError, r"weight has the shape \[1, 3\], online"),
        ({"lagging": [(nn.Linear(2, 1), nn.Linear(2, 1))]}, ValueError, "is not in the model"),
        ({"lagging": [(nn.Bilinear(2, 2, 1), MODEL)]}, ValueError, "has the shape"),
        ({"lagging": [(nn.Linear(2, 1, bias=False), MODEL)]}, ValueError, "in the online network"),
    ],
)
def test_mistakes_are_one_line(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        carry(options.pop("model", MODEL), **options)
    assert "\n" not in str(caught.value)
