"""Flat vectors: the module's tensors are views of them, and stay so."""

import pytest
import torch
from torch import nn

from gala.parameters.flat import FlatParameters, layout_hash, unflatten


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def is_view(tensor: torch.Tensor, base: torch.Tensor) -> bool:
    return tensor.untyped_storage().data_ptr() == base.untyped_storage().data_ptr()


def test_parameters_and_gradients_are_views_in_order() -> None:
    net = module()
    before = torch.cat([p.detach().flatten() for p in net.parameters()])
    flat = FlatParameters(net)
    assert torch.equal(flat.data, before) and flat.data.shape == (3 * 4 + 4 + 4 * 2 + 2,)
    for parameter in net.parameters():
        assert is_view(parameter, flat.data) and is_view(parameter.grad, flat.grad)
    flat.data.zero_()
    assert all(bool((p == 0).all()) for p in net.parameters())


@pytest.mark.parametrize("make", [torch.optim.RMSprop, torch.optim.Adam, torch.optim.SGD])
def test_one_flat_optimizer_step_equals_the_ordinary_one(make: type[torch.optim.Optimizer]) -> None:
    plain, flattened = module(), module()
    flat = FlatParameters(flattened)
    ordinary, fused = make(plain.parameters(), lr=0.1), make([flat.vector], lr=0.1)
    x = torch.randn(8, 3)
    for _ in range(3):
        for net, optimizer in ((plain, ordinary), (flattened, fused)):
            net.zero_grad(set_to_none=False)
            net(x).square().sum().backward()
            optimizer.step()
    expected = torch.cat([p.detach().flatten() for p in plain.parameters()])
    torch.testing.assert_close(flat.data, expected)
    assert all(is_view(p, flat.data) and is_view(p.grad, flat.grad) for p in flattened.parameters())


def test_backward_adds_to_the_flat_gradient() -> None:
    net = module()
    flat = FlatParameters(net)
    net(torch.ones(1, 3)).sum().backward()
    once = flat.grad.clone()
    net(torch.ones(1, 3)).sum().backward()
    torch.testing.assert_close(flat.grad, 2 * once)
    flat.zero_grad()
    assert bool((flat.grad == 0).all()) and bool((once != 0).any())


def test_buffers_follow_the_parameters_when_asked() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    flat = FlatParameters(net, buffers=True)
    names = [name for name, _ in flat.layout]
    assert names[-2:] == ["1.running_mean", "1.running_var"]  # counters are not averaged
    net(torch.randn(16, 2))
    assert torch.equal(flat.data[-4:-2], net[1].running_mean)


def test_unflatten_is_the_inverse() -> None:
    net = module()
    flat = FlatParameters(net)
    named = unflatten(flat.data, flat.layout)
    assert list(named) == [name for name, _ in net.named_parameters()]
    assert all(torch.equal(named[name], p) for name, p in net.named_parameters())


def test_the_layout_hash_tells_networks_apart() -> None:
    layout = FlatParameters(module()).layout
    assert layout_hash(layout) == layout_hash(list(layout))
    assert len(layout_hash(layout)) == 16
    renamed = [("other", shape) for _, shape in layout]
    reshaped = [(name, tuple(reversed(shape))) for name, shape in layout]
    hashes = {layout_hash(each) for each in (layout, renamed, reshaped, layout[:-1])}
    assert len(hashes | {layout_hash(layout, "bfloat16")}) == 5


def test_a_module_without_parameters_is_a_programming_error() -> None:
    with pytest.raises(AssertionError):
        FlatParameters(nn.Tanh())
