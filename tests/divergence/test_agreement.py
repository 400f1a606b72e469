"""Cosines of updates from sketches, against those of the updates themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gala.divergence.agreement import Agreement, cosines
from gala.divergence.sketch import Sketcher

P, AGENTS = 20_000, 4


def group(run: Path) -> list[Agreement]:
    for rank in range(AGENTS):
        (run / f"rank_{rank:02d}").mkdir()
    sketch = Sketcher(P, 1024)
    return [
        Agreement(run, rank=rank, agents=AGENTS, sketch=sketch, tell=lambda text: None)
        for rank in range(AGENTS)
    ]


@pytest.mark.parametrize("common", [0.0, 1.0, 3.0, -1.0])
def test_sketched_cosines_are_the_exact_ones(tmp_path: Path, common: float) -> None:
    agents = group(tmp_path)
    generator = torch.Generator().manual_seed(1)
    shared = torch.randn(P, generator=generator)
    signs = torch.tensor([1.0, 1.0, 1.0, -1.0 if common < 0 else 1.0])
    steps = abs(common) * signs[:, None] * shared + torch.randn(AGENTS, P, generator=generator)
    for rank, agent in enumerate(agents):
        agent.write(steps[rank], 3, update=1, incarnation=0)
    exact = cosines(steps.double().numpy())
    for rank, agent in enumerate(agents):
        assert agent.metrics() == {}
        agent.measure(3)
        found = agent.metrics()
        others = [j for j in range(AGENTS) if j != rank]
        for j in others:
            assert found[f"divergence/step_cosine/{j}"] == pytest.approx(exact[rank, j], abs=0.1)
        mean = exact[~np.eye(AGENTS, dtype=bool)].mean()
        assert found["divergence/step_cosine"] == pytest.approx(mean, abs=0.06)
        agent.close()


def test_agents_that_did_not_move_or_write_are_left_out(tmp_path: Path) -> None:
    agents = group(tmp_path)
    agents[0].write(torch.ones(P), 1, update=1, incarnation=0)
    agents[1].write(torch.zeros(P), 1, update=1, incarnation=0)
    agents[0].measure(1)
    assert agents[0].metrics() == {}
    agents[2].write(torch.ones(P), 1, update=1, incarnation=0)
    agents[1].measure(1)
    found = agents[1].metrics()
    assert found == {"divergence/step_cosine": pytest.approx(1.0)}
    for agent in agents:
        agent.close()
