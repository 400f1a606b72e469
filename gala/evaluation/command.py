"""``gala eval``: play real episodes with the policies of a run and say how good they are."""

from __future__ import annotations

import os

# Spinning OpenMP threads steal the cores that environments need; read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import contextlib
import json as json_format
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from gala.envs import make_vector_env
from gala.errors import UserError, did_you_mean
from gala.evaluation import video as video_file
from gala.evaluation.clip import Clip
from gala.evaluation.episodes import Act, Games, actor, evaluation_env, evaluation_seed, play
from gala.evaluation.human import human_normalized
from gala.evaluation.statistics import summarize
from gala.evaluation.trained_run import AgentName, Snapshot, TrainedRun, load_run
from gala.networks import build_network
from gala.networks.model import Model, choose_precision
from gala.parameters.flat import FlatParameters, layout_hash

POLICIES = ("greedy", "stochastic")


def evaluate(
    run: str | Path,
    *,
    episodes: int = 30,
    agent: str | int = "mean",
    policy: str = "both",
    json: bool = False,
    video: str | Path | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Evaluate a run and print a table or one JSON object.

    The result is also appended to ``eval.jsonl`` of the run folder, and the averaged policy is
    exported there as ``mean.safetensors``.

    Args:
        run: the run folder.
        episodes: full games per agent and policy.
        agent: mean (the averaged parameters), best (by training returns), all, or a rank.
        policy: greedy (most likely actions), stochastic (drawn actions), or both.
        json: print JSON instead of a table.
        video: also write an mp4 of one more game of the first result's policy (and a moving picture
            of it for TensorBoard).
        seed: of environments and actions; the same seed gives the same games.

    Returns:
        What ``--json`` prints.

    Raises:
        UserError: bad arguments, no run, no checkpoint, an environment that cannot be made.
    """
    if episodes < 1:
        raise UserError(f"must be at least 1, got {episodes}", field="--episodes")
    if policy != "both" and policy not in POLICIES:
        options = [*POLICIES, "both"]
        hint = did_you_mean(policy, options)
        raise UserError(f"no policy is named {policy!r}", field="--policy", hint=hint)
    if seed < 0:
        raise UserError(f"must not be negative, got {seed}", field="--seed")
    trained = load_run(run)
    for rank in trained.missing:
        print(f"gala: warning: agent {rank} has no readable checkpoint", file=sys.stderr)
    snapshots = trained.select(agent)
    if video is not None:
        video_file.check(trained.config.env, Path(video))
    modes = POLICIES if policy == "both" else (policy,)
    results = []
    with _progress(episodes * len(snapshots) * len(modes), quiet=json) as advance:
        for snapshot in snapshots:
            player = Player(trained, snapshot, seed)
            for mode in modes:
                start = time.monotonic()
                games = player.play(mode, episodes, advance)
                results.append(_result(trained, snapshot, mode, games, time.monotonic() - start))
    report: dict[str, Any] = {
        "env_id": trained.config.env.id,
        "episodes": episodes,
        "seed": seed,
        "run": str(trained.folder.path),
        "missing_agents": list(trained.missing),
        "results": results,
    }
    if video is not None:
        mode = modes[0]
        clip = Clip()
        shown = Player(trained, snapshots[0], seed).record(mode, Path(video), clip)
        report["video"] = {
            "file": str(video),
            "agent": snapshots[0].agent,
            "policy": mode,
            "return": shown,
        }
        _show(trained, snapshots[0], mode, clip)
    _keep(trained, report)
    if json:
        print(json_format.dumps(report))
    else:
        Console().print(_table(report))
        if video is not None:
            print(f"video of one {mode} game with return {shown:g}: {video}")
    return report


@dataclass(frozen=True)
class Player:
    """One snapshot, ready to play.

    Attributes:
        trained: the run it comes from.
        snapshot: the parameters.
        seed: of environments and actions.
    """

    trained: TrainedRun
    snapshot: Snapshot
    seed: int

    def play(self, mode: str, episodes: int, finished: Callable[[int], None]) -> Games:
        """Play ``episodes`` games; ``finished`` as in :func:`gala.evaluation.episodes.play`."""
        config = evaluation_env(self.trained.config.env, episodes=episodes)
        env_seed = evaluation_seed(self.seed)
        threads = torch.get_num_threads()
        env = make_vector_env(config, seed=env_seed, threads=threads)
        with contextlib.closing(env):
            act = self._act(mode, env.observation_space, env.action_space)
            return play(env, act, episodes, finished=finished)

    def record(self, mode: str, path: Path, clip: Clip) -> float:
        """Write a video of one game and show it to ``clip``; returns its raw return."""
        config = evaluation_env(self.trained.config.env, episodes=1)
        env_seed = evaluation_seed(self.seed)
        with contextlib.closing(make_vector_env(config, seed=env_seed)) as env:
            act = self._act(mode, env.observation_space, env.action_space)
        return video_file.record(self.trained.config.env, act, path, seed=env_seed, clip=clip)

    def _act(self, mode: str, observation_space: Any, action_space: Any) -> Act:
        config = self.trained.config
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network = build_network(
            observation_space,
            action_space,
            config.network,
            seed=0,
            normalize_observation=config.env.normalize_observation,
            normalize_reward=config.env.normalize_reward,
        ).to(device)
        flat = FlatParameters(network, buffers=network.statistics)
        if flat.layout_hash != layout_hash(self.trained.layout):
            raise UserError(
                "describes another network than the checkpoints hold",
                file=self.trained.folder.config,
                field="network",
            )
        flat.data.copy_(self.snapshot.params)
        # the same arithmetic as in training, so that the policy is the one that was trained
        dtype = choose_precision(config.network.precision, network, device)
        module = Model(network, flat, dtype).module
        action_seed = evaluation_seed(self.seed, stream=1)
        return actor(module, greedy=mode == "greedy", seed=action_seed, device=device)


def _result(
    trained: TrainedRun, snapshot: Snapshot, mode: str, games: Games, seconds: float
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
        "human_normalized": human_normalized(trained.config.env.id, summary.mean),
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
        trained.export()
        with open(trained.folder.path / "eval.jsonl", "a", encoding="utf-8") as file:
            file.write(line)
    except OSError as error:
        reason = error.strerror or error
        print(f"gala: warning: the result is not kept in the run folder: {reason}", file=sys.stderr)


def _show(trained: TrainedRun, snapshot: Snapshot, mode: str, clip: Clip) -> None:
    """Put the game into TensorBoard, where that is used."""
    from gala.telemetry.tensorboard import TensorBoardSink

    folder = trained.folder.path / "tensorboard"
    if not trained.config.log.tensorboard:
        return
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
    numbers = ["return", "s.e.", "min", "max", *(["human"] if human else []), "length", "update"]
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    if human:
        table.caption = "human: 0 is random play, 1 the human's score"
    for each in results:
        error = each["standard_error"]
        row = [
            _name(each["agent"]),
            each["policy"],
            f"{each['mean_return']:.2f}",
            "-" if error is None else f"{error:.2f}",
            f"{each['min_return']:g}",
            f"{each['max_return']:g}",
        ]
        if human:
            row.append(f"{each['human_normalized']:.2f}")
        table.add_row(*row, f"{each['mean_length']:.0f}", f"{each['update']:,}")
    return table


def _name(agent: AgentName) -> str:
    return "mean" if agent == "mean" else f"agent {agent}"


@contextlib.contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal's standard error; gives a function that is told of finished games."""
    console = Console(stderr=True)
    columns = (TextColumn("playing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=quiet or not console.is_terminal
    ) as bar:
        task = bar.add_task("episodes", total=total)
        yield lambda count: bar.advance(task, count)
