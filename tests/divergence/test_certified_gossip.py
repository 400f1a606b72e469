"""The certificate against what real nodes do: any wire, any weights, any deaths and returns."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gala.divergence.certificate import Certificate
from gala.topology import load_topology

from .real import Real

Script = list[tuple[str, int, float]]

EVENTS = (*["update"] * 6, "lose", "rest", "mix", "die", "checkpoint", "return", *["cut"] * 3)
SCRIPTS = st.lists(
    st.tuples(st.sampled_from([*EVENTS, "resume"]), st.integers(0, 3), st.floats(-7, 1)),
    min_size=5,
    max_size=40,
)


def play(world: Real, script: Script) -> int:
    """Returns the last tick; agents are cut one by one, at any time, and some not at all."""
    tick = 0
    for what, i, size in script:
        if what in ("update", "lose"):
            world.step(i, 10**size)
            world.publish(i, arrives=what == "update")
            world.mix(i)
        elif what == "rest":
            world.step(i, 10**size)
            world.rest(i)
            world.mix(i)
        elif what == "mix":
            world.mix(i)
        elif what in ("die", "checkpoint", "return"):
            world.restart(i, adopts=what != "checkpoint", gone=what == "die")
        elif what == "resume":
            world.resume()
        elif i not in world.cuts.get(tick, {}):
            world.cut(i, tick)
        elif len(world.cuts[tick]) > 1:
            world.cut(i, tick := tick + 1)
    for i in range(world.agents):
        if i not in world.cuts.get(tick, {}):
            world.cut(i, tick)
    return tick


KINDS = [
    ("ring", "float32", False),
    ("ring", "bfloat16", True),
    ("directed-ring", "int8", False),
    ("exponential", "int8", True),
    ("complete", "float32", True),
    ("clipped", "float32", False),
    ("clipped", "bfloat16", True),
    ("discount", "float32", True),
    ("push-sum", "float64", False),
    ("push-sum", "float64", True),
]


@pytest.mark.parametrize(("name", "wire", "partial"), KINDS)
@settings(max_examples=10)
@given(script=SCRIPTS, seed=st.integers(0, 2**16), scale=st.sampled_from([0.0, 1.0, 30.0]))
def test_never_exceeded(
    name: str, wire: str, partial: bool, script: Script, seed: int, scale: float
) -> None:
    if name == "clipped":
        topology = replace(load_topology("complete", 4), weights="clipped")
    elif name == "discount":
        topology = replace(load_topology("complete", 4), discount=0.5)
    elif name == "push-sum":
        graph = load_topology("complete" if partial else "directed-ring", 4)
        topology = replace(graph, weights="push-sum", push_sum=True)
    else:
        topology = load_topology(name, 4)
    with tempfile.TemporaryDirectory() as folder:
        world = Real(Path(folder), topology, wire, partial, seed, scale)
        last = play(world, script)
        for tick in sorted({last // 2, last}):
            if len(world.cuts[tick]) < 2:
                continue
            for begin in sorted({-1, tick // 2, tick - 1}):
                found = world.certify(tick, begin)
                if isinstance(found, Certificate):
                    assert world.distance(tick) <= found.epsilon * (1 + 1e-9), (tick, begin)
                else:  # cuts of an earlier launch are not in the records any more
                    assert any(what == "resume" for what, _, _ in script), found


@pytest.mark.parametrize("push_sum", [False, True])
def test_unrelated_updates_are_as_far_apart_as_expected(tmp_path: Path, push_sum: bool) -> None:
    """Weights of the walk are right, not only large enough: in both algebras."""
    graph = load_topology("directed-ring", 4)
    topology = replace(graph, weights="push-sum", push_sum=True) if push_sum else graph
    world = Real(tmp_path, topology, seed=1)
    order = np.random.default_rng(1)
    for at in range(400):
        i = int(order.integers(4))
        world.step(i, 0.1)
        world.publish(i, arrives=order.random() < 0.8)
        world.mix(i)
        if at % 100 == 99:
            for k in range(4):
                world.cut(k, at // 100)
    for begin in (-1, 1, 2):
        found = world.certify(3, begin)
        assert isinstance(found, Certificate) and found.steps > 50
        assert 0.7 < world.distance(3) / found.expected < 1.3
        assert 0.1 < world.distance(3) / found.epsilon < 0.6
