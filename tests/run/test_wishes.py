"""What is asked of a run is heard once, by every agent that was there."""

import os
from pathlib import Path

import pytest

from gala.run.wishes import EVERY_S, WISHES, Wishes, ask


def test_a_wish_is_heard_once_and_by_everybody(tmp_path: Path) -> None:
    now = [0.0]
    first, second = (Wishes(tmp_path, began=0.0, clock=lambda: now[0]) for _ in range(2))
    ask(tmp_path, "checkpoint")
    assert first.new() == []  # it does not look all the time
    now[0] += EVERY_S
    assert first.new() == second.new() == ["checkpoint"]
    now[0] += EVERY_S
    assert first.new() == []
    ask(tmp_path, "stop")
    later = os.stat(tmp_path / "asked-checkpoint.json").st_mtime + 1
    os.utime(tmp_path / "asked-checkpoint.json", (later, later))
    now[0] += EVERY_S
    assert first.new() == list(WISHES)


def test_what_was_asked_of_an_earlier_incarnation_is_over(tmp_path: Path) -> None:
    ask(tmp_path, "stop")
    asked = os.stat(tmp_path / "asked-stop.json").st_mtime
    now = [0.0]
    wishes = Wishes(tmp_path, began=asked + 0.001, clock=lambda: now[0])
    now[0] = EVERY_S
    assert wishes.new() == []


def test_a_folder_that_is_gone_asks_nothing(tmp_path: Path) -> None:
    wishes = Wishes(tmp_path / "gone", began=0.0, clock=iter([0.0, 9.0, 9.0]).__next__)
    assert wishes.new() == []
    with pytest.raises(OSError):
        ask(tmp_path / "gone", "stop")
