"""The zoo: every row can be asked for, nothing is run twice, and what was not run is not shown."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))

import zoo

from gala.files.shipped import resolve
from gala.learning.table import ALGORITHMS
from gala.run.request import read_request

PRESETS = {
    "cartpole", "acrobot", "mountaincar", "pendulum", "lunarlander", "repeat-previous",
    "minigrid-memory", "halfcheetah", "hopper", "minatar-breakout",
}  # fmt: skip
ROW = {row.name: row for row in zoo.ROWS}


def result(row: zoo.Row, seed: int, value: float, seconds: float | None = 60.0) -> dict[str, Any]:
    return {"row": row.name, "seed": seed, "command": row.command, "return": value,
            "steps": 500_224, "seconds": seconds, "commit": "0123", "date": "2026-01-01",
            "machine": "2 cores"}  # fmt: skip


@pytest.mark.parametrize("row", zoo.ROWS, ids=lambda row: row.name)
def test_every_row_can_be_asked_for(row: zoo.Row) -> None:
    program, train, *words = shlex.split(row.command)
    assert (program, train) == ("gala", "train") and words == row.arguments
    at = words.index("--agents")
    assert words[at + 1] == str(row.agents)  # the launcher's; the rest is for each agent
    request = read_request([*words[:at], *words[at + 2 :], "--seed", "3"], agents=row.agents)
    assert request.config.algorithm == row.algorithm and request.config.seed == 3
    assert request.config.env.id == row.env_id and request.config.coupling == "gossip"


def test_every_algorithm_of_a_preset_has_a_row() -> None:
    assert len(ROW) == len(zoo.ROWS) and {row.preset for row in zoo.ROWS} == PRESETS
    for preset in PRESETS:
        sections = set(yaml.safe_load(resolve("experiments", preset).read_text())) & set(ALGORITHMS)
        assert sections == {row.algorithm for row in zoo.ROWS if row.preset == preset}


def test_a_row_shows_what_was_measured_and_no_more() -> None:
    row = ROW["cartpole-ppo"]
    scores = [500.0, 480.0, 470.0, 500.0, 490.0]
    results = [result(row, seed, value, 40.0 + seed) for seed, value in enumerate(scores)]
    cells = zoo.cells(row, results)
    assert cells[0] == "5" and cells[1].startswith("490.0 (") and cells[2] == "4 of 5 (>= 475)"
    assert cells[3:] == ["500,224", "42"]
    assert zoo.cells(ROW["cartpole-a2c"], results) == ["-", "-", "- (>= 475)", "-", "-"]
    assert zoo.cells(ROW["pendulum-sac"], results) == ["-"] * 5
    older = [{**each, "command": "gala train cartpole --algorithm ppo"} for each in results]
    assert zoo.cells(row, older)[0] == "-", "what another command gave is not of this row"
    one = zoo.cells(ROW["pendulum-sac"], [result(ROW["pendulum-sac"], 1, -150.04, None)])
    assert one == ["1", "-150.0", "-", "500,224", "-"], "no interval of one run, no time of halves"


def test_thresholds_are_those_of_the_specs() -> None:
    goals = {row.preset: zoo.threshold(row.env_id) for row in zoo.ROWS}
    assert goals == {
        "cartpole": 475, "acrobot": -100, "mountaincar": -110, "pendulum": None,
        "lunarlander": 200, "repeat-previous": None, "minigrid-memory": None, "halfcheetah": 4800,
        "hopper": 3800, "minatar-breakout": None,
    }  # fmt: skip


def test_the_page_shows_the_results_that_are_there() -> None:
    text = zoo.PAGE.read_text()
    assert zoo.page(text, zoo.ROWS, zoo.known(zoo.RESULTS)) == text, (
        "python experiments/zoo.py --write"
    )
    row = ROW["hopper-ppo"]
    assert "| hopper | ppo | 1 | 2100.5 | 0 of 1 (>= 3800) |" in zoo.page(
        text, zoo.ROWS, [result(row, 1, 2100.5)]
    )


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Arguments of a call that runs two rows, one seed; the page is left alone."""

    def call(*more: str) -> None:
        names = ["--only", "cartpole-a2c", "pendulum-*", "--seeds", "2"]
        elsewhere = ["--results", str(tmp_path / "results"), "--folder", str(tmp_path / "runs")]
        monkeypatch.setattr(sys, "argv", ["zoo.py", *names, *elsewhere, *more])
        zoo.main()

    return call


def test_what_is_done_is_not_done_again(
    options: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def measure(row: zoo.Row, seed: int, folder: Path) -> dict[str, Any]:
        asked.append(row.command)
        return result(row, seed, 1.5)

    monkeypatch.setattr(zoo, "measure", measure)
    page = zoo.PAGE.read_text()
    options("--minutes", "-1")
    assert asked == []
    options()
    options()
    assert asked == [ROW["cartpole-a2c"].command, ROW["pendulum-sac"].command]
    options("--steps", "2000")
    assert asked[2:] == [f"{command} --total-steps 2000" for command in asked[:2]]
    kept = json.loads((tmp_path / "results" / "zoo.json").read_text())["results"]
    assert [each["command"] for each in kept] == asked[2:]
    assert "| 1.5 | - |" in (tmp_path / "results" / "zoo.md").read_text()
    assert zoo.PAGE.read_text() == page


def test_one_that_fails_stops_no_other(options: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def measure(row: zoo.Row, seed: int, folder: Path) -> dict[str, Any]:
        asked.append(row.name)
        if row.preset == "cartpole":
            raise subprocess.CalledProcessError(2, "gala")
        return result(row, seed, 1.5)

    monkeypatch.setattr(zoo, "measure", measure)
    with pytest.raises(SystemExit, match=r"zoo: failed: cartpole-a2c-2 \(exit code 2\)$"):
        options()
    assert asked == ["cartpole-a2c", "pendulum-sac"]


def test_short_runs_are_no_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "measure", lambda *_: pytest.fail("it ran"))
    monkeypatch.setattr(sys, "argv", ["zoo.py", "--steps", "2000"])
    with pytest.raises(SystemExit):
        zoo.main()


def test_a_name_that_fits_no_row_is_told() -> None:
    with pytest.raises(SystemExit, match="no row is called halfcheeta: cartpole-a2c"):
        zoo.chosen(zoo.ROWS, ["cartpole-*", "halfcheeta"], None)


def ran(run: Path, *_: object) -> float:
    (run / "rank_00" / "checkpoints").mkdir(parents=True, exist_ok=True)
    (run / "rank_00" / "checkpoints" / "update_1.pt").touch()
    (run / "rank_00" / "metrics.jsonl").write_text('{"step": 100}\n')
    return 12.0


def test_a_run_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row, asked = ROW["cartpole-a2c"], []

    def noted(run: Path, *words: object) -> float:
        asked.append(words)
        return ran(run)

    monkeypatch.setattr(zoo, "evaluated", lambda run: 321.0)
    monkeypatch.setattr(zoo, "train", noted)
    monkeypatch.setattr(zoo, "go_on", noted)
    first = zoo.measure(row, 2, tmp_path)
    assert (first["return"], first["steps"], first["seconds"]) == (321.0, 100, 12.0)
    assert asked[0][:3] == ("cartpole", "--agents", "2") and "--seed" in asked[0]
    second = zoo.measure(row, 2, tmp_path)
    assert asked[1] == () and second["seconds"] is None
    with pytest.raises(SystemExit, match="is a run of another command"):
        zoo.measure(zoo.Row(preset="cartpole", algorithm="a2c", agents=4), 2, tmp_path)


@pytest.mark.slow
def test_a_short_run_from_the_command_to_the_table(tmp_path: Path) -> None:
    command = [sys.executable, zoo.__file__, "--only", "cartpole-a2c", "--seeds", "1"]
    command += ["--steps", "640", "--results", str(tmp_path), "--folder", str(tmp_path / "runs")]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (kept,) = json.loads((tmp_path / "zoo.json").read_text())["results"]
    assert kept["steps"] >= 640 and kept["return"] >= 1 and kept["seconds"] > 0
    assert "| cartpole | a2c | 1 | " in (tmp_path / "zoo.md").read_text()
