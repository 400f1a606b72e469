"""Trials for the preset: seeds for choosing, every trial kept, the best first. No training."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

from gala.config.options import parse_options
from gala.files import shipped
from gala.files.yaml import load_yaml
from gala.run.config import Config, from_document, load

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))
import tuning


def made(
    name: str, returns: list[float | None], goal: tuple[float, float] | None
) -> dict[str, Any]:
    marks = {str(mark): None for mark in tuning.MARKS} | {"250000": -20.0}
    return {"name": name, "arguments": tuning.arguments(name, 800_000), "seed": 101,
            "commit": "abc", "steps": 7e5, "marks": marks, "goal": goal,
            "curve": {"returns": returns}}  # fmt: skip


def test_a_trial_changes_what_it_says_and_nothing_else() -> None:
    words = tuning.arguments("rate x2", 900)
    assert words[words.index("--a2c.lr") + 1] == 1.4e-3
    same = [w for w in tuning.arguments("paper", 900) if w != 7e-4]
    assert [w for w in words if w != 1.4e-3] == same
    assert tuning.changed(words) == "--a2c.lr 0.0014 --total-steps 900"


def test_the_trial_that_is_shipped_is_what_is_shipped() -> None:
    words = [str(word) for word in tuning.arguments("shipped")]
    names = ("pong-paper", "pong")
    paper, ready = (shipped.resolve("experiments", name) for name in names)
    _, options = parse_options(Config, words[2:])  # without --agents 2
    tried, ours = from_document(load_yaml(paper), options), load(ready)
    assert dataclasses.replace(tried, a2c=ours.a2c) == ours  # PPO does not read it


def test_the_a2c_of_the_preset_is_the_one_that_was_tried() -> None:
    words = [str(word) for word in tuning.arguments("a2c of the preset")]
    _, options = parse_options(Config, words[2:])
    tried = from_document(load_yaml(shipped.resolve("experiments", "pong-paper")), options)
    assert tried.a2c == load(shipped.resolve("experiments", "pong")).a2c


def test_a_choice_is_taken_back_alone() -> None:
    shipped = tuning.arguments("a2c of the preset")
    words = tuning.arguments("a2c of the preset, 16 x 5 steps, no gae")
    changed = {name for name, a, b in zip(shipped[::2], shipped[1::2], words[1::2], strict=True)
               if a != b}  # fmt: skip
    assert changed == {"--env.num-envs", "--a2c.n-step", "--a2c.gae-lambda"}


def test_trials_have_as_many_steps_as_they_say() -> None:
    def steps(words: list[object]) -> object:
        return words[words.index("--total-steps") + 1]

    assert steps(tuning.arguments("paper")) == tuning.STEPS
    assert steps(tuning.arguments("shipped, without background")) == 1_000_000
    assert steps(tuning.arguments("shipped", 5)) == 5


def test_bad_trials_are_in_the_table_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "RESULTS", tmp_path)
    tuning.write_table(
        [
            made("adam", [None], None),
            made("paper", [-20.0, 3.0], None),
            made("rate x2", [-20.0, 18.5], (900.0, 2.1e6)),
        ]
    )
    rows = [x for x in (tmp_path / "tuning.md").read_text().splitlines() if "| 101 |" in x]
    assert [row.split(" | ")[0] for row in rows] == ["| rate x2", "| paper", "| adam"]
    assert "`--a2c.lr 0.0014 --total-steps 800000`" in rows[0]
    assert "| 18.5 after 0.70 M | 2.10 M |" in rows[0] and "| - after 0.70 M | - | abc |" in rows[2]


def test_seeds_for_reporting_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tuning.py", "paper", "--seed", "3"])
    with pytest.raises(SystemExit) as ended:
        tuning.main()
    assert ended.value.code == 2 and "seeds below 101" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--list", "--write"])
def test_no_trial_is_needed_to_look(
    option: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tuning, "RESULTS", tmp_path)
    monkeypatch.setattr(tuning, "DATA", tmp_path / "tuning.json")
    monkeypatch.setattr(sys, "argv", ["tuning.py", option])
    tuning.main()
    listed = capsys.readouterr().out.splitlines()
    assert (listed == list(tuning.TRIALS)) == (option == "--list")
    assert (tmp_path / "tuning.md").exists() == (option == "--write")


def test_an_unknown_trial(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tuning.py", "papre"])
    with pytest.raises(SystemExit) as ended:
        tuning.main()
    assert ended.value.code == 2 and "'papre' is no trial" in capsys.readouterr().err
