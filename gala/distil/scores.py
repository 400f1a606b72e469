"""Scores: what a student and each of its teachers reach in the teacher's environments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from gala.distil.teachers import Teacher, environments
from gala.evaluation.kept import POLICIES
from gala.evaluation.player import Player
from gala.evaluation.statistics import summarize
from gala.files.screen import Screen
from gala.policy.loading import mean_of


def scores(
    student: Path, teachers: Sequence[Teacher], *, episodes: int, seed: int
) -> list[dict[str, Any]]:
    """Play full games with both, by the protocol of ``gala eval``, from the same seeds.

    Args:
        student: its run folder.
        teachers: of it.
        episodes: games of each policy.
        seed: of environments and actions.

    Returns:
        An entry for each teacher and way to act.
    """
    trained, snapshot = mean_of(student)
    found = []
    for teacher, env in zip(teachers, environments(teachers), strict=True):
        there = replace(trained, config=replace(trained.config, env=env))
        players = {
            "teacher": Player(teacher.trained, teacher.snapshot, seed),
            "student": Player(there, snapshot, seed),
        }
        for policy in POLICIES:
            entry: dict[str, Any] = {
                "run": str(teacher.path),
                "env_id": env.id,
                "policy": policy,
            }
            for who, player in players.items():
                summary = summarize(player.play(policy, episodes, lambda count: None).returns)
                entry[who] = {"mean_return": summary.mean, "standard_error": summary.standard_error}
            found.append(entry)
    return found


def show(found: Sequence[dict[str, Any]], episodes: int) -> None:
    """Print them as a table."""
    table = Table(title=f"Returns of {episodes} episodes", title_justify="left")
    for name in ("teacher", "environment", "policy"):
        table.add_column(name)
    for name in ("teacher's", "student's"):
        table.add_column(name, justify="right")
    for each in found:
        numbers = (_cell(each[who]) for who in ("teacher", "student"))
        table.add_row(each["run"], each["env_id"], each["policy"], *numbers)
    Screen().print(table)


def _cell(summary: dict[str, Any]) -> str:
    error = summary["standard_error"]
    return f"{summary['mean_return']:.2f}" + ("" if error is None else f" ± {error:.2f}")
