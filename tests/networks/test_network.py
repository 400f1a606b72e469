"""Networks: sizes of the paper, reproducible starts, and the low-precision copy."""

import gymnasium
import numpy as np
import pytest
import torch
from batches import filled

from gala.config.sections import NetworkConfig
from gala.errors import UserError
from gala.networks import Network, build_network
from gala.networks.model import Model, choose_precision, native_bfloat16
from gala.parameters.flat import FlatParameters

IMAGES = gymnasium.spaces.Box(0, 255, (4, 84, 84), np.uint8)
VECTORS = gymnasium.spaces.Box(-1, 1, (4,), np.float32)
SIX = gymnasium.spaces.Discrete(6)
CPU = torch.device("cpu")


def pong(**changes: object) -> Network:
    return build_network(IMAGES, SIX, NetworkConfig(**changes), seed=1)  # type: ignore[arg-type]


def images(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 4, 84, 84), dtype=torch.uint8, generator=generator)


def test_pong_has_the_number_of_parameters_of_the_paper() -> None:
    assert sum(p.numel() for p in pong().parameters()) == 866_439


def test_shapes() -> None:
    dist, value = pong()(images(3))
    assert dist.shape == (3, 6) and value.shape == (3,)
    mlp = build_network(VECTORS, SIX, NetworkConfig(), seed=1)
    dist, value = mlp(torch.zeros(5, 4))
    assert dist.shape == (5, 6) and value.shape == (5,)
    box = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    dist, _ = build_network(VECTORS, box, NetworkConfig(), seed=1)(torch.zeros(5, 4))
    assert dist.shape == (5, 6) and bool((dist[:, 3:] == 0).all())  # deviations start at 1


def test_the_seed_decides_the_start() -> None:
    first, again, other = (
        FlatParameters(build_network(IMAGES, SIX, NetworkConfig(), seed=s)).data for s in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_start_is_a_nearly_uniform_policy() -> None:
    dist, _ = pong()(images(8))
    assert dist.softmax(-1).std().item() < 0.01


def test_pixels_are_scaled_by_the_first_layer() -> None:
    net = pong()
    trunk = net.actor
    expected = torch.relu(trunk.conv1(images(2).float() / 255))
    expected = torch.relu(trunk.conv3(torch.relu(trunk.conv2(expected)))).flatten(1)
    expected = torch.relu(trunk.hidden[0](expected))
    torch.testing.assert_close(trunk(images(2)), expected, rtol=1e-4, atol=1e-5)


def test_pixels_are_measured_from_the_background() -> None:
    plain, moved = pong(), build_network(IMAGES, SIX, NetworkConfig(background=87), seed=1)
    obs = images(2)
    assert not torch.allclose(plain(obs)[1], moved(obs)[1], rtol=0.1)
    # with zero biases and no padding, a moved picture is the same as a moved bias
    with torch.no_grad():
        plain.actor.conv1.bias.sub_(87 / 255 * plain.actor.conv1.weight.sum((1, 2, 3)))
    for found, expected in zip(moved(obs), plain(obs), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert not moved(torch.full_like(obs, 87))[1].any()


@pytest.mark.parametrize(
    ("space", "kind", "words"),
    [
        (VECTORS, "nature-cnn", "needs images"),
        (gymnasium.spaces.Box(0, 255, (4, 20, 20), np.uint8), "nature-cnn", "too small"),
    ],
)
def test_networks_that_do_not_fit(space: gymnasium.Space, kind: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        build_network(space, SIX, NetworkConfig(kind=kind), seed=1)  # type: ignore[arg-type]


def test_a_background_is_for_images() -> None:
    with pytest.raises(UserError, match=r"network\.background: an mlp has no background"):
        build_network(VECTORS, SIX, NetworkConfig(background=87), seed=1)


def test_an_mlp_in_bfloat16_is_refused() -> None:
    with pytest.raises(UserError, match=r"network\.precision: an mlp computes in float32.*auto"):
        build_network(VECTORS, SIX, NetworkConfig(precision="bfloat16"), seed=1)


def test_images_need_no_hidden_layer() -> None:
    policy = build_network(IMAGES, SIX, NetworkConfig(hidden=()), seed=1)
    compute = Model(policy, FlatParameters(policy), torch.float32, observations=4)
    dist, value = compute.module(images(4))
    assert dist.shape == (4, 6) and value.shape == (4,)
    acted = compute.act(images(4), slice(0, 4))
    obs = torch.cat([images(4), images(1)])[:, None]
    batch = filled(obs, torch.zeros((4, 1), dtype=torch.int64), 6)
    out = compute.unroll(batch)
    torch.testing.assert_close((out.dist, out.value), (dist, value))
    torch.testing.assert_close(acted[1], value.detach())


def test_precision_is_chosen_for_convolutions_only() -> None:
    mlp = build_network(VECTORS, SIX, NetworkConfig(), seed=1)
    native = torch.bfloat16 if native_bfloat16(CPU) else torch.float32
    assert choose_precision("auto", mlp, CPU) == torch.float32
    assert choose_precision("auto", pong(), CPU) == native
    assert choose_precision("float32", pong(), CPU) == torch.float32
    assert choose_precision("bfloat16", pong(), CPU) == torch.bfloat16


def gradient(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, Model]:
    policy = pong()
    flat = FlatParameters(policy)
    compute = Model(policy, flat, dtype)
    compute.zero_grad()
    dist, value = compute.module(images(16))
    (dist.square().sum() * 100 + value.square().sum()).backward()
    return compute.gradient().clone(), torch.cat([dist.flatten(), value]).detach(), compute


def test_bfloat16_computes_nearly_the_same_gradient() -> None:
    exact, outputs, _ = gradient(torch.float32)
    rough, rough_outputs, compute = gradient(torch.bfloat16)
    assert compute.module.logits.weight.dtype == torch.float32  # heads stay exact
    assert compute.module.actor.conv1.weight.dtype == torch.bfloat16
    assert rough.dtype == torch.float32
    assert float((rough - exact).norm() / exact.norm()) < 0.03
    assert float((rough_outputs - outputs).norm() / outputs.norm()) < 0.03


def test_the_copy_follows_the_parameters_only_when_refreshed() -> None:
    policy = pong()
    flat = FlatParameters(policy)
    compute = Model(policy, flat, torch.bfloat16)
    before = compute.module(images(2))[1].detach()
    trunk = slice(0, sum(p.numel() for p in policy.actor.parameters()))
    flat.data[trunk] *= 0.5
    assert torch.equal(compute.module(images(2))[1], before)
    compute.refresh()
    assert not torch.equal(compute.module(images(2))[1], before)
    expected = flat.data[trunk].to(torch.bfloat16)
    found = torch.cat([p.detach().flatten() for p in compute.module.actor.parameters()])
    assert torch.equal(found, expected)


def test_gradients_do_not_pile_up() -> None:
    _, _, compute = gradient(torch.bfloat16)
    compute.zero_grad()
    assert bool((compute.gradient() == 0).all())


def test_pictures_and_continuous_actions_compute_in_bfloat16() -> None:
    """The free deviations lead the flat vector there; the trunk's copy must find its own part."""
    box = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    policy = build_network(IMAGES, box, NetworkConfig(), seed=1)
    model = Model(policy, FlatParameters(policy), torch.bfloat16)
    trunk = torch.cat([p.detach().flatten() for p in policy.actor.parameters()])
    copied = torch.cat([p.detach().flatten() for p in model.module.actor.parameters()])
    assert torch.equal(copied, trunk.to(torch.bfloat16))
    model.zero_grad()
    model.module(images(2))[1].sum().backward()
    model.gradient()
    assert all(bool(p.grad.any()) for p in policy.actor.parameters())
