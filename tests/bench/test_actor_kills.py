"""Killing actors: what counts as a pause, whose children are struck, and a tiny run to its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "bench"))
import actor_kills
import recording

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the script reads /proc")


def test_the_longest_pause_is_one_without_updates_whoever_writes_records() -> None:
    rows = {0: [{"t": t, "update": u} for t, u in ((1, 5), (2, 5), (5, 5), (6, 9), (12, 9))],
            1: [{"t": t, "update": t} for t in range(1, 13)]}  # fmt: skip
    run = SimpleNamespace(records=rows)
    assert actor_kills.longest_pause(run, 0.0, 12.0) == 6.0, "from the update at 6 to the end"
    assert actor_kills.longest_pause(run, 0.0, 7.0) == 5.0, "from the one at 1 to that at 6"


def test_only_actors_of_that_agent_are_struck() -> None:
    sleep = "import time; time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", sleep])
    actors = [
        subprocess.Popen([sys.executable, "-c", sleep, "-m", "gala.actors.process"])
        for _ in range(2)
    ]
    try:
        found = actor_kills.children(actors[0].pid), actor_kills.children(os.getpid())
        assert found == ([], [actor.pid for actor in actors]), "the oldest first"
    finally:
        for process in (other, *actors):
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(300)
def test_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "RESULTS", tmp_path)
    options = ["--minutes", "0.2", "--kills", "4", "--agents", "1", "--actors", "2"]
    assert actor_kills.main(options) == 0, (tmp_path / "actor-kills.md").read_text()
    assert "| 2 in " in (tmp_path / "actor-kills.md").read_text()
