"""Weights & Biases: one run per agent, in a group that is the run. Needs the ``wandb`` extra.

Everything happens in a thread of its own, behind a queue of limited length: a slow or absent server
costs records there, never time here, and the run folder has them all anyway. Without a key nobody
is asked for one. ``WANDB_MODE=offline`` keeps the records in ``wandb/`` of the run folder, and
``wandb sync`` sends them later.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gala.files import commands
from gala.telemetry.guard import Guard

WAITING = 600
"""Records that wait for the thread at most; later ones are dropped."""

CLOSE_S = 20.0
"""Longest wait for the last records at the end; W&B goes on by itself with what is on disk."""

NAME = "Weights & Biases"

_one_at_a_time = threading.Lock()

Values = dict[str, float | None]


class WandbSink:
    """Sends the records of one agent.

    Args:
        project: name of the project on Weights & Biases.
        group: identity of the run; agents of one run share it.
        rank: index of the agent.
        folder: the run folder.
        config: plain data to show as the run's configuration.
    """

    def __init__(
        self, project: str, *, group: str, rank: int, folder: Path, config: Mapping[str, Any]
    ) -> None:
        self._options = {
            "project": project,
            "group": group,
            "id": f"{group}-{rank:02d}",
            "name": f"{folder.name}/rank_{rank:02d}",
            "job_type": "agent",
            "dir": str(folder),
            "config": {**config, "rank": rank},
            "resume": "allow",  # the next incarnation of this agent goes on
            "reinit": "create_new",  # several agents may live in one process
        }
        self._queue: queue.Queue[Values | None] = queue.Queue(WAITING)
        self._told: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._closed = self._full = False
        self._thread = threading.Thread(target=self._work, name=f"wandb-{rank}", daemon=True)
        self._thread.start()

    def record(self, values: Mapping[str, float | None], *, step: int) -> None:
        """Hand over one record; returns at once."""
        if self._closed:
            return
        try:
            self._queue.put_nowait({**values, "step": step})
        except queue.Full:
            if not self._full:
                self._told.put(f"{NAME}: it is too slow, records are left out there")
            self._full = True

    def problem(self) -> str | None:
        """What went wrong since the last call; None when there is nothing more to tell."""
        return None if self._told.empty() else self._told.get()

    def close(self) -> None:
        """Send what is waiting, for at most ``CLOSE_S`` seconds."""
        self._closed = True
        try:
            self._queue.put(None, timeout=CLOSE_S)
        except queue.Full:
            return
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            self._told.put(
                f"{NAME}: it did not finish within {CLOSE_S:g} s; `wandb sync` sends the rest"
            )

    def _work(self) -> None:
        run: Guard[Any] = Guard(
            NAME, lambda: _start(self._options), tell=self._told.put, close=lambda run: run.finish()
        )
        run.use(lambda run: None)  # it appears there before the first record
        while (values := self._queue.get()) is not None:
            sent = {name: value for name, value in values.items() if value is not None}
            run.use(partial(_log, sent))
        run.close()


def _log(values: Mapping[str, float], run: Any) -> None:
    run.log(dict(values))


def _start(options: dict[str, Any]) -> Any:
    """A run of W&B.

    Raises:
        RuntimeError: the extra or the key is missing.
    """
    with _one_at_a_time:
        try:
            import wandb
        except ImportError:
            raise RuntimeError(f"not installed: {commands.install('wandb')}") from None
        quiet = wandb.Settings(silent=True, console="off")
        mode = wandb.setup(quiet).settings.mode
        if mode not in ("offline", "dryrun", "disabled") and not wandb.login(prompt=False):
            raise RuntimeError("no API key: run `wandb login`, or set WANDB_MODE=offline")
        run = wandb.init(**options, settings=quiet)
    run.define_metric("*", step_metric="step")
    return run
