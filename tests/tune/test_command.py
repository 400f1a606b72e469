"""``gala tune``: a real search of seconds, what is printed, and mistakes in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gala import cli
from gala.files import commands
from gala.report.curves import learning_curve
from gala.report.run_data import read_run
from gala.run.config import load as load_config
from gala.tune.trial import value_at

Write = Any


def test_the_value_is_the_mean_return_at_equal_steps(write_run: Write) -> None:
    agents = {
        rank: [{"charts/episodic_return": x + rank, "step": 50 * (i + 1)} for i, x in enumerate(y)]
        for rank, y in enumerate([(0.0, 10.0, 20.0), (2.0, 4.0, 60.0)])
    }
    curve = learning_curve(read_run("r", write_run("r", agents)))
    assert value_at(curve, 200) == (10.0 + 5.0) / 2
    assert value_at(curve, 250) == pytest.approx((15.0 + 33.0) / 2)
    assert value_at(curve, 301) is None and value_at(None, 10) is None


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_real_search_goes_on_and_its_best_can_be_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    options = ["--total-steps", "1500", "--algorithm", "a2c", "--log.every-s", "0.2"]
    search = ["--parameter", "a2c.lr=1e-4..1e-2:log", "--trials", "1", "--json"]
    assert cli.main(["tune", "cartpole", *options, *search]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["folder"], found["agents"], len(found["trials"])) == ("runs/tune-cartpole", 1, 1)
    assert found["best"]["parameters"] == {"a2c.lr": 0.002} and found["best"]["value"] > 5.0
    folder = tmp_path / "runs" / "tune-cartpole"
    best = load_config(folder / "best.yaml")
    assert (best.a2c.lr, best.total_steps, best.agents) == (0.002, 1500, 1)
    assert cli.main(["tune", "--resume", str(folder), "--trials", "2"]) == 0
    said = capsys.readouterr()
    assert "1 of 2 trials" in said.err and "trial 1: " in said.err
    assert "train:     " in said.out and "runs/tune-cartpole/best.yaml" in said.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cartpol"], "cartpol: no such file (did you mean 'cartpole'?)"),
        (["cartpole", "--parameter", "a2c.lr"], "--parameter: must be NAME=LOW..HIGH"),
        (["cartpole", "--parameter", "a2c.lx=1..2"], "--a2c.lx: unknown option"),
        (["cartpole", "--a2c.lr", "-1"], "--a2c.lr"),
        (["cartpole", "--run-dir", "x"], "--run-dir: is of one run, and a search makes many"),
        (["cartpole", "--trials", "0"], "--trials: must be a whole number of at least 1"),
        (["--resume", "nowhere"], "nowhere: no search is kept here"),
        (["--resume", "x", "--a2c.lr", "1"], "--resume: takes what is searched from the folder"),
        (["--resume", "x", "--agents", "2"], "--resume: takes what is searched from the folder"),
    ],
)
def test_mistakes(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["tune", *arguments]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.count("\n") == 1 and said.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert cli.main(["tune", "cartpole"]) == 2
    message = f"gala: error: gala tune needs optuna ({commands.install('tune')})\n"
    assert capsys.readouterr().err == message
