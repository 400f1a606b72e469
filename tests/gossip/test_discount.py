"""Old messages count less when the topology says so."""

from pathlib import Path

import pytest
import torch
from fake_transport import FakeTransport, Network, identity

from gala.gossip.node import GossipNode
from gala.topology import load_topology


@pytest.mark.parametrize(
    ("max_staleness", "weight"),
    [
        (None, 0.125),
        (0, 0.5),
    ],  # a message of unknown age counts as one update old; lock-step: fresh
)
def test_what_an_old_message_loses_stays_with_self(
    tmp_path: Path, max_staleness: int | None, weight: float
) -> None:
    path = tmp_path / "late.yaml"
    path.write_text("family: ring\nweights: {kind: uniform, discount: 0.25}\n")
    network, vectors = Network(2), torch.tensor([[0.0], [8.0]])
    nodes = [
        GossipNode(
            rank=rank,
            topology=load_topology(path, 2),
            vector=vectors[rank],
            transport=FakeTransport(network, rank),
            identity=identity(),
            max_staleness=max_staleness,
        )
        for rank in range(2)
    ]
    for node in nodes:
        node.publish(update=1, step=0)
    assert nodes[0].mix()
    assert vectors[0].item() == pytest.approx(8 * weight)
