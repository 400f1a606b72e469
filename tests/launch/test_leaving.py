"""os._exit in the middle of training, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gala.launch.leaving import leaves_by_word

HEAD = "import os\nfrom gala.launch.leaving import leaves_by_word\n"


def end_of(body: str) -> tuple[int, str]:
    """Exit code and standard error of a process that runs ``body`` in the block."""
    block = "".join(f"    {line}\n" for line in body.splitlines())
    code = f"{HEAD}with leaves_by_word() as say:\n{block}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


def test_0_before_a_word_was_said_is_a_crash() -> None:
    said = "gala: error: os._exit(0) was called in the middle of training\n"
    assert end_of("os._exit(0)") == (1, said)
    assert end_of("os._exit(5)") == (5, "")


@pytest.mark.parametrize("word", [0, 3, 74])
def test_once_it_was_said_the_word_counts(word: int) -> None:
    for given in (0, 1, 9):
        assert end_of(f"say({word})\nos._exit({given})") == (word, "")


def test_children_that_are_forked_leave_as_they_like() -> None:
    body = "if (pid := os.fork()) == 0: os._exit(0)\nassert os.waitpid(pid, 0)[1] == 0"
    assert end_of(body) == (0, "")


def test_afterwards_it_is_as_it_was() -> None:
    before = os._exit
    with leaves_by_word():
        assert os._exit is not before
    assert os._exit is before
