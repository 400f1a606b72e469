"""Real runs in real processes, as a user starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from gala.launch.processes import bound_to
from gala.run import checkpoint
from gala.telemetry.reader import Tail

DEADLINE_S = 100.0

IDENTITY = """
total_steps: {total_steps}
topology: directed-ring
seed: 5
env: {{id: gala/Identity-v0, num_envs: 4}}
network: {{kind: mlp, hidden: [16]}}
a2c: {{lr: 3e-3, optimizer: adam, lr_schedule: linear}}
log: {{every_s: 0.1, console_s: 0.5, tensorboard: false}}
divergence: {{every_s: 0.2}}
"""


def experiment(folder: Path, *, total_steps: int, text: str = IDENTITY) -> Path:
    """An experiment file that trains in seconds."""
    path = folder / f"experiment-{total_steps}.yaml"
    path.write_text(text.format(total_steps=total_steps))
    return path


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """``gala ARGUMENTS`` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "gala", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
        start_new_session=True,
        preexec_fn=bound_to(os.getpid()),
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Output of ``process``; it is killed, and the test fails, when it does not end."""
    try:
        output, _ = process.communicate(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        raise AssertionError(f"did not end in {DEADLINE_S} s:\n{output}") from None
    return output


def gala(*arguments: object, code: int = 0) -> str:
    """Run ``gala ARGUMENTS`` to its end; returns what it printed."""
    process = start(*arguments)
    output = finish(process)
    assert process.returncode == code, f"exit code {process.returncode}:\n{output}"
    return output


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that ``process`` should bring about."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None, f"ended early:\n{process.communicate()[0]}"
        if time.monotonic() > deadline:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            raise AssertionError(f"not in {DEADLINE_S} s:\n{process.communicate()[0]}")
        time.sleep(0.01)


_read: dict[Path, tuple[Tail, list[dict[str, Any]]]] = {}


def records(run: Path, rank: int) -> list[dict[str, Any]]:
    """Complete records of one agent so far; each is parsed once, however often one asks."""
    path = run / f"rank_{rank:02d}" / "metrics.jsonl"
    tail, found = _read.setdefault(path, (Tail(path), []))
    restarts, new = tail.restarts, tail.read()
    if tail.restarts != restarts:
        found.clear()
    found += new
    assert not tail.corrupt, f"{tail.corrupt} damaged lines in {path}"
    return list(found)


def updates_done(run: Path, rank: int) -> int:
    """Updates of the newest record of one agent; what it adopted as it joined is none yet."""
    return max((r["update"] for r in records(run, rank) if "event" not in r), default=0)


def newest_state(run: Path, rank: int) -> dict[str, Any]:
    """The newest checkpoint of one agent."""
    path = checkpoint.newest(checkpoint.folder_of(run, rank))
    assert path is not None
    return checkpoint.load(path)


def require_same_bits(run: Path, other: Path, agents: int) -> None:
    """Fail unless the newest checkpoints of two runs are equal, with what their agents told."""
    for rank in range(agents):
        if not equal(newest_state(run, rank), newest_state(other, rank)):
            raise AssertionError(
                f"agent {rank} differs\n"
                + "\n".join(
                    f"{path.name} {at}: {record['update']} {record['event']}: {record['message']}"
                    for path in (run, other)
                    for at in range(agents)
                    for record in records(path, at)
                    if "event" in record
                )
            )


def equal(a: Any, b: Any) -> bool:
    """Whether two states are the same, bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


def interrupt(process: subprocess.Popen[str], number: int = signal.SIGINT) -> tuple[str, float]:
    """Send a signal; returns the output and the seconds until the end."""
    began = time.monotonic()
    process.send_signal(number)
    output = finish(process)
    return output, time.monotonic() - began
