"""Children that were asked to leave: who does is waited for, who does not is killed."""

import signal
import subprocess
import sys

from gala.launch.processes import end, end_all

STAYS = [sys.executable, "-c", "import sys; sys.stdin.read()"]


def child() -> subprocess.Popen[bytes]:
    """One that ends when its input does."""
    return subprocess.Popen(STAYS, stdin=subprocess.PIPE)


def test_who_ends_by_itself_is_not_killed() -> None:
    process = child()
    assert process.stdin is not None
    process.stdin.close()
    assert end(process, 60.0) == 0


def test_who_stays_is_killed() -> None:
    with child() as process:
        assert end(process, 0.0) == -signal.SIGKILL


def test_several_leave_or_are_killed_and_none_is_left() -> None:
    leaves, stays = child(), child()
    assert leaves.stdin is not None and stays.stdin is not None
    leaves.stdin.close()
    assert end(leaves, 60.0) == 0
    end_all([leaves, stays], 0.0)
    assert (leaves.returncode, stays.returncode) == (0, -signal.SIGKILL)
    stays.stdin.close()
