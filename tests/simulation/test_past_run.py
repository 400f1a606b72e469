"""What a run folder tells a simulation, and whether its prediction comes true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gala import cli
from gala.errors import UserError
from gala.simulation.command import main
from gala.simulation.past_run import MOST_DIMENSIONS, read_past_run
from gala.telemetry.history import NAME, History
from gala.telemetry.sketches import SketchWriter
from gala.topology import load_topology

AGENTS, SKETCH, TICKS = 4, 64, 5
NORM, SHARED = 0.5, 0.8
"""Length of every update, and of it the part along a direction that all share."""


def append(writer: SketchWriter, tick: int, update: int, sketch: np.ndarray) -> None:
    writer.append(
        t=float(tick), tick=tick, update=update, step=0, incarnation=0, norm=1.0, update_norm=NORM,
        mix_every=1, delay=1, sketch=sketch.astype(np.float32),
    )  # fmt: skip


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A run: ten updates a second of agents 0 to 2 and five of 3, a mix after every other."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "topology.json").write_text(json.dumps(load_topology("ring", AGENTS).to_json()))
    meta = {"agents": AGENTS, "coupling": "gossip", "parameters": 1000}
    (run / "meta.json").write_text(json.dumps(meta))
    (run / "config.yaml").write_text("gossip:\n  wire_format: bfloat16\n  max_staleness: null\n")
    for rank in range(AGENTS):
        folder = run / f"rank_{rank:02d}"
        folder.mkdir()
        history = History(folder / NAME, incarnation=0)
        files = [SketchWriter(folder / name, SKETCH) for name in ("sketches.bin", "steps.bin")]
        update = 0
        for tick in range(TICKS):
            for _ in range(10 if rank < 3 else 5):
                update += 1
                history.step(update, NORM)
                history.published(update, 0.0)
                if update % 2 == 0:
                    history.mixed({0: 0.5}, {0: SimpleNamespace(incarnation=0, version=1)})
            history.cut(tick, float(tick))
            row, step = np.zeros(SKETCH), np.zeros(SKETCH)
            row[0] = rank
            step[0], step[1 + rank + AGENTS * tick] = SHARED, (1 - SHARED**2) ** 0.5
            append(files[0], tick, update, row)
            append(files[1], tick, update, NORM * step)
        for file in (history, *files):
            file.close()
    return run


def test_what_a_folder_tells(made: Path) -> None:
    past = read_past_run(made)
    assert (past.topology.agents, past.parameters, past.wire) == (AGENTS, 1000, "bfloat16")
    assert past.update_norm == pytest.approx(NORM) and past.ticks == TICKS
    assert past.step_cosine == pytest.approx(SHARED**2, abs=1e-6)
    assert past.dimension == MOST_DIMENSIONS  # all that is their own is in new directions
    assert past.divergence == pytest.approx(np.linalg.norm(np.arange(4) - 1.5))
    assert past.staleness == pytest.approx(0.5, abs=0.03)
    assert past.update_s == pytest.approx(4 / 35)
    assert past.factors == pytest.approx((0.875, 0.875, 0.875, 1.75))
    scenario = past.scenario()
    assert scenario.speed.startswith("each:0.875:0.875") and scenario.message_bytes == 2000


def test_few_directions_are_seen(made: Path) -> None:
    for rank in range(AGENTS):
        path = made / f"rank_{rank:02d}" / "steps.bin"
        path.unlink()
        writer = SketchWriter(path, SKETCH)
        for tick in range(TICKS):
            step = np.zeros(SKETCH)
            step[(rank + tick) % AGENTS] = 1.0
            append(writer, tick, tick, step)
        writer.close()
    past = read_past_run(made)
    assert past.step_cosine == pytest.approx(0.0) and past.dimension == AGENTS - 1


def test_the_command_compares_and_changes_what_is_asked(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["simulate", "--from-run", str(made), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    past = found["from_run"]
    assert found["agents"] == AGENTS and found["updates"] == 43
    assert past["measured"] == pytest.approx(5**0.5) and past["update_norm"] == pytest.approx(NORM)
    median = float(np.median(found["series"]["divergence"]))
    assert past["predicted"] == pytest.approx(NORM * median)
    other = ["--agents", "8", "--topology", "exponential", "--update-jitter", "0.25"]
    assert cli.main(["simulate", "--from-run", str(made), *other]) == 0
    shown = capsys.readouterr().out
    assert "exponential, 8 agents x 43 updates" in shown and "cosine 0.64" in shown
    assert "measured 2.236, predicted" in shown


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda run: (run / "meta.json").unlink(), "is no run folder"),
        (
            lambda run: (run / "meta.json").write_text('{"agents": 4, "coupling": "none"}'),
            "its agents did not gossip",
        ),
        (
            lambda run: (run / "config.yaml").write_text("gossip:\n  epsilon_target: 0.01\n"),
            "agents that publish seldom are not simulated",
        ),
        (lambda run: (run / "config.yaml").unlink(), "config.yaml"),
        (lambda run: (run / "rank_02" / NAME).unlink(), "all agents were measured at 0 moments"),
        (lambda run: (run / "rank_02" / "sketches.bin").write_bytes(b"GALA"), "at 0 moments only"),
        (lambda run: os.rename(run / "rank_02", run / "rank_09"), "the folders of some agents"),
    ],
)
def test_what_cannot_be_simulated_is_said(made: Path, spoil: object, words: str) -> None:
    spoil(made)  # type: ignore[operator]
    with pytest.raises(UserError) as caught:
        read_past_run(made)
    assert words in str(caught.value)


def test_agents_are_needed_without_a_run() -> None:
    with pytest.raises(UserError, match="required: --agents"):
        main(["--topology", "ring"])


@pytest.mark.slow
@pytest.mark.long
def test_a_real_run_is_predicted_within_15_percent(tmp_path: Path) -> None:
    """CartPole, a ring of four that never waits: lengths, cosines and times in, divergence out."""
    run = tmp_path / "run"
    train = ("cartpole --agents 4 --topology ring --total-steps 250000 --seed 11 "
             "--divergence.every-s 0.5").split()  # fmt: skip
    command = [sys.executable, "-m", "gala", "train", *train, "--run-dir", str(run)]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    simulated = [sys.executable, "-m", "gala", "simulate", "--from-run", str(run), "--json"]
    done = subprocess.run(simulated, check=True, capture_output=True, timeout=300)
    past = json.loads(done.stdout)["from_run"]
    assert past["ticks"] > 20 and past["step_cosine"] > 0.3
    assert abs(past["error"]) < 0.15, past
