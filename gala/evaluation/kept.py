"""What ``gala eval`` keeps in a run folder, read again for reports and model cards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gala.telemetry.reader import Record, Tail

FILE = "eval.jsonl"

VIDEOS = "videos"
"""Folder of a run whose mp4 files the dashboard shows."""

POLICIES = ("greedy", "stochastic")
"""How an agent acts: by its most likely actions, or by drawn ones."""


def kept_results(run: Path) -> Iterator[tuple[Record, Record]]:
    """Each result with the evaluation that it is of, the newest last; damage is passed over."""
    for evaluation in Tail(run / FILE).read():
        results = evaluation.get("results")
        for result in results if isinstance(results, list) else ():
            if isinstance(result, dict):
                yield evaluation, result
