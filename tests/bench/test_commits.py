"""Commits that take turns: which code runs, and what is told of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "bench"))
import commits

from gala.bench.measurement import Measurement
from gala.telemetry.phases import PHASES


def made(speed: float, collect: float) -> Measurement:
    phases = dict.fromkeys(PHASES, 1.0) | {"collect": collect}
    return Measurement(
        case="x", steps_per_second=speed, phases_ms=phases, overhead=0.1, memory_mb=None, start_s=1
    )


def test_the_ratio_is_taken_within_a_round() -> None:
    before = [made(100, 8), made(200, 9), made(400, 10)]
    after = [made(120, 7), made(210, 6), made(600, 5)]
    text = commits.text_of(before, after)
    assert "after / before: 1.200 (1.050 to 1.500)" in text
    assert "before      200 steps/s; ms per update: collect 9.00, learn 1.00" in text


def test_new_processes_run_the_code_of_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    (tmp_path / "gala").mkdir()
    (tmp_path / "gala" / "__init__.py").write_text("print('that of the folder')\n")
    here = os.getcwd()
    with commits.code_of(tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", "import gala"], capture_output=True, text=True, check=True
        )
    assert done.stdout == "that of the folder\n"
    assert os.environ["PYTHONPATH"] == "elsewhere" and os.getcwd() == here


def test_the_files_of_a_commit_are_there_for_a_while() -> None:
    with commits.checkout("HEAD") as tree:
        assert (tree / "gala" / "__init__.py").is_file() and tree != commits.ROOT
    assert not tree.exists()
    with commits.checkout(commits.WORKING_TREE) as tree:
        assert tree == commits.ROOT
