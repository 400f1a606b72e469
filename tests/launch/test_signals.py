"""Signals become wishes."""

import signal
import subprocess
import sys

from gala.launch.signals import REPEAT_S, STOPPING, StopRequest


def test_signals_are_one_wish_unless_they_come_again_after_a_while() -> None:
    before = {n: signal.getsignal(n) for n in STOPPING}
    now = 100.0
    try:
        stop = StopRequest(clock=lambda: now).install()
        assert not stop.requested
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        assert stop.requested and not stop.urgent and stop.signal == signal.SIGTERM
        now += REPEAT_S
        signal.raise_signal(signal.SIGINT)
        assert stop.urgent and stop.signal == signal.SIGTERM
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


INSTALL = "import os, signal; from gala.launch.signals import StopRequest, STOPPING\n"


def run(code: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", INSTALL + code], capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout


def test_no_number_of_signals_ends_the_process_not_even_on_its_way_out() -> None:
    code = """stop = StopRequest().install()
for _ in range(5):
    for number in STOPPING: os.kill(os.getpid(), number)
print(stop.count)
class Last:  # goes when the interpreter takes its modules down
    def __init__(self): self.kill, self.pid = os.kill, os.getpid()
    def __del__(self): self.kill(self.pid, 15)
keep = Last()
raise SystemExit(7)"""
    assert run(code) == (7, "15\n")


def test_a_closed_terminal_stays_ignored_under_nohup() -> None:
    code = """signal.signal(signal.SIGHUP, signal.SIG_IGN)
stop = StopRequest().install()
os.kill(os.getpid(), signal.SIGHUP)
print(stop.count)"""
    assert run(code) == (0, "0\n")
