"""Distances layer by layer."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gala.divergence.layers import BUCKETS, LayerTracker

LAYOUT = [("conv.weight", (30, 100)), ("conv.bias", (30,)), ("value.weight", (1, 5000))]
AGENTS = 3


@pytest.fixture
def local_group(tmp_path: Path):
    for rank in range(AGENTS):
        (tmp_path / f"rank_{rank:02d}").mkdir()
    found = [
        LayerTracker(tmp_path, rank=rank, agents=AGENTS, layout=LAYOUT) for rank in range(AGENTS)
    ]
    yield found
    for tracker in found:
        tracker.close()


def test_each_layer_has_its_own_distance(local_group: list[LayerTracker]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 8030, generator=generator).repeat(AGENTS, 1)  # alike, but ...
    x[:, 3000:3030] += torch.randn(AGENTS, 30, generator=generator)
    x[:, 3030:] += 10 * torch.randn(AGENTS, 5000, generator=generator)
    for tick in (7, 8):
        for rank, tracker in enumerate(local_group):
            tracker.observe(x[rank] if tick == 7 else 0 * x[rank], tick=tick, update=1, step=1)
    last = local_group[-1]
    exact = (x - x.mean(0))[-1]
    assert last.to_mean["conv.weight"] == pytest.approx(0.0, abs=1e-3)
    # no larger than a sketch: exact
    assert last.to_mean["conv.bias"] == pytest.approx(float(exact[3000:3030].norm()), rel=1e-5)
    assert last.to_mean["value.weight"] == pytest.approx(float(exact[3030:].norm()), rel=0.3)
    assert set(last.metrics()) == {f"divergence/layer/{name}" for name, _ in LAYOUT}


def test_the_error_is_that_of_so_many_buckets(local_group: list[LayerTracker]) -> None:
    dice = torch.Generator().manual_seed(1)
    ratios, before = [], 1.0
    for tick in range(60):
        x = torch.randn(AGENTS, 8030, generator=dice)
        for rank, tracker in enumerate(local_group):
            tracker.observe(x[rank], tick=tick, update=tick, step=tick)
        if tick:
            ratios.append(local_group[-1].to_mean["value.weight"] / before)
        before = float((x - x.mean(0))[-1, 3030:].norm())
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.04)
    assert np.std(ratios) == pytest.approx(1 / np.sqrt(2 * BUCKETS), rel=0.35)


def test_those_that_did_not_write_are_left_out(local_group: list[LayerTracker]) -> None:
    for tick in (1, 2):
        for rank in (0, 2):
            local_group[rank].observe(torch.full((8030,), float(rank)), tick=tick, update=1, step=1)
    # 0 and 2 are one away from their mean in each of 30 numbers
    assert local_group[2].to_mean["conv.bias"] == pytest.approx(30**0.5)
