"""What starts a run for a purpose ends it when it ends itself, however that comes about."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gala.launch.processes import bound_to, children

DRIVER = """
import sys, time
from pathlib import Path
from gala.bench.live_run import LiveRun
live = LiveRun(Path(sys.argv[1]), 2, "cartpole", "--total-steps", 10**9, "--log.no-tensorboard",
               "--log.every-s", 0.2)
live.wait_until(live.all_train)
print("trains", flush=True)
time.sleep(1000)
"""


def descendants(pid: int) -> list[int]:
    found = children(pid)
    return found + [each for child in found for each in descendants(child)]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_a_killed_driver_leaves_no_run_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None and driver.stdout.readline() == "trains\n"
        run = descendants(driver.pid)
        assert len(run) >= 5, "gala train, torchrun, two supervisors, two agents"
        driver.send_signal(signal.SIGKILL)
    for pid in run:
        deadline = time.monotonic() + 60
        while running(pid):
            assert time.monotonic() < deadline, Path(f"/proc/{pid}/cmdline").read_bytes()
            time.sleep(0.05)


def test_who_is_bound_to_a_parent_that_is_gone_ends_at_once() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(1000)"]
    done = subprocess.run(command, preexec_fn=bound_to(2**22 + 1), timeout=60)
    assert done.returncode == -signal.SIGTERM
