"""Memories: against torch's own, against golden numbers, and an episode alone against a vector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from batches import filled
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gala.config.sections import NetworkConfig
from gala.errors import UserError
from gala.networks import Network, build_network
from gala.networks.memory import GRU, LSTM, Recall
from gala.networks.model import Model
from gala.networks.transformer import Block, Gate, GTrXL, RelativeAttention, sinusoids
from gala.parameters.flat import FlatParameters

GOLDEN = Path(__file__).parents[1] / "golden" / "gtrxl.json"
KINDS = ["lstm", "gru", "gtrxl"]
VECTORS = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
PIXELS = gymnasium.spaces.Box(0, 255, (1, 36, 36), np.uint8)
FOUR = gymnasium.spaces.Discrete(4)


def remembering(kind: str, space: Any = VECTORS, **changes: Any) -> Network:
    """A network whose memory is short, and whose gates let much of it pass."""
    if kind == "gtrxl":
        changes = {"memory_length": 4, "memory_layers": 2, "memory_heads": 2, **changes}
    config = NetworkConfig(**{"memory": kind, "memory_size": 8, "hidden": (8,), **changes})
    network = build_network(space, FOUR, config, seed=1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("gate.bias", "gate2.bias")):
                parameter.zero_()
            if "memory" in name or "logits" in name:
                parameter.add_(torch.randn(parameter.shape, generator=seeded()) / 3)
    return network


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def golden(name: str) -> dict[str, Any]:
    case = next(c for c in json.loads(GOLDEN.read_text())["cases"] if c["name"] == name)
    return {
        key: torch.tensor(value, dtype=torch.float64) if isinstance(value, list) else value
        for key, value in case.items()
    }


@torch.no_grad()
def filled_gate(gate: Gate, case: dict[str, Any]) -> Gate:
    weights = {key: torch.as_tensor(value, dtype=torch.float64).t() for key, value in case.items()}
    gate.w.weight.copy_(torch.cat([weights["w_r"], weights["w_z"], weights["w_h"]]))
    gate.u.weight.copy_(torch.cat([weights["u_r"], weights["u_z"]]))
    gate.u_h.weight.copy_(weights["u_h"])
    return gate


@torch.no_grad()
def filled_attention(attention: RelativeAttention, case: dict[str, Any]) -> RelativeAttention:
    attention.qkv.weight.copy_(case["qkv"])
    attention.position.weight.copy_(case["position"])
    attention.output.weight.copy_(case["output"])
    attention.of_content.copy_(case["u"])
    attention.of_distance.copy_(case["v"])
    return attention


def attended() -> tuple[Tensor, Tensor, Tensor]:
    """Golden rows, what steps see (all before them), and distances: M is 4, 2 rows are void."""
    case = golden("relative_attention")
    x, memory = case["x"], case["memory"]
    rows = torch.cat([torch.full_like(memory, 7.0), memory, x], 1)
    real = torch.arange(rows.shape[1]) >= 2
    visible = real.unfold(0, 5, 1).expand(len(x), -1, -1)
    return rows, visible, case["R"]


def test_the_gate_has_golden_numbers() -> None:
    case = golden("gru_gate")
    gate = filled_gate(
        Gate(4, seeded()).double(), {key: case[key] for key in case if key[:2] in ("w_", "u_")}
    )
    torch.testing.assert_close(gate(case["x"], case["y"]), case["out"], rtol=0, atol=1e-9)


def test_relative_attention_has_golden_numbers() -> None:
    case = golden("relative_attention")
    attention = filled_attention(RelativeAttention(4, 2, seeded()).double(), case)
    torch.testing.assert_close(attention(*attended()), case["out"], rtol=0, atol=1e-9)
    torch.testing.assert_close(sinusoids(4, 4).double(), case["R"], rtol=0, atol=1e-6)


def test_a_block_has_golden_numbers() -> None:
    case, gate = golden("block"), golden("gru_gate")
    block = Block(4, 2, seeded()).double()
    filled_attention(block.attention, golden("relative_attention"))
    filled_gate(block.gate, {key: gate[key] for key in gate if key[:2] in ("w_", "u_")})
    filled_gate(block.gate2, case["gate2"])
    block.wide, block.narrow = nn.Linear(4, 6).double(), nn.Linear(6, 4).double()
    with torch.no_grad():
        for layer, name in ((block.wide, "w1"), (block.narrow, "w2")):
            layer.weight.copy_(case[name].t())
            layer.bias.zero_()
    torch.testing.assert_close(block(*attended()), case["out"], rtol=0, atol=1e-9)


@pytest.mark.parametrize(("kind", "theirs"), [(GRU, nn.GRU), (LSTM, nn.LSTM)])
def test_recurrent_units_are_those_of_torch(kind: Any, theirs: Any) -> None:
    mine, other = kind(3, 5, seeded()), theirs(3, 5)
    with torch.no_grad():
        for parameter in mine.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=seeded(1)))
        other.weight_ih_l0.copy_(mine.of_input.weight)
        other.weight_hh_l0.copy_(mine.of_state.weight)
        other.bias_ih_l0.copy_(mine.of_input.bias)
        other.bias_hh_l0.zero_() if kind is LSTM else other.bias_hh_l0.copy_(mine.of_state.bias)
    x = torch.randn(7, 2, 3, generator=seeded(2))
    found, state = mine(x, torch.zeros(2, *mine.shape), torch.zeros(7, 2, dtype=torch.bool))
    expected, last = other(x)
    torch.testing.assert_close(found, expected)
    last = torch.stack([each[0] for each in last], 1) if kind is LSTM else last[0]
    torch.testing.assert_close(state, last)


@given(
    kind=st.sampled_from(KINDS),
    ends=st.lists(st.integers(1, 14), max_size=4),
    cuts=st.lists(st.integers(1, 14), max_size=4),
    seed=st.integers(0, 99),
)
@torch.no_grad()
def test_an_episode_alone_is_what_it_is_inside_a_vector(
    kind: str, ends: list[int], cuts: list[int], seed: int
) -> None:
    """Whatever unrolls it is cut into, whatever came before it, whatever plays beside it."""
    network, steps, envs = remembering(kind), 15, 3
    obs = torch.randn(steps, envs, 3, generator=seeded(seed))
    begin = torch.zeros(steps, envs, dtype=torch.bool)
    begin[0], begin[ends, 1] = True, True
    state = torch.randn(network.initial(envs).shape, generator=seeded(seed)).sign()  # of others
    borders, dists, values = sorted({0, *cuts, steps}), [], []
    for first, last in zip(borders[:-1], borders[1:], strict=True):
        dist, value, state = network.unroll(obs[first:last], state, begin[first:last])
        dists.append(dist.view(last - first, envs, -1)), values.append(value.view(-1, envs))
    dist, value = torch.cat(dists), torch.cat(values)
    borders = sorted({0, *ends, steps})
    for first, last in zip(borders[:-1], borders[1:], strict=True):
        nothing = torch.zeros(last - first, 1, dtype=torch.bool)
        alone, worth, _ = network.unroll(obs[first:last, 1:2], network.initial(1), nothing)
        torch.testing.assert_close(dist[first:last, 1], alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(value[first:last, 1], worth, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_every_kind_remembers() -> None:
    """Else the property above would hold of a network that forgets everything."""
    for kind in KINDS:
        network = remembering(kind)
        obs = torch.randn(4, 1, 3, generator=seeded())
        begin = torch.zeros(4, 1, dtype=torch.bool)
        before = network.unroll(obs, network.initial(1), begin)[0][-1]
        obs[0] += 1.0
        assert not torch.allclose(network.unroll(obs, network.initial(1), begin)[0][-1], before)


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 2])
def test_a_gtrxl_sees_its_length_and_no_more(layers: int) -> None:
    """Layer by layer: what a layer saw of M steps before is in the memory of the next."""
    core = GTrXL(3, 8, layers=layers, heads=2, length=4, generator=seeded())
    x, begin = torch.randn(12, 1, 3, generator=seeded()), torch.zeros(12, 1, dtype=torch.bool)
    x.requires_grad_()
    with torch.enable_grad():
        core(x, torch.zeros(1, *core.shape), begin)[0][-1].sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum((1, 2)) > 0
    assert seen.tolist() == [False] * (11 - 4 * layers) + [True] * (4 * layers + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_remembered_has_no_gradient_of_its_past(kind: str) -> None:
    """Acting keeps no graph; what it kept is a number for learning."""
    network = remembering(kind)
    model = Model(network, FlatParameters(network), torch.float32)
    state = network.initial(2)
    model.act(torch.ones(2, 3), slice(0, 2), None, Recall(state, None))
    assert bool(state.any()) and not state.requires_grad
    before = state.clone()
    model.act(torch.ones(2, 3), None, None, Recall(state, None))  # only valued
    assert torch.equal(state, before)


@pytest.mark.parametrize("kind", KINDS)
def test_whole_environments_learn_as_in_the_whole_batch(kind: str) -> None:
    network = remembering(kind)
    model = Model(network, FlatParameters(network), torch.float32)
    steps, envs = 5, 4
    begin = torch.rand(steps + 1, envs, generator=seeded()) < 0.3
    batch = filled(
        torch.randn(steps + 1, envs, 3, generator=seeded(1)),
        torch.zeros(steps, envs, dtype=torch.int64),
        4,
        memory=torch.randn(network.initial(envs).shape, generator=seeded(2)).sign(),
        begin=begin,
        mask=torch.rand(steps, envs, 4, generator=seeded(3)) < 0.7,
    )
    whole = model.unroll(batch)
    rows = (torch.arange(steps)[:, None] * envs + torch.tensor([3, 1])).flatten()
    part = model.unroll(batch, rows)
    torch.testing.assert_close(part.dist, whole.dist[rows])
    torch.testing.assert_close(part.value, whole.value[rows])
    dist, value = model.evaluate(batch)
    torch.testing.assert_close(dist[:-1].flatten(0, 1), whole.dist.detach())
    torch.testing.assert_close(value[:-1].flatten(), whole.value.detach())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pictures_are_remembered_and_no_activations_kept(kind: str, dtype: torch.dtype) -> None:
    network = remembering(kind, PIXELS, filters=(4, 4, 4))
    model = Model(network, FlatParameters(network), dtype, observations=6)
    batch = filled(
        torch.randint(0, 256, (4, 2, 1, 36, 36), dtype=torch.uint8, generator=seeded()),
        torch.zeros(3, 2, dtype=torch.int64),
        4,
        memory=network.initial(2),
        begin=torch.zeros(4, 2, dtype=torch.bool),
    )
    state = network.initial(2)
    for t in range(3):
        dist, _ = model.act(batch.obs[t], slice(2 * t, 2 * t + 2), None, Recall(state, None))
        expected = model.unroll(batch).dist.view(3, 2, 4)[t]
        torch.testing.assert_close(dist, expected, rtol=1e-4, atol=1e-4)
    model.unroll(batch).value.sum().backward()
    assert float(model.gradient().abs().sum()) > 0


@pytest.mark.parametrize("space", [VECTORS, PIXELS, gymnasium.spaces.Discrete(900)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_trunk_takes_a_memory(space: Any, kind: str) -> None:
    network = remembering(kind, space, filters=(4, 4, 4))
    obs = torch.from_numpy(np.stack([space.sample() for _ in range(5)]))
    dist, value = network(obs)
    assert dist.shape == (5, 4) and value.shape == (5,) and bool(dist.isfinite().all())


def test_without_memory_nothing_changes() -> None:
    plain = build_network(VECTORS, FOUR, NetworkConfig(), seed=1)
    assert plain.memory is None and plain.critic is not None


@pytest.mark.parametrize(
    ("changes", "field", "hint"),
    [
        ({"memory": "gru", "memory_length": 5}, "network.memory_length", "null"),
        ({"memory": "none", "memory_heads": 2}, "network.memory_heads", "null"),
        ({"memory": "gtrxl", "memory_size": 30}, "network.memory_size", "24"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    changes: dict[str, Any], field: str, hint: str
) -> None:
    with pytest.raises(UserError) as caught:
        build_network(VECTORS, FOUR, NetworkConfig(**changes), seed=1)
    assert (caught.value.field, caught.value.hint) == (field, hint)


def test_a_first_step_sees_only_itself() -> None:
    """Its only visible row has all the weight: no softmax over nothing."""
    core = GTrXL(3, 8, layers=1, heads=2, length=4, generator=seeded())
    state = torch.full((1, *core.shape), 1.0)
    found, after = core(torch.ones(1, 1, 3), state, torch.ones(1, 1, dtype=torch.bool))
    clean, _ = core(
        torch.ones(1, 1, 3), torch.zeros_like(state), torch.zeros(1, 1, dtype=torch.bool)
    )
    assert torch.equal(found, clean) and bool(found.isfinite().all())
    assert after[0, :, -1].tolist() == [0, 0, 0, 1]
