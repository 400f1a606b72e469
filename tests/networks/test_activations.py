"""Learning from what acting computed: the same numbers as computing it again, never old ones."""

import gymnasium
import numpy as np
import pytest
import torch
from batches import filled
from torch.nn import functional as F

from gala.config.sections import NetworkConfig
from gala.experience import Batch
from gala.networks import Network, build_network
from gala.networks.activations import Activations, Layer, replayed
from gala.networks.model import Model
from gala.networks.trunks import NatureCNN
from gala.parameters.flat import FlatParameters

T, B = 3, 4
IMAGES = gymnasium.spaces.Box(0, 255, (4, 84, 84), np.uint8)


def policy(background: int = 0) -> Network:
    config = NetworkConfig(background=background)
    return build_network(IMAGES, gymnasium.spaces.Discrete(6), config, seed=1)


def images(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (T, B, 4, 84, 84), dtype=torch.uint8, generator=generator)


def row(t: int) -> slice:
    return slice(t * B, (t + 1) * B)


def batch_of(compute: Model, obs: torch.Tensor, version: int | None = None) -> Batch:
    """T x B observations, acted on by the current parameters unless said otherwise."""
    following = torch.cat([obs, obs[-1:]])
    version = compute.revision if version is None else version
    actions = torch.zeros(obs.shape[:2], dtype=torch.int64)
    return filled(following, actions, 6, version=np.full(obs.shape[:2], version))


def unroll(compute: Model, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    out = compute.unroll(batch_of(compute, obs))
    return out.dist, out.value


def gradient(compute: Model, obs: torch.Tensor) -> torch.Tensor:
    compute.zero_grad()
    dist, value = unroll(compute, obs)
    (dist.square().sum() * 100 + value.square().sum()).backward()
    return compute.gradient().clone()


def made(
    dtype: torch.dtype, observations: int = T * B, background: int = 0
) -> tuple[Model, FlatParameters]:
    network = policy(background)
    flat = FlatParameters(network)
    return Model(network, flat, dtype, observations=observations), flat


@pytest.mark.parametrize("background", [0, 87])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_is_that_of_a_forward_pass(dtype: torch.dtype, background: int) -> None:
    compute, _ = made(dtype, background=background)
    obs = images()
    expected = gradient(compute, obs)
    acted = [compute.act(obs[t], row(t)) for t in range(T)]
    found = gradient(compute, obs)
    assert float((found - expected).norm() / expected.norm()) < 1e-5
    dist, value = unroll(compute, obs)
    torch.testing.assert_close(dist, torch.cat([each for each, _ in acted]))
    torch.testing.assert_close(value, torch.cat([each for _, each in acted]))


def test_nothing_is_computed_again() -> None:
    compute, _ = made(torch.float32)
    for t in range(T):
        compute.act(images()[t], row(t))
    # what was acted on counts, not what is shown afterwards: no forward pass has seen it
    assert torch.equal(gradient(compute, images(seed=1)), gradient(compute, images()))


def test_rows_in_another_order_have_the_values_of_that_order() -> None:
    """Kept activations are of all observations as they came, and for nothing else."""
    compute, _ = made(torch.float32)
    obs = images()
    for t in range(T):
        compute.act(obs[t], row(t))
    batch = batch_of(compute, obs)
    whole = compute.unroll(batch)
    order = torch.randperm(T * B, generator=torch.Generator().manual_seed(3))
    shuffled = compute.unroll(batch, order)
    assert not torch.equal(whole.value, whole.value[order])
    torch.testing.assert_close(shuffled.value, whole.value[order])
    torch.testing.assert_close(shuffled.dist, whole.dist[order])
    some = compute.unroll(batch, order[:3])
    torch.testing.assert_close(some.value, whole.value[order[:3]])


def test_a_batch_of_older_parameters_is_computed_anew() -> None:
    compute, _ = made(torch.float32)
    obs, other = images(), images(seed=1)
    for t in range(T):
        compute.act(obs[t], row(t))
    older = compute.unroll(batch_of(compute, other, version=compute.revision - 1))
    fresh, _ = made(torch.float32, observations=0)
    torch.testing.assert_close(older.value, unroll(fresh, other)[1])
    mixed = batch_of(compute, other)
    mixed.version[0, 1] -= 1  # a single step was acted by older ones
    torch.testing.assert_close(compute.unroll(mixed).value, older.value)


def test_changed_parameters_are_a_new_start() -> None:
    compute, flat = made(torch.float32)
    obs = images()
    for t in range(T):
        compute.act(obs[t], row(t))
    before = gradient(compute, obs)
    flat.data.mul_(0.5)
    compute.refresh()
    after = gradient(compute, obs)
    fresh, other = made(torch.float32, observations=0)
    other.data.mul_(0.5)
    fresh.refresh()
    torch.testing.assert_close(after, gradient(fresh, obs))
    assert not torch.allclose(after, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_acting_follows_the_parameters_in_the_same_memory(dtype: torch.dtype) -> None:
    """A recording of acting reads where it read when it was made."""
    compute, flat = made(dtype)
    obs = images()[0]
    before = [layer.weight.data_ptr() for layer in compute._acting]
    flat.data.mul_(0.5)
    compute.refresh()
    assert [layer.weight.data_ptr() for layer in compute._acting] == before
    with torch.no_grad():
        dist, value = compute.module(obs)
    acted, valued = compute.act(obs, row(0))
    torch.testing.assert_close(acted, dist)
    torch.testing.assert_close(valued, value)


@pytest.mark.parametrize("background", [0, 87])
@pytest.mark.parametrize("shape", [(4, 84, 84), (1, 36, 52), (3, 64, 64)])
def test_images_lie_with_channels_last_and_mean_the_same(
    shape: tuple[int, int, int], background: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    trunk = NatureCNN(shape, (32, 48, 64), [128], generator, background)
    obs = torch.randint(0, 256, (T * B, *shape), dtype=torch.uint8, generator=generator)
    kept = Activations(T * B)
    kept.begin(slice(0, T * B))
    with torch.no_grad():
        found = trunk.record(obs, [layer.laid_out() for layer in trunk.layers()], kept)
        x = (obs.float() - background) / 255
        for conv in (trunk.conv1, trunk.conv2, trunk.conv3):
            x = F.relu(conv(x))
        expected = F.relu(trunk.hidden[0](x.flatten(1)))
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(trunk(obs), expected)
    for number in range(4):
        assert kept.of(number).is_contiguous(memory_format=torch.channels_last)


class Wrapped(torch.nn.Module):
    """A trunk of another kind that answers what is asked of one that keeps activations."""

    def __init__(self, cnn: NatureCNN) -> None:
        super().__init__()
        self.cnn, self.layers, self.replay = cnn, cnn.layers, cnn.replay
        self.recorded = 0

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.cnn(obs)
        return features

    def record(self, obs: torch.Tensor, layers: list[Layer], kept: Activations) -> torch.Tensor:
        self.recorded += len(obs)
        return self.cnn.record(obs, layers, kept)


def test_any_trunk_that_can_keep_activations_does() -> None:
    network = policy()
    assert isinstance(network.actor, NatureCNN)
    network.actor = trunk = Wrapped(network.actor)
    compute = Model(network, FlatParameters(network), torch.float32, observations=T * B)
    obs = images()
    expected = gradient(compute, obs)
    for t in range(T):
        compute.act(obs[t], row(t))
    found = gradient(compute, obs)
    assert trunk.recorded == T * B
    assert float((found - expected).norm() / expected.norm()) < 1e-5


def test_half_a_rollout_is_not_used() -> None:
    compute, _ = made(torch.float32)
    obs = images()
    for t in range(T - 1):
        compute.act(images(seed=1)[t], row(t))
    fresh, _ = made(torch.float32, observations=0)
    torch.testing.assert_close(gradient(compute, obs), gradient(fresh, obs))


def test_observations_outside_of_the_rollout_leave_it_alone() -> None:
    compute, _ = made(torch.float32)
    obs, other = images(), images(seed=1)
    for t in range(T):
        compute.act(obs[t], row(t))
        compute.act(other[t])  # a final observation that is valued, say
    fresh, _ = made(torch.float32, observations=0)
    torch.testing.assert_close(gradient(compute, obs), gradient(fresh, obs), rtol=1e-4, atol=1e-5)


def test_halves_of_a_row_are_acted_on_one_after_the_other() -> None:
    compute, _ = made(torch.float32)
    obs = images()
    for t in range(T):
        for part in (slice(0, 1), slice(1, B)):
            compute.act(obs[t, part], slice(t * B + part.start, t * B + part.stop))
    fresh, _ = made(torch.float32, observations=0)
    torch.testing.assert_close(gradient(compute, obs), gradient(fresh, obs), rtol=1e-4, atol=1e-5)


def test_observations_come_in_order() -> None:
    kept = Activations(T * B)
    kept.begin(row(0))
    with pytest.raises(AssertionError, match="observation 8 after 4"):
        kept.begin(row(2))
    kept.begin(row(1))
    kept.begin(row(0))  # a new rollout
    assert not kept.complete


@pytest.mark.parametrize("stride", [2, None])
def test_one_layer_by_finite_differences(stride: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64, generator=generator)
    shape = (4, 3 * 36) if stride is None else (4, 3, 2, 2)
    weight = torch.randn(shape, dtype=torch.float64, generator=generator)
    bias = torch.randn(4, dtype=torch.float64, generator=generator)

    def layer_of(*inputs: torch.Tensor) -> torch.Tensor:
        x, weight, bias = inputs
        layer = Layer(weight, bias, stride)
        return replayed(x, layer, torch.relu(layer.affine(x)).detach())

    inputs = [each.requires_grad_() for each in (x, weight, bias)]
    assert torch.autograd.gradcheck(layer_of, inputs)
