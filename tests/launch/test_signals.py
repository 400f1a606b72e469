"""Signals become wishes."""

import signal
import subprocess
import sys

from gala.launch.signals import StopRequest


def test_signals_are_counted() -> None:
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        stop = StopRequest().install()
        assert not stop.requested
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested and not stop.urgent
        signal.raise_signal(signal.SIGINT)
        assert stop.urgent
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_the_third_signal_ends_the_process() -> None:
    code = (
        "import signal; from gala.launch.signals import StopRequest; StopRequest().install()\n"
        "for _ in range(3): signal.raise_signal(signal.SIGTERM)\n"
        "print('still here')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGTERM and done.stdout == ""
