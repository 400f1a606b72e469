"""The meter: what it says of a mix, and which measurements it lets steer and raise alarms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gala.agent.measuring import DivergenceMeter
from gala.agent.setting import Setting
from gala.config.sections import DivergenceConfig
from gala.couplings.coupling import Coupling
from gala.divergence.ball import Ball
from gala.divergence.policy import PolicyDivergence
from gala.divergence.tracker import LOCK_STEP_TICK, DivergenceTracker
from gala.divergence.updates import Updates
from gala.launch.launch import Launch
from gala.parameters.flat import FlatParameters
from gala.run.config import Config
from gala.run.folder import RunFolder
from gala.topology import Topology, load_topology


class Scripted(Coupling):
    """A coupling in lock-step that mixes when the test says so."""

    lock_step = True

    def __init__(self, topology: Topology | None) -> None:
        super().__init__()
        self.topology, self.done, self.heard = topology, 0, list[float]()
        self.asked = 0

    @property
    def mix_every(self) -> int:
        self.asked += 1
        return 1

    @property
    def mixes(self) -> int:
        return self.done

    def measured(self, relative: float) -> None:
        self.heard.append(relative)


class Watched:
    """A meter of agent 0 of two; its policy takes action 1 with the probability of a parameter."""

    def __init__(self, folder: Path, topology: Topology | None) -> None:
        (folder / "rank_00").mkdir()
        module = torch.nn.Linear(1, 1)
        self.flat = FlatParameters(module)
        self.flat.weights.copy_(torch.tensor([0.5, 0.25]))
        self.norms, self.coupling = Updates(self.flat.weights), Scripted(topology)
        behaviour = PolicyDivergence(
            lambda: torch.ones(4, 1),
            lambda vector, rows: vector[1] * rows,
            lambda p, q: (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).squeeze(-1),
        )
        setting = Setting(
            config=Config(divergence=DivergenceConfig(alarm_ticks=3)),
            launch=Launch(rank=0, agents=2), run=RunFolder(folder), run_id="00" * 8,
            topology=load_topology("ring", 2), device=torch.device("cpu"), threads=1,
        )  # fmt: skip
        self.meter = DivergenceMeter(setting, self.flat, self.norms, self.coupling, behaviour)
        self.update = 0

    def go(self, step: float, mix: float | None) -> list[tuple[str, str]]:
        """An update that adds ``step`` to the second parameter, and a mix that adds ``mix``."""
        self.norms.before(self.flat.weights)
        self.flat.weights[1] += step
        self.norms.after(self.flat.weights)
        self.update += 1
        self.meter.stepped(self.update)
        if mix is not None:
            self.flat.weights[1] += mix
            self.coupling.done += 1
        return self.meter.observe(self.update, 0)

    def until_a_tick(self) -> None:
        while (self.update + 1) % LOCK_STEP_TICK:
            self.go(0.0, 0.0)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path, load_topology("ring", 2))
    yield made
    made.meter.close()


def test_what_the_first_mix_of_a_tick_did(watched: Watched) -> None:
    watched.until_a_tick()
    assert "divergence/mix_kl" not in watched.meter.metrics()
    watched.go(0.125, None)  # the tick; nobody had sent anything
    assert "divergence/mix_norm" not in watched.meter.metrics()
    watched.go(0.0625, 0.0625)
    p, q = 0.4375, 0.5
    kl = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    found = watched.meter.metrics()
    assert found["divergence/mix_kl"] == pytest.approx(kl, rel=1e-5)
    assert found["divergence/mix_norm"] == 0.0625 == found["divergence/step_norm"]
    watched.go(0.0, 0.25)  # no second one of the same tick
    assert watched.meter.metrics()["divergence/mix_norm"] == 0.0625
    watched.until_a_tick()
    watched.go(0.0, -0.25)
    assert watched.meter.metrics()["divergence/mix_norm"] == 0.25


def test_what_a_sketch_tells_is_gathered_at_ticks_alone(watched: Watched) -> None:
    watched.until_a_tick()
    assert watched.coupling.asked == 0
    watched.go(0.0, 0.0)
    watched.go(0.0, 0.0)
    assert watched.coupling.asked == 1


def test_agents_that_do_not_mix_keep_no_copies(tmp_path: Path) -> None:
    alone = Watched(tmp_path, None)
    alone.until_a_tick()
    alone.go(0.0, 0.25)
    assert not {"divergence/mix_kl", "divergence/mix_norm"} & alone.meter.metrics().keys()
    alone.meter.close()


def ball(tick: int, *, ratio: float | None, skipped: bool = False) -> Ball:
    epsilon = None if ratio is None else 1.0 / ratio
    return Ball(
        to_mean={0: 0.5, 1: 0.5}, total=1.0, mean_norm=2.0, epsilon=epsilon, expected=None,
        reason="", beta=None, apart=torch.zeros(2, 2).numpy(), proven=epsilon is not None,
        drift=None, tick=tick, skipped=skipped,
    )  # fmt: skip


def alarms(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, balls: list[Ball | None]
) -> list[bool]:
    """Whether an alarm began at each tick, if these are measured; None: nothing was."""

    def observe(self: DivergenceTracker, *_: object, update: int, **__: object) -> bool:
        self._last_tick, self.ball = update + 1, balls[update - 1] or self.ball
        return True

    monkeypatch.setattr(DivergenceTracker, "tick", lambda self, update: update)
    monkeypatch.setattr(DivergenceTracker, "observe", observe)
    events = [watched.meter.observe(number, 0) for number in range(1, len(balls) + 1)]
    return ["alarm" in dict(told) for told in events]


def test_an_old_measurement_raises_no_alarm_and_steers_nothing(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first of these ticks was measured."""
    told = alarms(watched, monkeypatch, [ball(1, ratio=2.0), None, None, None, None])
    assert told == [False] * 5
    assert watched.coupling.heard == [0.25]


def test_ticks_without_time_for_a_certificate_hide_no_alarm(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With many agents most are; a bound is never compared with the distance of another tick."""
    out, skipped = 2.0, ball(2, ratio=None, skipped=True)
    balls: list[Ball | None] = [ball(1, ratio=out), skipped, ball(3, ratio=out)]
    balls += [ball(4, ratio=None, skipped=True), ball(5, ratio=out), ball(6, ratio=out)]
    assert alarms(watched, monkeypatch, balls) == [False, False, False, False, True, False]
