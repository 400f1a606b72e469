"""Faults at a moment (``--faults.at``): an agent dies, hangs or goes wrong at a line of the loop.

Loaded only where a fault is asked for. What :mod:`gala.config.faults` describes strikes here: right
before the line it names, or, for ``save``, when the file is written and not yet in place.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor

from gala.agent.actor_learner import ActorLearner
from gala.config.faults import Fault, parse_fault
from gala.files import atomic
from gala.gossip.faulty import FaultyTransport

WATCH_S = 0.2
"""How often who stands still on purpose looks whether its launch is still there."""


class Injector:
    """Lets the faults of one agent happen.

    Args:
        agent: that has not begun to train.
        faults: of this agent and this incarnation.
    """

    def __init__(self, agent: ActorLearner, faults: list[Fault]) -> None:
        self._agent, self._faults, self._armed = agent, faults, False
        setting = agent.setting
        self._rank, self._incarnation = setting.launch.rank, setting.launch.incarnation
        self._folder = setting.run.rank(self._rank)
        self._full_until = -math.inf
        self._attach()

    def _attach(self) -> None:
        """Come before, or after, the lines of the loop."""
        agent, node = self._agent, self._agent.coupling.node
        _around(
            agent.source,
            "next",
            before=self._begin_update,
            after=lambda batch: self._poison("collect", batch.reward),
        )
        _around(agent.learner, "update", before=lambda: self._pass("learn"))
        reduce = agent.coupling.reduce

        def reduce_and_poison(gradient: Tensor) -> None:
            reduce(gradient)
            self._poison("learn", gradient)

        setattr(agent.coupling, "reduce", reduce_and_poison)  # noqa: B010  (mypy: no assignment)
        for where in ("publish", "mix"):
            target, method = (agent.coupling, "exchange") if node is None else (node, where)
            _around(target, method, before=partial(self._pass_with_parameters, where))
        _around(agent, "save", before=lambda: self._poison_parameters("save"))
        atomic.faults.append(self._on_file)
        _around(agent, "close", before=lambda: atomic.faults.remove(self._on_file))

    def _begin_update(self) -> None:
        """What lies behind a run that goes on does not happen to it again."""
        goes_on = not self._armed and self._incarnation == 0 and self._agent.step > 0
        self._armed = True
        for fault in list(self._faults) if goes_on else ():
            if fault.update <= self._agent.update:
                self._faults.remove(fault)
                self._tell(f"not injected, this update is over: {fault}")
        self._pass("collect")

    def _due(self, where: str, *, nan: bool) -> Iterator[Fault]:
        update = self._agent.update + (where in ("collect", "learn"))
        for fault in list(self._faults):
            if fault.where == where and fault.update <= update and nan == (fault.kind == "nan"):
                self._faults.remove(fault)
                self._tell(f"injected: {fault}")
                yield fault

    def _pass(self, where: str) -> None:
        for fault in self._due(where, nan=False):
            self._strike(fault)

    def _poison(self, where: str, tensor: Tensor) -> None:
        for _ in self._due(where, nan=True):
            tensor.fill_(math.nan)

    def _poison_parameters(self, where: str) -> None:
        for _ in self._due(where, nan=True):
            self._agent.model.flat.weights.fill_(math.nan)
            self._agent.model.refresh()

    def _pass_with_parameters(self, where: str) -> None:
        self._poison_parameters(where)
        self._pass(where)

    def _strike(self, fault: Fault) -> None:
        match fault.kind:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "segv":
                ctypes.string_at(0)
            case "stop":
                stop(fault.seconds)
            case "deadlock":
                stand_still()
            case "disk-full":
                self._full_until = time.monotonic() + fault.seconds
            case "drop-network":
                node = self._agent.coupling.node
                # made with the node: all of its parts hold it
                assert node is not None and isinstance(node.transport, FaultyTransport)
                node.transport.cut(fault.seconds)

    def _on_file(self, path: Path) -> None:
        """A file is about to be written, or to get its name."""
        if self._folder not in path.parents:
            return
        if path.parent.name == "checkpoints":
            self._pass("save")
        if time.monotonic() < self._full_until:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def _tell(self, text: str) -> None:
        """An event, and a line even of agents that show nothing: what comes may be the end."""
        self._agent.recorder.event("fault", text)
        os.write(2, f"gala: agent {self._rank} fault {text}\n".encode())


def inject(agent: ActorLearner) -> None:
    """Let the faults of ``--faults.at`` happen to ``agent``, those that concern it."""
    launch = agent.setting.launch
    faults = [parse_fault(text) for text in agent.setting.config.faults.at]
    mine = [f for f in faults if (f.rank, f.incarnation) == (launch.rank, launch.incarnation)]
    if mine:
        Injector(agent, mine)


def stop(seconds: float) -> None:
    """SIGSTOP to this process, and SIGCONT after a while."""
    process = continue_after(os.getpid(), seconds)
    os.kill(os.getpid(), signal.SIGSTOP)
    process.wait()


def continue_after(pid: int, seconds: float) -> subprocess.Popen[bytes]:
    """A process of its own that continues ``pid`` after a while, whatever happens meanwhile."""
    code = "import os, signal, sys, time\n"
    code += "time.sleep(float(sys.argv[2])); os.kill(int(sys.argv[1]), signal.SIGCONT)"
    return subprocess.Popen(
        [sys.executable, "-ES", "-c", code, str(pid), str(seconds)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def stand_still() -> NoReturn:
    """Never return, and outlive nobody: when the launch is gone, so is this process."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)


def _around(
    target: Any,
    method: str,
    *,
    before: Callable[[], object] = lambda: None,
    after: Callable[[Any], object] = lambda result: None,
) -> None:
    """Let this one object call ``before`` and ``after`` around its method."""
    inner = getattr(target, method)

    def call(*arguments: Any, **options: Any) -> Any:
        before()
        result = inner(*arguments, **options)
        after(result)
        return result

    setattr(target, method, call)
