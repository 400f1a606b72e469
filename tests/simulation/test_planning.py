"""Plans: the cheapest way that was simulated, and that it is what it says."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from gala import cli
from gala.errors import UserError
from gala.gossip.wire import wire_format
from gala.simulation import Scenario, simulate
from gala.simulation.planning import FULL, LARGEST, Option, Plan, plan
from gala.simulation.scenario import ROUNDING, WIRES, Steps
from gala.topology import load_topology

pytestmark = pytest.mark.slow

BASE = Scenario(updates=50, update_jitter=0.2, update_size=0.001, parameters=100_000)


def planned(target: float, agents: int = 8, **changes: object) -> Plan:
    return plan(agents, target, replace(BASE, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(WIRES))
def test_formats_have_the_bytes_and_the_error_of_the_real_ones(name: str) -> None:
    vector = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    wire = wire_format(name, len(vector))
    lost = float((wire.decode(wire.encode(vector)) - vector).norm() / vector.norm())
    assert lost == pytest.approx(ROUNDING[name], rel=0.1)
    size = Scenario(updates=1, wire=name, parameters=len(vector)).message_bytes
    assert size == pytest.approx(wire.payload_bytes, rel=0.01)


def test_rounding_errors_have_the_length_asked_for() -> None:
    found = Steps(8, 0.0, np.random.default_rng(1)).errors(1000, 0.3)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.full(1000, 0.3))
    assert np.linalg.norm(found.mean(axis=0)) < 0.03


@pytest.mark.parametrize("max_staleness", [None, 0])
def test_rounded_messages_take_agents_apart(max_staleness: int | None) -> None:
    ring = load_topology("ring", 6)
    exact = simulate(ring, replace(BASE, wire="float32", max_staleness=max_staleness))
    coarse = simulate(ring, replace(BASE, wire="int8", max_staleness=max_staleness))
    assert np.mean(coarse.tally.divergence) > 2 * np.mean(exact.tally.divergence)


def test_who_publishes_seldom_sends_less_and_drifts() -> None:
    ring = load_topology("ring", 6)
    often, seldom = (simulate(ring, replace(BASE, updates=400, every=k)) for k in (1, 8))
    assert seldom.bytes_per_agent == pytest.approx(often.bytes_per_agent / 8, rel=0.02)
    assert seldom.wall_clock_s == pytest.approx(often.wall_clock_s, rel=0.1)
    assert np.mean(seldom.tally.divergence) > 1.5 * np.mean(often.tally.divergence)
    assert seldom.tally.age.largest > 1
    with pytest.raises(UserError, match="--every"):
        simulate(ring, replace(BASE, every=2, max_staleness=0))


def test_the_cheapest_within_the_target() -> None:
    found = planned(0.004)
    *missed, last = found.tried
    assert found.reached and last.relative <= 0.004 < min(each.relative for each in missed)
    rates = [each.mbit_s for each in found.tried]
    assert np.all(np.diff(rates) > -0.15 * np.array(rates[1:]))  # simulated agents end in a message
    assert (found.best.topology, found.best.every) == (last.topology, last.every)
    assert found.best.certified is not None and found.best.certified > found.best.divergence > 0


def test_a_smaller_radius_takes_more_and_an_endless_one_the_least() -> None:
    narrow, wide = planned(0.003), planned(1.0)
    assert narrow.best.mbit_s > wide.best.mbit_s and len(wide.tried) == 1
    assert (wide.best.topology, wide.best.wire, wide.best.every) == ("ring", "int8", 32)


def test_links_are_not_filled() -> None:
    slow = planned(1e-9, bandwidth_mbit=10.0)  # a float32 message to two has 6.4 Mbit
    assert not slow.reached
    assert all(each.busy is not None and each.busy <= FULL + 0.05 for each in slow.tried)
    assert slow.best.relative == min(each.relative for each in slow.tried)
    assert {each.every for each in slow.tried if each.wire == "float32"} == {8, 16, 32}
    with pytest.raises(UserError, match="bandwidth"):
        planned(0.01, bandwidth_mbit=0.01)


def test_too_many_agents_are_refused() -> None:
    with pytest.raises(UserError, match=f"{LARGEST} agents at most"):
        plan(LARGEST + 1, 0.01, BASE)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["simulate", "--plan", "--agents", "8", "--updates", "50", "--params", "100000"]
    assert cli.main([*options, "--target", "0.004", "--bandwidth-mbit", "100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["agents"], found["target"], found["reached"]) == (8, 0.004, True)
    assert set(found["plan"]) == set(Option.__annotations__)
    assert found["plan"]["relative"] <= 0.004 and found["plan"]["busy"] < FULL
    assert (found["update_size"], found["bandwidth_mbit"]) == (0.001, 100.0)
    assert cli.main([*options, "--target", "1", "--topology", "exponential"]) == 0
    shown = capsys.readouterr().out
    assert "exponential, int8, a message every 32nd update: within 1 with 8 agents" in shown
    assert "--topology exponential --gossip.wire-format int8 --gossip.epsilon-target 1" in shown
