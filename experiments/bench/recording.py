"""Results as files: JSON for programs, Markdown for people, both with what was measured on."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gala.launch.processes import bound_to

RESULTS = Path(__file__).resolve().parents[1] / "results"
ROOT = RESULTS.parents[1]


def provenance() -> dict[str, Any]:
    """Date, machine, versions, commit and command of this measurement."""
    import gymnasium
    import numpy
    import torch
    from ale_py import __version__ as ale_version

    import gala
    from gala.networks.model import native_bfloat16

    commit = _git("describe", "--always", "--abbrev=12")
    if _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!experiments/results"):
        commit += "-dirty"  # results of before are not what ran
    cpu = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    if not native_bfloat16(torch.device("cpu")):
        cpu += " without bfloat16"  # images are learned more slowly
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{len(os.sched_getaffinity(0))} cores, {cpu}, {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            "gala": gala.__version__,
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "gymnasium": gymnasium.__version__,
            "ale-py": ale_version,
        },
        "commit": commit,
        "command": shlex.join(["python", os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]]),
    }


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def write(name: str, data: dict[str, Any], markdown: str, *, folder: Path | None = None) -> None:
    """Write ``NAME.json`` and ``NAME.md`` into ``folder``, by itself that of all results."""
    folder = RESULTS if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    facts = provenance()
    (folder / f"{name}.json").write_text(json.dumps(facts | data, indent=1) + "\n")
    versions = ", ".join(f"{k} {v}" for k, v in facts["versions"].items())
    footer = (
        f"\nMeasured on {facts['date']} with `{facts['command']}` on {facts['machine']}; "
        f"{versions}; commit {facts['commit']}.\n"
    )
    (folder / f"{name}.md").write_text(markdown.rstrip() + "\n" + footer)
    print(f"wrote {folder / name}.json and .md")


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def records(run: Path) -> dict[int, list[dict[str, Any]]]:
    """Metric records of a finished run, of each agent that wrote any: the others did its steps."""
    found: dict[int, list[dict[str, Any]]] = {}
    for path in sorted(run.glob("rank_*/metrics.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        if kept := [row for row in rows if "event" not in row]:
            found[int(path.parent.name[5:])] = kept
    return found


def train(run: Path, *arguments: object) -> float:
    """``gala train ARGUMENTS --run-dir RUN``; returns wall-clock seconds, launch included."""
    return _timed(*arguments, "--run-dir", run)


def go_on(run: Path) -> float:
    """``gala train --resume RUN``, likewise."""
    return _timed("--resume", run)


def _timed(*arguments: object) -> float:
    began = time.monotonic()
    command = [sys.executable, "-m", "gala", "train", *map(str, arguments)]
    subprocess.run(command, check=True, cwd=ROOT, preexec_fn=bound_to(os.getpid()))
    return time.monotonic() - began
