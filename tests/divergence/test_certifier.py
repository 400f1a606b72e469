"""Certificates from the files of a run: what is read of them, and where windows begin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from gala.divergence import certifier
from gala.divergence.certificate import Certificate
from gala.divergence.certifier import Certifier
from gala.divergence.walk import Incomplete
from gala.telemetry.history import NAME, History, begin_tick
from gala.telemetry.sketches import SketchWriter

SIZE = 64


@dataclass(frozen=True)
class Heard:
    incarnation: int
    version: int


class Run:
    """Two agents in lock-step whose sketches are their parameters, float32."""

    def __init__(self, folder: Path, capacity: int = 4096, launch: int = 0) -> None:
        self.folder, self.version, self.t = folder, 0, 1000.0 * launch
        self.rng = np.random.default_rng(launch)
        self.x = np.tile(self.rng.standard_normal(SIZE), (2, 1))
        self.histories, self.writers = [], []
        for rank in range(2):
            (folder / f"rank_{rank:02d}").mkdir(exist_ok=True)
            path = folder / f"rank_{rank:02d}"
            history = History(path / NAME, incarnation=0, launch=launch, capacity=capacity)
            self.histories.append(history)
            self.writers.append(SketchWriter(path / "sketches.bin", SIZE))
            self.cut(rank, begin_tick(0))

    def update(self, times: int = 1, size: float = 1.0) -> None:
        for _ in range(times):
            self.version += 1
            for rank, history in enumerate(self.histories):
                step = size * self.rng.standard_normal(SIZE)
                self.x[rank] += step
                history.step(self.version, float(np.linalg.norm(step)))
                history.published(self.version, 0.0)
            for rank, history in enumerate(self.histories):
                history.mixed({1 - rank: 0.05}, {1 - rank: Heard(0, self.version)})
            self.x = np.array([[0.95, 0.05], [0.05, 0.95]]) @ self.x

    def cut(self, rank: int, tick: int, *, kept: bool = True) -> float:
        self.t += 1.0
        if kept:
            self.writers[rank].append(
                t=self.t, tick=tick, update=self.version, step=0, incarnation=0,
                norm=float(np.linalg.norm(self.x[rank])), update_norm=0.0, mix_every=0, delay=0,
                sketch=self.x[rank].astype(np.float32),
            )  # fmt: skip
        self.histories[rank].cut(tick, self.t)
        return self.t

    def tick(self, tick: int) -> dict[int, float]:
        return {rank: self.cut(rank, tick) for rank in range(2)}

    @property
    def distance(self) -> float:
        return float(np.linalg.norm(self.x - self.x.mean(axis=0)))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tick is certified, and few records are read at first."""
    monkeypatch.setattr(certifier, "SHARE", 1e9)
    monkeypatch.setattr(certifier, "FEWEST", 8)


def test_windows_grow_until_their_beginning_has_faded(tmp_path: Path) -> None:
    run, found = Run(tmp_path), None
    certify = Certifier(tmp_path, 2, SIZE)
    for tick in range(1, 13):
        run.update(5)
        found = certify.certify(tick, run.tick(tick))
        assert isinstance(found, Certificate) and run.distance <= found.epsilon
    assert isinstance(found, Certificate)
    assert found.beginning < certifier.FADED * found.epsilon and found.steps >= 2 * 5 * 4


def test_a_ring_that_is_too_short_for_a_window_is_no_endless_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certifier, "CAPACITY", 32)
    run = Run(tmp_path, capacity=32)
    certify = Certifier(tmp_path, 2, SIZE)
    for tick in range(1, 20):
        run.update(5)
        found = certify.certify(tick, run.tick(tick))
        assert isinstance(found, Certificate) and run.distance <= found.epsilon
        assert tick < 8 or found.beginning > certifier.FADED * found.epsilon


def test_a_resumed_run_counts_anew_and_is_certified(tmp_path: Path) -> None:
    """Ticks, versions and incarnations of the launch before come again."""
    Run.tick(first := Run(tmp_path), 1)
    for tick in range(2, 6):
        first.update(3, size=0.01)
        first.tick(tick)
    run = Run(tmp_path, launch=1)
    certify = Certifier(tmp_path, 2, SIZE)
    for tick in range(1, 4):
        run.update(3, size=10.0)
        found = certify.certify(tick, run.tick(tick))
        assert isinstance(found, Certificate) and run.distance <= found.epsilon
        assert found.steps == 2 * 3 * tick or found.beginning > 0


def test_a_sketch_that_was_lost_is_no_end(tmp_path: Path) -> None:
    """On a full disk: records are written, sketches are not. An earlier one has to do."""
    run = Run(tmp_path)
    certify = Certifier(tmp_path, 2, SIZE)
    run.update(3)
    run.cut(0, 1, kept=False)
    run.cut(1, 1)
    run.update(3)
    found = certify.certify(2, run.tick(2))
    assert isinstance(found, Certificate) and run.distance <= found.epsilon
    assert found.steps == 6 + 3  # of agent 0 since it began, of agent 1 since tick 1


def test_what_no_older_record_tells_is_not_looked_for(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.update(3)
    run.histories[0].mixed(None, {})
    found = Certifier(tmp_path, 2, SIZE).certify(1, run.tick(1))
    assert isinstance(found, Incomplete) and "not told by weights" in found.reason
    assert not found.more


@pytest.mark.parametrize("norm", [np.nan, np.inf, 1e308])
def test_a_length_that_is_not_finite_certifies_nothing(tmp_path: Path, norm: float) -> None:
    run = Run(tmp_path)
    run.update(3)
    for _ in range(3):
        run.histories[0].step(9, norm)
    found = Certifier(tmp_path, 2, SIZE).certify(1, run.tick(1))
    assert isinstance(found, Incomplete) and "not finite" in found.reason


def test_other_agents_than_were_measured_do_not_count(tmp_path: Path) -> None:
    """Who wrote its sketch just after the others were looked at is no row."""
    run = Run(tmp_path)
    run.update(3)
    present = run.tick(1)
    assert isinstance(found := Certifier(tmp_path, 2, SIZE).certify(1, present), Certificate)
    assert found.epsilon > 0
    alone = Certifier(tmp_path, 2, SIZE).certify(1, {0: present[0]})
    assert isinstance(alone, Certificate) and alone.epsilon == 0.0
    unknown = Certifier(tmp_path, 2, SIZE).certify(1, present | {1: 5.0})
    assert isinstance(unknown, Incomplete) and "agent 1 cannot be read" in unknown.reason
