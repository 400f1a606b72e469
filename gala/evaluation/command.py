"""``gala eval``: play real episodes with the policies of a run and say how good they are."""

from __future__ import annotations

import os

# Spinning OpenMP threads steal the cores that environments need; read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import contextlib
import json as json_format
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from gala.config.tasks import name_of, tasks_of, text_of
from gala.errors import UserError, did_you_mean, printable
from gala.evaluation import video as video_file
from gala.evaluation.clip import Clip
from gala.evaluation.episodes import Games
from gala.evaluation.human import human_normalized
from gala.evaluation.kept import FILE, POLICIES, VIDEOS
from gala.evaluation.player import Player
from gala.evaluation.statistics import summarize
from gala.files.screen import Screen
from gala.policy.loading import in_env_of, open_run
from gala.policy.trained_run import AgentName, Snapshot, TrainedRun


def evaluate(
    run: str | Path,
    *,
    episodes: int = 30,
    agent: str | int | None = None,
    policy: str = "both",
    json: bool = False,
    video: str | Path | None = None,
    seed: int = 0,
    env_of: str | Path | None = None,
) -> dict[str, Any]:
    """Evaluate a run and print a table or one JSON object.

    The result is also appended to ``eval.jsonl`` of the run folder, unless it is of another run's
    environments, and the averaged policy is exported there as ``mean.safetensors``. With tasks it
    is the mean over them, which stand below it.

    Args:
        run: the run folder.
        episodes: full games per agent and policy, of each task.
        agent: mean (the averaged parameters), best (by training returns), all, or a rank; None:
            the mean, or all where agents never shared a parameter (``--coupling none``, ``distil``,
            ``repel``).
        policy: greedy (most likely actions), stochastic (drawn actions), or both.
        json: print JSON instead of a table.
        video: also write an mp4 of one more game of the first result's policy (and a moving picture
            of it for TensorBoard); "": into the folder ``videos`` of the run, for the dashboard.
        seed: of environments and actions; the same seed gives the same games.
        env_of: a run in whose environments to play; None: those of ``run``.

    Returns:
        What ``--json`` prints.

    Raises:
        UserError: bad arguments, no run, no checkpoint, an environment that cannot be made.
    """
    _require_sense(episodes, policy, seed)
    trained = open_run(run)
    if env_of is not None:
        trained = in_env_of(trained, env_of)
    if agent is None:
        agent = "all" if trained.independent else "mean"
    snapshots = trained.select(agent)
    trained.tell_left_out()
    modes = POLICIES if policy == "both" else (policy,)
    if video is not None:
        video = Path(video) if str(video) else _own_video(trained, snapshots[0], modes[0])
        video_file.check(tasks_of(trained.config.env)[0], video)
    report = _about(trained) | {"episodes": episodes, "seed": seed}
    report["results"] = _played(trained, snapshots, modes, episodes, seed, quiet=json)
    if video is not None:
        report["video"] = _filmed(trained, snapshots[0], modes[0], video, seed)
    if env_of is None:
        _keep(trained, report)
    if json:
        print(json_format.dumps(report))
    else:
        _show_table(report)
    return report


def _about(trained: TrainedRun) -> dict[str, Any]:
    """What is evaluated: the first entries of a report."""
    left_out = [{"agent": rank, "reason": why} for rank, why in trained.left_out().items()]
    return {
        "env_id": name_of(trained.config.env),
        "run": str(trained.folder.path),
        "missing_agents": list(trained.missing),
        "left_out": left_out,
    }


def _show_table(report: dict[str, Any]) -> None:
    Screen().print(_table(report))
    if (video := report.get("video")) is not None:
        shown, mode = video["return"], video["policy"]
        line = f"video of one {mode} game with return {shown:g}: {video['file']}"
        print(printable(line))


def _require_sense(episodes: int, policy: str, seed: int) -> None:
    if episodes < 1:
        raise UserError(f"must be at least 1, got {episodes}", field="--episodes")
    if policy != "both" and policy not in POLICIES:
        hint = did_you_mean(policy, [*POLICIES, "both"])
        raise UserError(f"no policy is named {policy!r}", field="--policy", hint=hint)
    if seed < 0:
        raise UserError(f"must not be negative, got {seed}", field="--seed")


def _played(
    trained: TrainedRun,
    snapshots: Sequence[Snapshot],
    modes: Sequence[str],
    episodes: int,
    seed: int,
    *,
    quiet: bool,
) -> list[dict[str, Any]]:
    """Play with each snapshot and policy: ``results``. What environments print is none of them."""
    tasks = tasks_of(trained.config.env)
    results, games = [], episodes * len(snapshots) * len(modes) * len(tasks)
    with contextlib.redirect_stdout(sys.stderr), _progress(games, quiet=quiet) as advance:
        for snapshot in snapshots:
            player = Player(trained, snapshot, seed)
            for mode in modes:
                found = []
                for number, task in enumerate(tasks):
                    start = time.monotonic()
                    played = player.play(mode, episodes, advance, number)
                    seconds = time.monotonic() - start
                    found.append(_result(task.id, snapshot, mode, played, seconds))
                over = _over_tasks(trained, found) if trained.config.env.tasks else found[0]
                results.append(over)
    return results


def _filmed(
    trained: TrainedRun, snapshot: Snapshot, mode: str, path: Path, seed: int
) -> dict[str, Any]:
    """Play one more game for the video, and for TensorBoard: ``video``."""
    clip = Clip()
    with contextlib.redirect_stdout(sys.stderr):
        total = Player(trained, snapshot, seed).record(mode, path, clip)
    _show(trained, snapshot, mode, clip)
    return {"file": str(path), "agent": snapshot.agent, "policy": mode, "return": total}


def _own_video(trained: TrainedRun, snapshot: Snapshot, mode: str) -> Path:
    """Where a video goes that the dashboard is to show; its folder is made.

    Raises:
        UserError: it cannot be.
    """
    folder = trained.folder.path / VIDEOS
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        rule = f"cannot be made: {error.strerror or error}"
        raise UserError(rule, file=folder, field="--video") from None
    return folder / f"step {snapshot.step}, {_name(snapshot.agent)}, {mode}.mp4"


def _over_tasks(trained: TrainedRun, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One entry of ``results``: the mean over tasks, of which each counts as much."""

    def mean(name: str) -> float | None:
        values = [each[name] for each in found]
        return None if None in values else fmean(values)

    errors = [each["standard_error"] for each in found]
    own = ("mean_return", "standard_error", "min_return", "max_return", "human_normalized")
    named = zip(found, trained.config.env.tasks, strict=True)
    return found[0] | {
        "mean_return": mean("mean_return"),
        "standard_error": None if None in errors else math.hypot(*errors) / len(found),
        "min_return": min(each["min_return"] for each in found),
        "max_return": max(each["max_return"] for each in found),
        "human_normalized": mean("human_normalized"),
        "mean_length": mean("mean_length"),
        "returns": [ret for each in found for ret in each["returns"]],
        "seconds": round(sum(each["seconds"] for each in found), 3),
        "tasks": [
            {"task": task} | {name: each[name] for name in (*own, "mean_length", "returns")}
            for each, task in named
        ],
    }


def _result(
    env_id: str, snapshot: Snapshot, mode: str, games: Games, seconds: float
) -> dict[str, Any]:
    """One entry of ``results``."""
    summary = summarize(games.returns)
    return {
        "agent": snapshot.agent,
        "policy": mode,
        "mean_return": summary.mean,
        "standard_error": summary.standard_error,
        "min_return": summary.smallest,
        "max_return": summary.largest,
        "human_normalized": human_normalized(env_id, summary.mean),
        "mean_length": float(games.lengths.mean()),
        "update": snapshot.update,
        "step": snapshot.step,
        "returns": games.returns.tolist(),
        "seconds": round(seconds, 3),
    }


def _keep(trained: TrainedRun, report: dict[str, Any]) -> None:
    """Export the averaged policy and append the result; a read-only run folder is no obstacle."""
    line = json_format.dumps({"t": time.time(), **report}) + "\n"
    try:
        if not (trained.independent or trained.exported):
            trained.export()
        with open(trained.folder.path / FILE, "a", encoding="utf-8") as file:
            file.write(line)
    except OSError as error:
        reason = error.strerror or error
        print(f"gala: warning: the result is not kept in the run folder: {reason}", file=sys.stderr)


def _show(trained: TrainedRun, snapshot: Snapshot, mode: str, clip: Clip) -> None:
    """Put the game into TensorBoard, where that is used."""
    from gala.telemetry.tensorboard import TensorBoardSink

    if not trained.config.log.tensorboard:
        return
    folder = trained.folder.path / "tensorboard"
    width, height = clip.size
    try:
        with contextlib.closing(TensorBoardSink(folder / "evaluation")) as sink:
            name = f"evaluation/{_name(snapshot.agent)}/{mode}".replace(" ", "_")
            sink.image(name, clip.gif(), width=width, height=height, step=snapshot.step)
    except OSError as error:
        reason = error.strerror or error
        print(f"gala: warning: TensorBoard will not show the game: {reason}", file=sys.stderr)


def _table(report: dict[str, Any]) -> Table:
    """The results as a table; the human column only where a human score is known."""
    results = report["results"]
    human = results[0]["human_normalized"] is not None
    table = Table(title=f"{report['env_id']}, {report['episodes']} episodes, seed {report['seed']}")
    table.add_column("agent", no_wrap=True)
    table.add_column("policy", no_wrap=True)
    if by_task := "tasks" in results[0]:
        table.add_column("task", no_wrap=True)
    numbers = ["return", "s.e.", "min", "max", *(["human"] if human else []), "length", "update"]
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    tasks = [each["task"] for each in results[0].get("tasks", ())]
    notes = [f"task {number}: {text_of(task)}" for number, task in enumerate(tasks)]
    if human:
        notes.append("human: 0 is random play, 1 the human's score")
    table.caption = "\n".join(notes) or None
    for each in results:
        who, update = [_name(each["agent"]), each["policy"]], f"{each['update']:,}"
        for number, task in enumerate(each.get("tasks", ())):
            table.add_row(*who, str(number), *_numbers(task, human=human), update)
        over = ["mean"] if by_task else []
        table.add_row(*who, *over, *_numbers(each, human=human), update, end_section=by_task)
    return table


def _numbers(result: dict[str, Any], *, human: bool) -> list[str]:
    """Its cells from the return to the length."""
    error = result["standard_error"]
    return [
        f"{result['mean_return']:.2f}",
        "-" if error is None else f"{error:.2f}",
        f"{result['min_return']:g}",
        f"{result['max_return']:g}",
        *([f"{result['human_normalized']:.2f}"] if human else []),
        f"{result['mean_length']:.0f}",
    ]


def _name(agent: AgentName) -> str:
    return "mean" if agent == "mean" else f"agent {agent}"


@contextlib.contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal's standard error; gives a function that is told of finished games."""
    console = Screen(stderr=True)
    columns = (TextColumn("playing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=quiet or not console.is_terminal
    ) as bar:
        task = bar.add_task("episodes", total=total)
        yield lambda count: bar.advance(task, count)
