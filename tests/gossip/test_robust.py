"""Robust mixing: what one liar of five moves is bounded, and the honest ones still learn."""

from pathlib import Path

import pytest
import torch
from fake_transport import FakeTransport, Network, identity
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gala.errors import UserError
from gala.gossip.mixing import mixer_of
from gala.gossip.node import GossipNode
from gala.gossip.robust import CLIP, Clipping, trimmed_mean_
from gala.topology import Topology, load_topology
from gala.topology.formats.writing import write

FAR = st.sampled_from([0.0, 1.0, -3.0, 1e4, -1e20, 1e30])


def graph(tmp_path: Path, weights: str, agents: int = 5, family: str = "complete") -> Topology:
    path = tmp_path / f"{weights}.yaml"
    path.write_text(f"family: {family}\nweights: {weights}\n")
    return load_topology(path, agents)


@given(FAR, st.integers(0, 2**16))
def test_one_liar_moves_a_clipped_agent_no_farther_than_its_neighbours_differ(
    lie: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    own, clip = torch.randn(50, generator=generator), Clipping()
    for _ in range(5):
        honest = {j: own + 0.1 * torch.randn(50, generator=generator) for j in range(3)}
        farthest = max(float(torch.dist(vector, own)) for vector in honest.values())
        received = clip(own, honest | {3: own + lie})
        assert float(torch.dist(received[3], own)) <= CLIP * farthest * (1 + 1e-4)


@given(FAR, st.integers(0, 2**16), st.integers(2, 6))
def test_a_trimmed_mean_stays_between_honest_values(lie: float, seed: int, honest: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(honest + 1, 20, generator=generator)
    x = values[0].clone()
    trimmed_mean_(x, [*values[1:], torch.full((20,), lie)])
    low, high = values.min(0).values - 1e-4, values.max(0).values + 1e-4
    assert bool(((x >= low) & (x <= high)).all())


def test_a_trimmed_mean_by_hand() -> None:
    x = torch.tensor([1.0, 5.0])
    others = [torch.tensor([2.0, 0.0]), torch.tensor([9.0, 6.0]), torch.tensor([3.0, -8.0])]
    assert trimmed_mean_(x, others).tolist() == [2.5, 2.5]
    assert trimmed_mean_(x, [others[0]]).tolist() == [2.5, 2.5], "nothing is left: stay"


def test_an_only_neighbour_widens_the_ball_slowly() -> None:
    clip, own = Clipping(), torch.zeros(4)
    for _ in range(40):
        clip(own, {1: own + 0.1})
    moved = [float(clip(own, {1: own + 1e6})[1].norm()) for _ in range(10)]
    assert max(moved) <= CLIP * 0.2 * 1.01
    for k in range(200):  # it does grow where the agents really come to differ more
        found = clip(own, {1: own + 0.1 * 1.05 ** min(k, 60)})
    assert float(found[1].norm()) == pytest.approx(0.2 * 1.05**60, rel=1e-3)


def taught(topology: Topology, lie: str, updates: int = 300) -> tuple[Tensor, Tensor]:
    """Five agents go down ``||x - target||^2 / 2``, agent 4 lies: honest ones and target."""
    generator, network = torch.Generator().manual_seed(1), Network(5)
    target, vectors = torch.ones(30), torch.zeros(5, 30)
    nodes = [
        GossipNode(
            rank=rank,
            topology=topology,
            vector=vectors[rank],
            transport=FakeTransport(network, rank),
            identity=identity(),
            mixer=mixer_of(topology, vectors[rank]),
        )
        for rank in range(5)
    ]
    for k in range(updates):
        for rank in range(5):
            step = target - vectors[rank] + 0.3 * torch.randn(30, generator=generator)
            vectors[rank] += 0.05 * step
        if lie == "far":
            vectors[4] = -1e3
        elif lie == "beside":
            vectors[4] = vectors[0] - 0.05
        for node in nodes:
            node.publish(update=k, step=0)
        for node in nodes:
            node.mix()
    return vectors[:4], target


@pytest.mark.parametrize("lie", ["none", "far", "beside"])
@pytest.mark.parametrize("weights", ["clipped", "trimmed"])
def test_honest_agents_still_learn(tmp_path: Path, weights: str, lie: str) -> None:
    honest, target = taught(graph(tmp_path, weights), lie)
    assert float((honest.mean(0) - target).norm()) < 0.4 * float(target.norm())
    if lie == "far":  # the plain average is carried away
        carried, _ = taught(graph(tmp_path, "uniform"), lie)
        assert float((carried.mean(0) - target).norm()) > 100


def test_trimming_needs_three_to_hear(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"need 3 agents or more to hear; agent 0 hears 2.*clipped"):
        graph(tmp_path, "trimmed", family="ring")
    assert graph(tmp_path, "trimmed", agents=4).robust


@pytest.mark.parametrize("suffix", [".yaml", ".json", ".graphml", ".edgelist"])
@pytest.mark.parametrize("weights", ["clipped", "trimmed"])
def test_files_keep_the_rule(tmp_path: Path, weights: str, suffix: str) -> None:
    made = graph(tmp_path, weights)
    write(made, tmp_path / f"again{suffix}")
    again = load_topology(tmp_path / f"again{suffix}", 5)
    assert again == made and again.weights == weights
    assert made != graph(tmp_path, "uniform"), "agents that mix by other rules do not mix"


def test_irregular_graphs_are_weighted_so_that_the_mean_is_kept(tmp_path: Path) -> None:
    assert graph(tmp_path, "clipped", family="star").doubly_stochastic
