"""A guard keeps what its output raises to itself, and says so once."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gala.telemetry.guard import FIRST_PAUSE_S, MAX_PAUSE_S, Guard


class Disk:
    """An output that fails when it is told to."""

    def __init__(self) -> None:
        self.full = False
        self.now = 0.0
        self.opened = self.closed = self.tried = 0
        self.told: list[str] = []
        self.kept: list[int] = []
        self.guard: Guard[Disk] = Guard(
            "runs/a/m.jsonl", self.open, tell=self.told.append, close=Disk.close,
            clock=lambda: self.now, passes=(TypeError,),
        )  # fmt: skip

    def open(self) -> Disk:
        self.opened += 1
        return self

    def close(self) -> None:
        self.closed += 1

    def write(self, number: int) -> None:
        self.tried += 1
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.kept.append(number)


@given(st.lists(st.booleans(), max_size=60))
def test_whatever_fails_when_each_streak_is_told_twice_and_all_is_counted(full: list[bool]) -> None:
    disk = Disk()
    for number, disk.full in enumerate(full):
        done = disk.guard.use(lambda d, n=number: d.write(n), now=True)
        assert done is not disk.full and (disk.guard.error is None) is done
    assert len(disk.kept) + disk.guard.lost == len(full)
    streaks = sum(now and not before for before, now in zip([False, *full], full, strict=False))
    ends = sum(before and not now for before, now in zip(full, full[1:], strict=False))
    assert sum("No space left on device" in text for text in disk.told) == streaks
    assert sum(": works again;" in text for text in disk.told) == ends
    assert disk.opened - disk.closed in (0, 1), "opened anew after each failure"


def test_it_is_left_alone_for_a_while_that_doubles() -> None:
    disk = Disk()
    disk.full, pauses, before = True, [], 0.0
    while len(pauses) < 14:
        tried = disk.tried
        disk.guard.use(lambda d: d.write(0))
        if disk.tried > tried:
            pauses.append(disk.now - before)
            before = disk.now
        disk.now += FIRST_PAUSE_S
    assert pauses[1:4] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert max(pauses) == MAX_PAUSE_S and len(disk.told) == 1
    disk.full = False
    assert disk.guard.use(lambda d: d.write(1), now=True) and disk.kept == [1]
    assert disk.told[1] == f"runs/a/m.jsonl: works again; {disk.guard.lost} left out"


ERRORS = [
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    OSError(errno.EIO, "Input/output error"),
    SystemExit(1),
    KeyError("x"),
]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("where", ["open", "close", "use"])
def test_nothing_gets_out(error: BaseException, where: str) -> None:
    def fail(*_: object) -> None:
        raise error

    told: list[str] = []
    guard: Guard[object] = Guard(
        "it", fail if where == "open" else object, tell=told.append,
        close=fail if where == "close" else lambda _: None,
    )  # fmt: skip
    guard.use(fail if where == "use" else lambda _: None)
    guard.close()
    assert len(told) == 1 and told[0].startswith("it: ") and guard.lost == 1


def test_what_is_no_failure_of_the_output_is_raised() -> None:
    disk = Disk()
    with pytest.raises(TypeError):
        disk.guard.use(lambda d: d.write())  # type: ignore[call-arg]
    assert disk.guard.error is None and disk.told == []
