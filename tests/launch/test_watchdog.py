"""When silence is too long, in virtual time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gala.launch.heartbeat import (
    HEARTBEAT_VARIABLE,
    WORDS,
    Heartbeat,
    new_page,
    open_page,
    words_of,
)
from gala.launch.watchdog import LOOK_S, Limits, Watchdog


class Patient:
    """A process with one agent or more, watched in virtual time."""

    def __init__(self, agents: int = 1, limits: Limits | None = None) -> None:
        self.page = memoryview(bytearray(8 * WORDS)).cast("q")
        self.hearts = [Heartbeat(index, self.page) for index in range(agents)]
        self.dog, self.now, self.asked = Watchdog(), 0.0, False
        self.dog.limits = limits or Limits(first_s=100.0, acting_s=10.0)

    def wait(self, seconds: float) -> str | None:
        """What the dog says first within so many seconds of silence."""
        said = None
        for _ in range(round(seconds / LOOK_S)):
            self.now += LOOK_S
            words = self.page.tolist()
            while words and not words[-1]:
                words.pop()
            said = said or self.dog.look(words, self.now, asked=self.asked)
        return said

    def update(self, seconds: float = 0.0, *, index: int = 0) -> str | None:
        """Begin an update; its environments answer after so many seconds."""
        self.hearts[index].act()
        said = self.wait(seconds)
        self.hearts[index].rest()
        return said


def test_silence_before_the_first_update_has_the_long_limit() -> None:
    patient = Patient()
    assert patient.wait(99) is None
    assert patient.wait(2) == "has not begun to train for 100 s"
    patient = Patient()
    assert patient.wait(50) is None and patient.update(99) is None
    patient = Patient()
    assert patient.update(101) == "has not finished its first update for 100 s"


def test_environments_that_do_not_answer() -> None:
    patient = Patient()
    for _ in range(10):
        patient.update(0.2)
    assert patient.update(9.8) is None
    assert patient.update(400) is not None


@pytest.mark.parametrize(("start", "update", "bearable"), [(8, 0.2, 15), (1, 2, 36), (1, 0.2, 10)])
def test_who_is_slow_is_given_time(start: float, update: float, bearable: float) -> None:
    patient = Patient()
    patient.wait(start)
    for _ in range(5):
        assert patient.update(update) is None
    patient.hearts[0].act()
    assert patient.wait(bearable) is None
    assert "come back from its environments" in str(patient.wait(bearable / 2 + 5))


def test_learning_waiting_and_saving_have_the_long_limit() -> None:
    patient = Patient()
    patient.update(), patient.update()
    assert patient.wait(99) is None
    assert patient.wait(2) == "has made no update for 100 s"


def test_a_slow_update_is_forgotten() -> None:
    patient = Patient()
    patient.update(0.2)
    patient.update(8), patient.update(0.2), patient.update(0.2)
    assert patient.update(100) is None
    patient = Patient()
    patient.update(0.2)
    patient.update(8), patient.update(0.2)
    for _ in range(20 * 60):  # twenty minutes of quick ones
        patient.update(1.0)
    assert patient.update(60) is not None


def test_asked_to_stop_it_ends_soon() -> None:
    patient = Patient()
    patient.update(0.2), patient.update(0.2)
    patient.hearts[0].act()
    assert patient.wait(8) is None
    patient.asked = True
    assert patient.wait(4.8) is None and "environments" in str(patient.wait(1))
    patient = Patient()
    patient.update(0.2), patient.update(0.2)
    patient.asked = True
    assert patient.wait(59) is None
    assert "has not saved and left" in str(patient.wait(2))
    patient = Patient()
    patient.asked = True
    assert patient.wait(9) is None and patient.wait(2) is not None


def test_one_of_several_agents_is_enough() -> None:
    patient = Patient(agents=3)
    for _ in range(4):
        for index in range(3):
            patient.update(index=index)
        patient.wait(0.2)
    patient.hearts[1].act()
    said = None
    for _ in range(100):
        said = said or patient.update(0.2, index=0) or patient.update(index=2)
    assert "environments" in str(said)


def test_time_in_which_the_watchdog_slept_does_not_count() -> None:
    patient = Patient()
    patient.update(0.2), patient.update(0.2)
    patient.hearts[0].act()
    patient.now += 3600.0
    assert patient.wait(8) is None


@given(st.lists(st.floats(0.0, 9.0), min_size=1, max_size=30))
def test_who_goes_on_in_time_is_never_taken_for_hung(pauses: list[float]) -> None:
    patient = Patient()
    assert [patient.update(pause) for pause in pauses] == [None] * len(pauses)


def test_beats_are_seen_through_the_descriptor() -> None:
    fd = new_page()
    try:
        assert words_of(fd) == []
        page = open_page({"GALA_HEARTBEAT_FD": str(fd)})
        first, third = Heartbeat(0, page), Heartbeat(2, page)
        first.act(), first.rest(), first.act()
        third.act(), third.rest()
        assert words_of(fd) == [2 << 1, 0, 1 << 1 | 1]
        Heartbeat(WORDS + 7, page).act()  # beyond the page: nobody looks, nothing breaks
    finally:
        os.close(fd)


HANGS = """
import signal, sys, time
from gala.launch.heartbeat import Heartbeat
from gala.launch.signals import StopRequest
from gala.launch.watchdog import ends_when_asked
stop, heart = StopRequest().install(), Heartbeat()
with ends_when_asked(lambda: stop.requested):
    for update in range(3):
        heart.act()
        heart.rest()
    heart.act()
    print("acts", flush=True)
    while not (stop.requested and len(sys.argv) > 1):
        time.sleep(0.01)
"""


@pytest.mark.parametrize(("comes_back", "code"), [(True, 0), (False, 143)])
def test_one_signal_ends_an_agent_without_a_supervisor(comes_back: bool, code: int) -> None:
    command = [sys.executable, "-c", HANGS, *["back"] * comes_back]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "acts\n"
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=40)
    assert process.returncode == code
    assert ("has not come back from its environments for 5 s" in errors) == (not comes_back)


WAITS = """
import sys
from gala.launch.watchdog import Limits, ends_when_asked
with ends_when_asked(lambda: False, Limits(first_s=0.5)):
    sys.stdin.readline()
"""


def test_who_hangs_unsupervised_is_told_of_and_goes_on() -> None:
    environment = {k: v for k, v in os.environ.items() if k != HEARTBEAT_VARIABLE}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", WAITS], stdin=pipe, stderr=pipe, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        process.communicate("\n", timeout=40)
    assert process.returncode == 0
    assert re.fullmatch(
        r"gala: this agent has not begun to train for \d+ s; Ctrl-C or SIGTERM ends it\n", told
    )


NEVER_CLOSES = """
import threading
from gala.launch.watchdog import ends_within
print("saved")
ends_within(0.2, 7, threading.Event())
threading.Event().wait()
"""


def test_what_does_not_close_is_left_with_the_code_of_the_run() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NEVER_CLOSES],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (done.returncode, done.stdout) == (7, "saved\n")
    assert "done, but something (an environment?) has not closed for 0 s" in done.stderr
