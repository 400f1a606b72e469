"""What a launch of several agents ends with: what they say themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from gala.launch.environment import note_exit, noted_exits
from gala.launch.torchrun import verdict


@pytest.mark.parametrize(
    ("torchrun", "noted", "expected"),
    [
        (0, {0: 0, 1: 0}, 0),
        (120, {0: 0, 1: 0}, 0),  # its standard error could not be flushed
        (-15, {0: 0, 1: 0}, 0),
        (0, {0: 0}, 1),  # the other one has said nothing
        (0, {}, 1),
        (1, {0: 0}, 1),
        (-9, {0: 0}, 137),
        (0, {0: 0, 1: 74}, 74),
        (0, {0: 143, 1: 143}, 143),
        (0, {0: 74, 1: 3}, 3),
        (0, {0: 74, 1: 2}, 2),
        (0, {0: 2, 1: 3}, 3),
        (1, {1: 74}, 74),
    ],
)
def test_only_what_agents_say_is_believed(
    torchrun: int, noted: dict[int, int], expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verdict(torchrun, noted, 2) == expected
    silent = torchrun == 0 and len(noted) < 2
    assert ("ended without a word" in capsys.readouterr().err) is silent


def test_notes_are_names_of_empty_files(tmp_path: Path) -> None:
    for rank, code in ((0, 0), (11, 74)):
        note_exit(tmp_path, rank, code)
    assert noted_exits(tmp_path) == {0: 0, 11: 74}
    assert all(path.stat().st_size == 0 for path in tmp_path.iterdir())
