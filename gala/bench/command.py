"""``gala bench``: speed on this machine, where the time goes, and what it was last time."""

from __future__ import annotations

import json as json_module
import time
from dataclasses import asdict
from typing import Any

import torch
from rich.table import Table

import gala
from gala.bench import past
from gala.bench.measurement import CASES, QUICK, Measurement, measure
from gala.files.screen import Screen
from gala.run.folder import commit_of_package
from gala.telemetry.phases import PHASES

QUICK_S, WHOLE_S = 8.0, 20.0


def bench(*, quick: bool, seconds: float | None, json: bool) -> None:
    """Measure, print, remember.

    Args:
        quick: two cases of a few seconds.
        seconds: of each case; None: 8 (quick) or 20.
        json: print one JSON object instead of a table.

    Raises:
        UserError: a run did not come to train.
    """
    length = seconds or (QUICK_S if quick else WHOLE_S)
    screen = Screen(stderr=json, highlight=False)
    if not screen.is_terminal:  # a log file is not 80 columns wide
        screen = Screen(stderr=json, highlight=False, width=120)
    where, path = past.machine(), past.default_path()
    facts = {
        "machine": where,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "gala": gala.__version__,
        "torch": torch.__version__,
        "commit": commit_of_package(),
    }
    before = past.last(path, where)
    found = []
    for case in QUICK if quick else CASES:
        screen.print(f"{case.name}: training for {length:g} s ...")
        result = measure(case, length)
        past.add(path, facts | asdict(result))
        found.append(result)
    if json:
        results = [asdict(r) | {"last": before.get(r.case)} for r in found]
        print(json_module.dumps(facts | {"results": results}))
    else:
        screen.print(table(found, before))
        screen.print(
            f"{where['processor']}, {where['cores']} cores, torch {facts['torch']}, "
            f"commit {facts['commit'] or 'unknown'}; overhead: gossip, records and the rest.\n"
            f"Earlier results: {path}"
        )


def table(found: list[Measurement], before: dict[str, dict[str, Any]]) -> Table:
    """One row a case."""
    made = Table(title="steps/s of all agents; ms per update", title_justify="left")
    made.add_column("case", no_wrap=True)
    for name in (
        "steps/s", "of last", *PHASES, "overhead", "MB/agent", "start, s",
    ):  # fmt: skip
        made.add_column(name, justify="right", no_wrap=True)
    for r in found:
        last = before.get(r.case)
        made.add_row(
            r.case,
            f"{r.steps_per_second:,.0f}",
            f"{r.steps_per_second / last['steps_per_second']:.2f} x" if last else "-",
            *(f"{r.phases_ms[phase]:.1f}" for phase in PHASES),
            f"{100 * r.overhead:.1f} %",
            f"{r.memory_mb:.0f}" if r.memory_mb is not None else "-",
            f"{r.start_s:.1f}",
        )
    return made
