"""Checks of a run folder: whether every file is whole, and where each agent is."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

import gala
from gala.config.loop import load_loop
from gala.doctor.finding import Finding, examine
from gala.errors import UserError
from gala.files import commands
from gala.files.atomic import is_temporary
from gala.files.bounded import open_regular
from gala.files.yaml import load_yaml
from gala.policy.trained_run import MEAN_FILE
from gala.run import checkpoint
from gala.run.config import load
from gala.run.folder import RunFolder
from gala.telemetry.history import NAME as HISTORY
from gala.telemetry.history import history_damage
from gala.telemetry.reader import Tail, number, rank_folders
from gala.telemetry.sketches import sketch_damage
from gala.telemetry.standing import FAR_BEHIND

SKETCHES = ("sketches.bin", "steps.bin", "layers.bin")
"""Files of that format in an agent's folder."""

SILENT_S = 30.0
"""An agent that runs and has not recorded for so long may hang."""


@dataclass(kw_only=True)
class Told:
    """What the records of one agent tell; newest values."""

    records: int = 0
    t: float = 0.0
    update: int = 0
    step: int = 0
    incarnation: int = 0
    ending: str | None = None
    """``done`` or how it stopped; None while it has not said so since its last start."""

    def hear(self, record: dict[str, Any]) -> None:
        """One more record, of whatever content."""
        self.records += 1
        self.t = number(record.get("t")) or self.t
        for name in ("update", "step", "incarnation"):
            value = number(record.get(name))
            setattr(self, name, int(value) if value is not None else getattr(self, name))
        if record.get("event") in ("done", "stop"):
            self.ending = str(record.get("message"))
        elif record.get("event") in ("start", "alive"):
            self.ending = None


def examine_run(path: Path) -> Iterator[Finding]:
    """All checks of a run folder.

    Raises:
        UserError: this is none.
    """
    if not path.is_dir():
        raise UserError("no such run folder", file=path)
    run = RunFolder(path)
    ranks = rank_folders(path)
    if not (ranks or run.meta.exists() or run.config.exists()):
        raise UserError("holds no run", file=path, hint="a run folder has a meta.json")
    yield examine("config.yaml", partial(config, run))
    yield examine("meta.json", partial(meta, run))
    yield examine("topology.json", partial(topology, run))
    agents = max([agents_of(run), *(rank + 1 for rank in ranks)])
    told: dict[int, Told] = {}
    for rank in range(agents):
        yield examine(f"agent {rank}: records", partial(records, run, rank, told))
        yield examine(f"agent {rank}: sketches", partial(sketches, run, rank))
        if (run.rank(rank) / HISTORY).exists():
            yield examine(f"agent {rank}: history", partial(history, run, rank))
        yield examine(f"agent {rank}: checkpoints", partial(checkpoints, run, rank))
    now = time.time()
    for rank in sorted(told):
        yield examine(f"agent {rank}", partial(progress, run, rank, told, now))
    if (path / MEAN_FILE).exists():
        yield examine(MEAN_FILE, partial(mean, path / MEAN_FILE))


def agents_of(run: RunFolder) -> int:
    """How many agents ``meta.json`` names; 0 where it names none."""
    try:
        agents = run.read_meta().get("agents")
    except (UserError, AttributeError):
        return 0
    return agents if isinstance(agents, int) and 0 < agents < 10**6 else 0


def config(run: RunFolder) -> Finding:
    """Whether the configuration reads, and names every field, as it does when it is written."""
    try:
        found = load_loop(run.config) if run.of_loop else load(run.config)
        data = load_yaml(run.config).data
    except UserError as error:
        return _wrong("config.yaml", str(error), "restore it: resume and eval need it")
    missing = _missing(found.to_dict(), data if isinstance(data, dict) else {})
    if missing:
        facts, _ = _json(run.meta)
        lacks = f"lacks {missing[0]}" + (f" and {len(missing) - 1} more" * (len(missing) > 1))
        if facts is not None and facts.get("gala") != gala.__version__:
            advice = "nothing: they have their defaults, another version has written it"
            return _warning("config.yaml", lacks, advice)
        return _wrong("config.yaml", lacks, "restore it: what is missing has its default now")
    if run.of_loop:
        return _ok("config.yaml", f"a loop of its own, seed {found.seed}")
    return _ok("config.yaml", f"{found.algorithm} on {found.env.id}, seed {found.seed}")


def _missing(whole: dict[str, Any], given: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of fields that are not ``given``."""
    found = []
    for name, value in whole.items():
        if name not in given:
            found.append(prefix + name)
        elif isinstance(value, dict) and isinstance(given[name], dict):
            found += _missing(value, given[name], f"{prefix}{name}.")
    return found


def meta(run: RunFolder) -> Finding:
    """Whether the facts of the launch read."""
    found, problem = _json(run.meta)
    if problem is None and not agents_of(run):
        problem = "names no number of agents"
    if found is None or problem is not None:
        return _wrong("meta.json", problem or "", "restore it: resume and eval need it")
    written = f"{found['agents']} agents, written by gala {found.get('gala', '?')}"
    return _ok("meta.json", written)


def topology(run: RunFolder) -> Finding:
    """Whether the graph reads, and is one of this run's agents."""
    found, problem = _json(run.topology)
    edges: Any = found.get("edges", found.get("links")) if found is not None else None
    agents = agents_of(run)
    if problem is None and not isinstance(edges, list):
        problem = "has no list of edges"
    elif problem is None and not all(_joins(edge, agents) for edge in edges):
        problem = f"has an edge that is not between two of {agents} agents"
    if problem is not None:
        return _wrong("topology.json", problem, "restore it; gala topology NAME shows the graph")
    return _ok("topology.json", f"{len(edges)} edges")


def _joins(edge: Any, agents: int) -> bool:
    ends = [edge.get("source"), edge.get("target")] if isinstance(edge, dict) else [None]
    return all(isinstance(end, int) and 0 <= end < agents for end in ends)


def records(run: RunFolder, rank: int, told: dict[int, Told]) -> Finding:
    """Whether every line of an agent's records reads; what they tell goes to ``told``."""
    name, tail, found = f"agent {rank}: records", Tail(run.metrics(rank)), Told()
    for record in tail.stream():
        if record.get("rank") == rank:
            found.hear(record)
        else:
            tail.corrupt += 1
    if found.records:
        told[rank] = found
    if tail.error is not None:
        missing = not run.metrics(rank).exists()
        reason = "there are none" if missing else f"cannot be read: {tail.error}"
        return _wrong(name, reason, f"see logs, or start it again: {_resume(run)}")
    if tail.corrupt:
        lines = f"{tail.corrupt} damaged line{'s' * (tail.corrupt != 1)} of {found.records}"
        return _wrong(name, lines, "readers skip them; see what else writes into this folder")
    if tail.unfinished:
        advice = "the next incarnation begins a new line; look for a full disk"
        return _warning(name, f"{found.records} whole, the last line is half written", advice)
    return _ok(name, f"{found.records} whole")


def sketches(run: RunFolder, rank: int) -> Finding:
    """Whether the files of sketches are whole."""
    name = f"agent {rank}: sketches"
    damaged = {file: sketch_damage(run.rank(rank) / file) for file in SKETCHES}
    problems = {file: problem for file, problem in damaged.items() if problem is not None}
    if not problems:
        return _ok(name, "whole")
    told = "; ".join(f"{file}: {problem}" for file, problem in problems.items())
    if all(problem.startswith("the last") for problem in problems.values()):
        return _warning(name, told, "nothing: readers pass over it, the next start drops it")
    return _wrong(name, told, "move it away: it is written anew at the next start")


def history(run: RunFolder, rank: int) -> Finding:
    """Whether the records of what happened to an agent's parameters can be read."""
    name, problem = f"agent {rank}: history", history_damage(run.rank(rank) / HISTORY)
    if problem is None:
        return _ok(name, "whole")
    return _wrong(name, problem, "move it away: without it the divergence is not certified")


def checkpoints(run: RunFolder, rank: int) -> Finding:
    """Whether every checkpoint reads as data, and is finite."""
    name, folder = f"agent {rank}: checkpoints", checkpoint.folder_of(run.path, rank)
    good, bad = [], []
    for update in checkpoint.updates(folder):
        file = checkpoint.path_of(folder, update)
        problem = damage_of(file)
        if problem is None:
            good.append(update)
        else:
            bad.append(f"{file.name}: {problem}")
    if bad:
        usable = f"update {good[-1]} is good" if good else "no other is good"
        advice = f"move it away, {usable}; gala train --resume goes on from there"
        return _wrong(name, "; ".join(bad), advice)
    if not good and run.of_loop:
        return _ok(name, "none: a loop of its own keeps them elsewhere")
    if not good:
        advice = "the first one is written after checkpoint.every_steps, or when the run stops"
        return _warning(name, "none", advice)
    if folder.is_dir() and any(is_temporary(each) for each in folder.iterdir()):
        advice = "nothing while the agent runs; else remove .*.tmp, a killed writer left it"
        return _warning(name, f"{len(good)} finite, and an unfinished file", advice)
    return _ok(name, f"{len(good)} finite, the newest of update {good[-1]}")


def damage_of(file: Path) -> str | None:
    """What is wrong with a checkpoint; None when it reads and is finite."""
    try:
        state = checkpoint.load(file)
    except checkpoint.CheckpointError as error:
        return str(error).removeprefix(f"{file}: ")
    params = state.get("params")
    if not isinstance(params, torch.Tensor):
        return "holds no parameters"
    try:
        announced = sum(torch.Size(shape).numel() for _, shape in state["layout"])
    except (KeyError, TypeError, ValueError, RuntimeError):
        return "does not say which network it is of"
    if params.shape != (announced,):
        return f"holds {params.numel()} parameters, its network has {announced}"
    bad = int((~torch.isfinite(params)).sum())
    if bad:
        return f"{bad} of {params.numel()} parameters are not finite"
    sound = checkpoint.finite(state.get("learner"))
    return None if sound else "the state of its optimizer is not finite"


def mean(file: Path) -> Finding:
    """Whether the exported mean reads and is finite."""
    try:
        open_regular(file).close()  # the library would wait for who writes into a pipe
        tensors = safetensors.torch.load_file(file)
    except Exception as error:  # the library's own, and what a file system says
        return _wrong(MEAN_FILE, f"cannot be read: {error}", "gala eval writes it again")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        return _wrong(MEAN_FILE, "is not finite", "see which agent's checkpoints are not")
    return _ok(MEAN_FILE, f"{len(tensors)} tensors, finite")


def progress(run: RunFolder, rank: int, told: dict[int, Told], now: float) -> Finding:
    """Where an agent is, whether it is done, and how far behind the others."""
    name, own = f"agent {rank}", told[rank]
    where = f"update {own.update}, step {own.step}, incarnation {own.incarnation}"
    if own.ending is not None:
        return _ok(name, f"{own.ending} at {where}")
    newest = max(each.t for each in told.values())
    resume = _resume(run)
    alive = _alive(run.rank(rank) / "agent.json")
    if alive is False:
        return _warning(name, f"ended without a word at {where}", resume)
    age = (now if alive else newest) - own.t
    if age > SILENT_S:
        advice = "it hangs, or is gone: kill its process, its supervisor starts it again"
        return _warning(name, f"silent for {age:.0f} s at {where}", advice)
    ahead = max(told, key=lambda each: told[each].update)
    if own.update < FAR_BEHIND * told[ahead].update:
        lag = f"{told[ahead].update - own.update} updates behind agent {ahead} at {where}"
        return _warning(name, lag, "see its cores and its host; gala watch shows where time goes")
    return _ok(name, f"runs, {where}")


def _alive(file: Path) -> bool | None:
    """Whether the process of an agent is there; None where another host would have to say."""
    found, _ = _json(file)
    if found is None or found.get("host") != socket.gethostname():
        return None
    pid = number(found.get("pid"))
    return pid is not None and os.path.exists(f"/proc/{int(pid)}")


def _json(file: Path) -> tuple[dict[str, Any] | None, str | None]:
    """The object in a file, or what is wrong with it."""
    if not file.is_file():
        return None, "is not there"
    try:
        found = json.loads(file.read_text())
    except OSError as error:
        return None, f"cannot be read: {error.strerror}"
    except (ValueError, RecursionError) as error:
        return None, f"is no JSON: {error}"
    return (found, None) if isinstance(found, dict) else (None, "is no JSON object")


def _ok(name: str, message: str) -> Finding:
    return Finding(name=name, state="ok", message=message)


def _warning(name: str, message: str, advice: str) -> Finding:
    return Finding(name=name, state="warning", message=message, advice=advice)


def _wrong(name: str, message: str, advice: str) -> Finding:
    return Finding(name=name, state="wrong", message=message, advice=advice)


def _resume(run: RunFolder) -> str:
    return commands.gala("train", "--resume", run.path)
