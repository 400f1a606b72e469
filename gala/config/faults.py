"""Faults at a moment: ``rank=1,update=50,kind=kill``, from text to what is meant.

What strikes is in :mod:`gala.agent.faults`, loaded only where a fault is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gala.errors import UserError, did_you_mean

KINDS = ("kill", "segv", "stop", "nan", "disk-full", "deadlock", "drop-network")
"""``kill``: SIGKILL to itself; ``segv``: an access to memory that is not there; ``stop``: SIGSTOP
for some seconds; ``nan``: one that enters the reward, the gradient or the parameters;
``disk-full``: files of the agent cannot be written for some seconds; ``deadlock``: the loop stands
still for ever; ``drop-network``: no message leaves or arrives for some seconds."""

PLACES = ("collect", "learn", "publish", "mix", "save")
"""Lines of the loop, in their order."""

LASTING = ("stop", "disk-full", "drop-network")
"""Kinds that are over after some seconds."""

DEFAULT_SECONDS = 5.0
NEEDED = ("rank", "update", "kind")
KEYS = (*NEEDED, "where", "seconds", "incarnation")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong, with whom, when."""

    rank: int
    """The agent that it happens to."""
    update: int
    """During this local update, or the first one after it that passes the place."""
    kind: str
    """One of :data:`KINDS`."""
    where: str = "collect"
    """One of :data:`PLACES`; right before it, but for ``save``: before the file is in place."""
    seconds: float = DEFAULT_SECONDS
    """How long, for :data:`LASTING` kinds."""
    incarnation: int = 0
    """Which start of the agent it happens to, so that it does not happen again after a restart."""

    def __str__(self) -> str:
        lasting = f" for {self.seconds:g} s" if self.kind in LASTING else ""
        return f"{self.kind}{lasting} at {self.where} of update {self.update}"


def parse_fault(text: str) -> Fault:
    """The fault that ``text`` describes.

    Raises:
        ValueError: it describes none; names the nearest valid word.
    """
    given: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = (each.strip() for each in part.partition("="))
        if key not in KEYS:
            raise ValueError(f"{key!r} is no part of a fault ({did_you_mean(key, KEYS)})")
        if not equals or not value:
            raise ValueError(f"{key} needs a value ({key}={_example(key)})")
        if key in given:
            raise ValueError(f"{key} is given twice")
        given[key] = value
    missing = [key for key in NEEDED if key not in given]
    if missing:
        raise ValueError(f"{missing[0]} is missing (rank=1,update=50,kind=kill)")
    kind = _one_of("kind", given["kind"], KINDS)
    if "seconds" in given and kind not in LASTING:
        raise ValueError(f"{kind} has no seconds ({', '.join(LASTING)} have)")
    return Fault(
        rank=_whole("rank", given["rank"], 0),
        update=_whole("update", given["update"], 1),
        kind=kind,
        where=_one_of("where", given.get("where", "collect"), PLACES),
        seconds=_seconds(given.get("seconds", str(DEFAULT_SECONDS))),
        incarnation=_whole("incarnation", given.get("incarnation", "0"), 0),
    )


def as_faults(value: Any) -> Any:
    """The texts of several faults, as a list or with ``;`` between them; each one is checked.

    Raises:
        ValueError: see :func:`parse_fault`.
    """
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(each, str) for each in texts):
        raise ValueError("must be text such as rank=1,update=50,kind=kill, or a list of such texts")
    found = tuple(part.strip() for each in texts for part in each.split(";") if part.strip())
    for each in found:
        parse_fault(each)
    return found


def cuts_network(texts: Iterable[str], rank: int) -> bool:
    """Whether one of these faults drops the messages of agent ``rank``."""
    faults = map(parse_fault, texts)
    return any(fault.kind == "drop-network" and fault.rank == rank for fault in faults)


def require_possible(texts: Iterable[str], *, agents: int, coupling: str, publishes: bool) -> None:
    """Refuse faults that cannot happen in a launch.

    Raises:
        UserError: an agent that is not there, or no messages to drop.
    """
    for text in texts:
        fault = parse_fault(text)
        if fault.rank >= agents:
            rule = f"agent {fault.rank} is not there, this launch has {agents}"
            raise UserError(rule, field="--faults.at", hint=f"rank={agents - 1}")
        if fault.kind == "drop-network" and (not publishes or agents == 1):
            why = "one agent" if agents == 1 else f"--coupling {coupling}"
            rule = f"drop-network drops messages of gossip, and {why} sends none"
            raise UserError(rule, field="--faults.at", hint="kind=stop")


def _one_of(key: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"no {key} is named {value!r} ({did_you_mean(value, known)})")
    return value


def _whole(key: str, value: str, least: int) -> int:
    if not (value.isascii() and value.isdigit()) or len(value) > 15 or int(value) < least:
        raise ValueError(f"{key} must be a whole number from {least}, got {value!r}")
    return int(value)


def _seconds(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"seconds must be a number above 0, got {value!r}")
    return number


def _example(key: str) -> str:
    words = {"kind": KINDS[0], "where": PLACES[0], "incarnation": "0"}
    return words.get(key, "1")
