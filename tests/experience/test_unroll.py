"""Unrolls come out as they went in, and no damage to a sealed one goes unseen."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from gala.experience.batch import Batch
from gala.experience.unroll import Layout, Unroll
from gala.gossip.message import checksum

ARRAYS = ("obs", "action", "dist", "reward", "discount", "value", "next_value", "cut", "valid")

layouts = st.builds(
    Layout,
    steps=st.integers(1, 5),
    obs=st.sampled_from([(), (3,), (2, 4, 5)]),
    obs_dtype=st.sampled_from([torch.uint8, torch.float32, torch.float64, torch.int64]),
    action=st.sampled_from([(), (2,)]),
    action_dtype=st.sampled_from([torch.int64, torch.float32]),
    dist=st.integers(1, 4),
    masked=st.booleans(),
    memory=st.sampled_from([None, (2,), (3, 2)]),
)


def random_batch(layout: Layout, envs: int, seed: int) -> Batch:
    """A batch of random bits; those of booleans are 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    size = layout.size(envs)
    memory = torch.randint(0, 2, (size,), generator=generator, dtype=torch.uint8)
    return layout.batch(memory, envs)


def slot(layout: Layout, envs: int) -> Unroll:
    return Unroll(torch.zeros(Unroll.size(layout, envs), dtype=torch.uint8), layout, envs)


@given(layouts, st.integers(1, 3), st.integers(1, 3), st.integers(0, 99))
def test_unrolls_become_columns_of_a_batch(
    layout: Layout, envs: int, unrolls: int, seed: int
) -> None:
    whole = layout.batch(
        torch.zeros(layout.size(envs * unrolls), dtype=torch.uint8), envs * unrolls
    )
    given_ = [random_batch(layout, envs, seed + i) for i in range(unrolls)]
    for i, batch in enumerate(given_):
        unroll = slot(layout, envs)
        unroll.fill(batch, version=7 + i)
        unroll.copy_to(whole, slice(i * envs, (i + 1) * envs))
    remembers = layout.memory is not None
    names = [*ARRAYS, "final"] + ["mask"] * layout.masked + ["begin"] * remembers
    for name in names:
        expected = torch.cat([getattr(batch, name) for batch in given_], dim=1)
        assert torch.equal(getattr(whole, name), expected), name
    if remembers:
        assert torch.equal(whole.memory, torch.cat([batch.memory for batch in given_]))
    versions = [7 + i for i in range(unrolls) for _ in range(envs)]
    assert whole.version.tolist() == [versions] * layout.steps
    assert (whole.mask is None) is not layout.masked


@given(layouts, st.integers(1, 3), st.data())
def test_a_checksum_sees_any_damaged_byte(layout: Layout, envs: int, data: st.DataObject) -> None:
    unroll = slot(layout, envs)
    unroll.fill(random_batch(layout, envs, 0), version=3)
    before = checksum(unroll.sealed)
    where = data.draw(st.integers(0, len(unroll.sealed) - 1))
    unroll.sealed[where] ^= data.draw(st.integers(1, 255))
    assert checksum(unroll.sealed) != before


def test_what_goes_with_an_unroll() -> None:
    layout = Layout(
        steps=2, obs=(3,), obs_dtype=torch.float32, action=(), action_dtype=torch.int64, dist=2,
        masked=False,
    )  # fmt: skip
    unroll, batch = slot(layout, 1), random_batch(layout, 1, 0)
    unroll.fill(
        batch,
        version=2**40,
        games=[(1.5, 7), (-2.0, 9)],
        faults=["reward is nan", "é" * 400],
        actor=3,
        idle_s=0.25,
        busy_s=2.0,
    )
    assert (unroll.oldest, unroll.actor, unroll.times) == (2**40, 3, (0.25, 2.0))
    assert unroll.games == [(1.5, 7), (-2.0, 9)]
    assert unroll.faults[0] == "reward is nan" and len(unroll.faults[1]) < 400
    unroll.fill(batch, version=1, games=[(float(k), k) for k in range(10)])
    assert unroll.games == [(7.0, 7), (8.0, 8), (9.0, 9)], "the newest, as many as there is room"
    assert unroll.faults == () and np.all(unroll.batch.version == 1)
