"""Which trunk an observation space gets, what it computes, and trunks of the user's own."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from batches import filled
from gymnasium.spaces import Box, Discrete

from gala.config.sections import NetworkConfig
from gala.errors import UserError
from gala.networks import Network, build_network
from gala.networks.build import describe
from gala.networks.model import Model, choose_precision
from gala.networks.network import outputs_at
from gala.networks.own import own_trunk
from gala.networks.trunks import MLP, NatureCNN, SmallCNN, StateTable
from gala.parameters.flat import FlatParameters

SIX = Discrete(6)
CPU = torch.device("cpu")


def pixels(*shape: int, high: int = 255) -> Box:
    return Box(0, high, shape, np.uint8)


def floats(*shape: int) -> Box:
    return Box(0.0, 1.0, shape, np.float32)


def build(space: gymnasium.Space, seed: int = 1, **changes: object) -> Network:
    return build_network(space, SIX, NetworkConfig(**changes), seed=seed)  # type: ignore[arg-type]


def sample(space: gymnasium.Space, count: int = 3) -> torch.Tensor:
    space.seed(0)
    return torch.from_numpy(np.stack([space.sample() for _ in range(count)]))


@pytest.mark.parametrize(
    ("space", "trunk", "text"),
    [
        (pixels(4, 84, 84), NatureCNN, "nature-cnn 32, 64, 32 filters, hidden 512; 8"),
        (floats(3, 36, 40), NatureCNN, "nature-cnn"),
        (pixels(4, 35, 84), SmallCNN, "small-cnn 16 filters, hidden 128; "),
        (
            pixels(4, 10, 10, high=1),
            SmallCNN,
            "small-cnn 16 filters, hidden 128; 132,695 parameters",
        ),
        (floats(2, 3, 3), SmallCNN, "small-cnn"),
        (Box(-np.inf, np.inf, (8,), np.float32), MLP, "mlp, hidden 64, 64; 9,927 parameters"),
        (Discrete(10_000), StateTable, "a row of 64 parameters per state"),
    ],
)
def test_auto_is_what_fits(space: gymnasium.Space, trunk: type, text: str) -> None:
    policy = build(space)
    assert type(policy.actor) is trunk and describe(policy, NetworkConfig()).startswith(text)
    obs = sample(space)
    dist, value = policy(obs)
    assert dist.shape == (3, 6) and value.shape == (3,)
    assert policy.actor(obs).flatten(1).shape == (3, policy.logits.in_features)
    same, other = build(space), build(space, seed=2)
    assert all(map(torch.equal, policy.parameters(), same.parameters()))
    assert not all(map(torch.equal, policy.parameters(), other.parameters()))


@pytest.mark.parametrize("kind", ["nature-cnn", "small-cnn", "mlp"])
@pytest.mark.parametrize("high", [1, 10, 255])
def test_bytes_and_floats_of_a_picture_mean_the_same(kind: str, high: int) -> None:
    whole, parts = pixels(3, 40, 40, high=high), floats(3, 40, 40)
    of_bytes, of_floats = (build(space, kind=kind) for space in (whole, parts))
    obs = sample(whole)
    for one, other in zip(of_bytes(obs), of_floats(obs.float() / high), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_kept_activations_of_float_pictures() -> None:
    space = floats(3, 40, 40)
    policy, obs = build(space, filters=(4, 4, 4), hidden=(8,)), sample(space, 4)
    model = Model(policy, FlatParameters(policy), torch.float32, observations=4)
    acted = model.act(obs, slice(0, 4))
    observed = torch.cat([obs, obs[:1]])[:, None]
    out = model.unroll(filled(observed, torch.zeros((4, 1), dtype=torch.int64), 6))
    learned = (out.dist, out.value)
    for one, other, plain in zip(acted, learned, policy(obs), strict=True):
        torch.testing.assert_close(one, plain)
        torch.testing.assert_close(other, plain)


def test_a_small_cnn_is_convolutions_then_layers() -> None:
    space = pixels(2, 9, 8)
    trunk = build(space, kind="small-cnn", filters=(4, 5), hidden=(6,)).actor
    obs = sample(space)
    x = obs.float() / 255
    for conv in trunk.convs:
        assert conv.kernel_size == (3, 3) and conv.stride == (1, 1)
        x = torch.relu(conv(x))
    assert x.shape == (3, 5, 5, 4)
    torch.testing.assert_close(trunk(obs), torch.relu(trunk.hidden[0](x.flatten(1))))
    bare = build(space, kind="small-cnn", hidden=())
    assert bare(sample(space))[0].shape == (3, 6) and "hidden none" in bare.actor.text


def test_a_small_cnn_computes_in_bfloat16_when_asked() -> None:
    space = pixels(4, 10, 10, high=1)
    policy = build(space, precision="bfloat16")
    assert choose_precision("auto", policy, CPU) == torch.float32
    model = Model(policy, FlatParameters(policy), choose_precision("bfloat16", policy, CPU))
    assert next(model.module.actor.parameters()).dtype == torch.bfloat16
    exact, rough = policy(sample(space))[1], model.act(sample(space))[1]
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.02)


def test_states_are_looked_up() -> None:
    policy = build(Discrete(10_000), hidden=(8, 5))
    trunk, states = policy.actor, torch.tensor([3, 3, 9_999])
    assert policy.critic is None and trunk.rows.weight.shape == (10_000, 8)
    one_hot = torch.nn.functional.one_hot(states, 10_000).float()
    expected = torch.tanh(trunk.rest.hidden[0](torch.tanh(one_hot @ trunk.rows.weight)))
    torch.testing.assert_close(trunk(states), expected)
    policy(states)[1].sum().backward()
    touched = trunk.rows.weight.grad.abs().sum(1).nonzero()[:, 0]
    assert touched.tolist() == [3, 9_999]


@pytest.mark.parametrize(
    ("space", "changes", "words"),
    [
        (pixels(4, 10, 10), {"kind": "nature-cnn"}, "network.kind: images of 10x10 are too small"),
        (Box(-1, 1, (4,), np.float32), {"kind": "small-cnn"}, "small-cnn needs images"),
        (Discrete(9_999), {"kind": "small-cnn"}, "small-cnn needs images"),
        (Discrete(9_999), {"hidden": ()}, "network.hidden: .* need a hidden layer"),
        (Discrete(9_999), {"precision": "bfloat16"}, "computes in float32"),
        (pixels(4, 84, 84), {"filters": (8,)}, "network.filters: nature-cnn has 3 convol"),
        (pixels(4, 5, 5), {"filters": (8, 8, 8)}, "network.filters: .*too small.*at most 2"),
        (pixels(4, 9, 9), {"background": 3}, "network.background: small-cnn has no background"),
        (floats(4, 84, 84), {"background": 3}, "a picture of floats has no background"),
        (floats(4), {"kind": "natur-cnn"}, "network.kind: .*did you mean 'nature-cnn'"),
    ],
)  # fmt: skip
def test_networks_that_do_not_fit(space: gymnasium.Space, changes: dict, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        build(space, **changes)
    assert "\n" not in str(error.value)


OWN = """
import torch
from torch import nn

class Trunk(nn.Module):
    def __init__(self, space, generator):
        super().__init__()
        self.layer = nn.Linear(space.shape[0], 7)
        self.norm = nn.LayerNorm(7)
        self.register_buffer("scale", torch.ones(7))
        self.features = 7

    def forward(self, obs):
        return torch.relu(self.norm(self.layer(obs)) * self.scale)

def batch_norm(space, generator):
    trunk = Trunk(space, generator)
    trunk.norm = nn.BatchNorm1d(7)
    return trunk

def frozen(space, generator):
    return batch_norm(space, generator).eval()

def dropout(space, generator):
    trunk = Trunk(space, generator)
    trunk.layer = nn.Sequential(nn.Linear(space.shape[0], 7), nn.Dropout(0.5))
    return trunk

def quiet(space, generator):
    return dropout(space, generator).eval()

def without(space, generator):
    trunk = Trunk(space, generator)
    del trunk.features
    return trunk

def flag(space, generator):
    trunk = Trunk(space, generator)
    trunk.features = True
    return trunk

def other(space, generator):
    trunk = Trunk(space, generator)
    trunk.features = 9
    return trunk

def double(space, generator):
    return Trunk(space, generator).double()

def half(space, generator):
    trunk = Trunk(space, generator)
    trunk.extra = nn.Parameter(torch.zeros(2, dtype=torch.float16))
    return trunk

def pair(space, generator):
    trunk = Trunk(space, generator)
    trunk.register_forward_hook(lambda module, given, out: (out, out))
    return trunk

def raising(space, generator):
    raise RuntimeError("no weights here")

def function(space, generator):
    return lambda obs: obs

def few(space):
    return Trunk(space, None)

number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    module = f"own_trunks_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{module}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return module


def test_an_own_trunk_learns_like_others(own: str) -> None:
    kind = f"{own}:Trunk"
    first, again, other = (build(floats(4), seed=seed, kind=kind) for seed in (1, 1, 2))
    assert all(map(torch.equal, first.parameters(), again.parameters()))
    assert not torch.equal(first.actor.layer.weight, other.actor.layer.weight)
    assert first.actor.training and not build(floats(4), kind=f"{own}:frozen").actor.training
    build(floats(4), kind=f"{own}:quiet")
    dist, value = first(sample(floats(4)))
    (dist.sum() + value.sum()).backward()
    assert dist.shape == (3, 6) and first.actor.layer.weight.grad is not None
    assert describe(first, NetworkConfig(kind=kind)) == f"{kind}; 105 parameters"
    state = torch.random.get_rng_state()
    own_trunk(kind, floats(4), torch.Generator())
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("name", ["Trunk", "frozen"])
def test_an_own_trunk_with_constants_is_asked_with_other_parameters(
    own: str, name: str, normalised: bool
) -> None:
    """Neighbours' policies are compared on what this agent sees."""
    config = NetworkConfig(kind=f"{own}:{name}")
    network, other = (
        build_network(floats(4), SIX, config, seed=seed, normalize_observation=normalised)
        for seed in (1, 2)
    )
    theirs = FlatParameters(other, buffers=other.statistics)
    obs = sample(floats(4))
    found = outputs_at(network, theirs.layout, theirs.data, obs)
    assert all(map(torch.equal, found, other(obs)))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("without", "attribute features must be a whole number above 0 .*missing"),
        ("flag", "attribute features must be a whole number"),
        ("other", r"gives \[2, 7\] for 2 observations, wanted \[2, 9\]"),
        ("batch_norm", "its buffer norm.running_mean changes .*LayerNorm instead of BatchNorm"),
        ("dropout", "gives something else when it sees the same again .no dropout"),
        ("double", "raised RuntimeError"),
        ("half", "parameter extra is torch.float16, wanted torch.float32"),
        ("pair", "gives a tuple, wanted a tensor"),
        ("raising", r"own_trunks_\d+.py:\d+: .*raised RuntimeError: no weights here"),
        ("function", "made a function, wanted a torch.nn.Module"),
        ("few", "raised TypeError.*positional argument"),
        ("number", "is a int, not a callable"),
        ("Trunc", "did you mean 'Trunk'"),
    ],
)
def test_own_trunks_that_are_none_are_said_in_a_line(own: str, name: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        build(floats(4), kind=f"{own}:{name}")
    assert "network.kind" in str(error.value) and "\n" not in str(error.value)


def test_an_own_trunk_takes_no_settings_of_others(own: str) -> None:
    for changes in ({"background": 87}, {"precision": "bfloat16"}):
        with pytest.raises(UserError, match="an own trunk"):
            build(floats(4), kind=f"{own}:Trunk", **changes)
