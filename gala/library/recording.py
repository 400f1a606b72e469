"""Records of a loop in a run folder: those of ``gala train``, by what writes them there."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gala.agent.measuring import DivergenceMeter
from gala.agent.outputs import Metrics
from gala.agent.recorder import Counts, Recorder
from gala.agent.setting import Setting
from gala.couplings.coupling import Coupling
from gala.divergence.policy import PolicyDivergence
from gala.divergence.updates import Updates
from gala.parameters.flat import FlatVector
from gala.telemetry.history import History
from gala.telemetry.reader import NEWEST_BYTES, RunReader

STAMPS = frozenset({"v", "t", "rank", "incarnation", "update", "step", "event", "message"})
"""Fields of a record that are no metrics."""


class Recording:
    """Writes what happens to one agent, and what its loop logs.

    Args:
        setting: of the agent.
        flat: what is mixed.
        norms: of its updates.
        coupling: to the others.
        behaviour: compares policies.
        history: where what gossip does is recorded.
        counts: what the agent has done so far.
        device: where the network of the loop computes.
    """

    def __init__(
        self,
        setting: Setting,
        flat: FlatVector,
        norms: Updates,
        coupling: Coupling,
        behaviour: PolicyDivergence,
        history: History | None,
        counts: Counts,
        device: torch.device,
    ) -> None:
        self._coupling = coupling
        reader = RunReader(setting.run.path, last_bytes=NEWEST_BYTES)
        self._recorder = Recorder(setting, reader, device=device)
        self._recorder.counts = counts
        self.end_phase = self._recorder.end_phase
        tell = partial(self._recorder.warn, "error")
        self.meter = DivergenceMeter(setting, flat, norms, coupling, behaviour, history, tell)
        self._counts, self._logged = counts, Logged()
        self.warn = self._recorder.warn

    def start(self) -> None:
        """Before the first update."""
        self._recorder.start()
        self.meter.begin(self._counts.update, self._counts.step)

    def log(self, values: Metrics) -> None:
        """Take what the loop says; it is in the next record."""
        self._logged.add(values)
        self._record_if_due()

    def look(self) -> None:
        """After an exchange: measure, and record when it is time."""
        for kind, message in self.meter.observe(self._counts.update, self._counts.step):
            (self._recorder.warn if kind == "alarm" else self._recorder.event)(kind, message)
        for kind, message in self._coupling.events():
            self._recorder.event(kind, message)
        self._record_if_due()

    def close(self, ending: str) -> None:
        """The last record, and how it ended: ``done``, ``stopped`` or ``alarm``."""
        if self._recorder.unrecorded or self._logged.new:
            self._record()
        self._recorder.finish(ending)
        self.meter.close()
        self._recorder.close()

    def _record_if_due(self) -> None:
        if self._recorder.due:
            self._record()

    def _record(self) -> None:
        more = self._coupling.metrics(self._recorder.updates) | self.meter.metrics()
        self._recorder.record(more | self._logged.take())


class Logged:
    """What a loop logs, until it is recorded.

    Of what was logged more than once since the last record the mean counts; what was not logged
    since is as it was.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}
        self._shown: Metrics = {}

    @property
    def new(self) -> bool:
        """Whether something was logged since the last :meth:`take`."""
        return bool(self._sums)

    def add(self, values: Metrics) -> None:
        """One value of each; None is none."""
        for name, value in values.items():
            if value is not None:
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = total + value, count + 1

    def take(self) -> Metrics:
        """For a record."""
        self._shown |= {name: total / count for name, (total, count) in self._sums.items()}
        self._sums.clear()
        return dict(self._shown)


def metrics_of(values: Any) -> Metrics:
    """What ``node.log`` was given, as numbers.

    Raises:
        TypeError: no mapping of names to numbers.
        ValueError: a name that records use themselves.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"log: must be a mapping of names to numbers, got {type(values).__name__}")
    found: Metrics = {}
    for name, value in values.items():
        if not isinstance(name, str):
            raise TypeError(f"log: a name must be text, got {name!r}")
        if not name or name in STAMPS:
            raise ValueError(f"log: {name!r} is stamped on every record, take another name")
        found[name] = None if value is None else _number(name, value)
    return found


def _number(name: str, value: Any) -> float:
    count = value.numel() if isinstance(value, Tensor) else getattr(value, "size", 1)
    if count != 1:
        raise TypeError(f"log: {name} must be one number, got {count}")
    value = value.detach() if isinstance(value, Tensor) else value
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, numbers.Real):
        raise TypeError(f"log: {name} must be a number, got {type(value).__name__}")
    return float(value)
