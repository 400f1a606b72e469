"""What the person at the terminal sees: the opening block, progress, and the summary.

Everything shown comes from the run folder, so the numbers are those that are on file. On a terminal
the progress is a live table, otherwise one plain line every few seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.table import Table

from gala.files import commands, standard_streams
from gala.files.screen import Screen
from gala.telemetry.reader import RunReader
from gala.telemetry.standing import SILENT_S, Standing, standing_of, without

Record = Mapping[str, Any]

LEAVE_WAIT_S = 4.0
"""Longest wait for the last records of the other agents before the summary."""

STARVES = 0.2
"""Share of its time from which a side that waits is told of."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The run as a whole, at one moment.

    Attributes:
        steps: environment steps of all agents.
        total_steps: where the run ends.
        sps: steps per second of each agent, by rank.
        seconds_left: at the mean speed so far; None before the first record.
        episodic_return: mean over agents of the mean return of their last 100 games.
        staleness: largest updates without a mix.
        divergence: ``||X - Xbar||_F``.
        epsilon_ratio: divergence over its bound.
        relative: largest ``||x_i - mean|| / ||mean||``.
        refused: messages refused.
        measured: agents that the newest measurement of the ball found; None before the first.
        beta: contraction per mix of these; None where no bound applies.
        model: the bound is that of a model, and no certificate of what the agents did.
        sketch_error: relative standard error of the distances.
        lag: mean policy lag in changes of the parameters; None where the learner acts.
        learner_idle: share of their time that learners wait for actors, mean; None likewise.
        actors_idle: share of their time that actors wait for their learner.
        returns: lowest and highest return of agents that are independent, which have no mean.
        left_out: why agents are in no mean, by rank.
    """

    steps: int
    total_steps: int
    sps: dict[int, float]
    seconds_left: float | None
    episodic_return: float | None
    staleness: int | None
    divergence: float | None
    epsilon_ratio: float | None
    relative: float | None
    refused: int
    measured: int | None = None
    beta: float | None = None
    model: bool = False
    sketch_error: float | None = None
    lag: float | None = None
    learner_idle: float | None = None
    actors_idle: float | None = None
    returns: tuple[float, float] | None = None
    left_out: Mapping[int, str] = field(default_factory=dict)

    @property
    def percent(self) -> float:
        """Done, in percent."""
        return min(100.0 * self.steps / self.total_steps, 100.0)


def progress_of(
    latest: Mapping[int, Record],
    total_steps: int,
    *,
    since_steps: int,
    seconds: float,
    standing: Standing | None = None,
    independent: bool = False,
) -> Progress:
    """Sum up the newest record of each agent; who is gone counts with its steps alone.

    Args:
        latest: newest values by rank.
        total_steps: where the run ends.
        since_steps: steps of all agents when this process began.
        seconds: since then.
        standing: of the agents; None: all of them count.
        independent: the agents never gossip, and have no mean.
    """
    left_out = {} if standing is None else standing.left_out
    gone = () if standing is None else standing.gone
    here = _Newest({rank: record for rank, record in latest.items() if rank not in gone})
    counted = _Newest({rank: record for rank, record in latest.items() if rank not in left_out})
    steps = sum(int(record.get("step") or 0) for record in latest.values())
    done, left = steps - since_steps, max(total_steps - steps, 0)
    staleness, measured = here.largest("gossip/staleness_max"), here.values("divergence/agents")
    returns = counted.values("charts/episodic_return")
    alone = independent and len(latest) > 1 and bool(returns)
    return Progress(
        steps=steps,
        total_steps=total_steps,
        sps={rank: float(r.get("charts/SPS") or 0.0) for rank, r in sorted(here.records.items())},
        seconds_left=left * seconds / done if done > 0 else None,
        episodic_return=None if alone else counted.mean("charts/episodic_return"),
        staleness=int(staleness) if staleness is not None else None,
        divergence=here.largest("divergence/total"),
        epsilon_ratio=here.largest("divergence/epsilon_ratio"),
        relative=here.largest("divergence/relative"),
        refused=int(sum(here.values("gossip/messages_refused"))),
        measured=int(min(measured)) if measured else None,
        beta=here.largest("divergence/beta"),
        model=0.0 in here.values("divergence/proven"),
        sketch_error=here.largest("divergence/sketch_error"),
        lag=here.mean("policy/lag") if here.values("actors/alive") else None,
        learner_idle=here.mean("actors/learner_idle"),
        actors_idle=here.mean("actors/idle"),
        returns=(min(returns), max(returns)) if alone else None,
        left_out=left_out,
    )


@dataclass(frozen=True)
class _Newest:
    """The newest records of some agents, by rank, and what they have of a metric."""

    records: Mapping[int, Record]

    def values(self, name: str) -> list[float]:
        found = (record.get(name) for record in self.records.values())
        return [value for value in found if value is not None]

    def largest(self, name: str) -> float | None:
        return max(self.values(name), default=None)

    def mean(self, name: str) -> float | None:
        found = self.values(name)
        return sum(found) / len(found) if found else None


def plain_line(p: Progress) -> str:
    """One line of progress."""
    each = " ".join(f"{value:,.0f}" for value in p.sps.values()) if len(p.sps) <= 8 else ""
    parts = [
        f"{p.percent:5.1f} %  {p.steps:,} steps",
        f"{clock(p.seconds_left)} left",
        f"{sum(p.sps.values()):,.0f} steps/s" + (f" ({each})" if len(p.sps) > 1 and each else ""),
        f"return {_return(p)}",
    ]
    if p.staleness is not None:
        parts.append(f"staleness <= {p.staleness}")
    if p.divergence is not None and len(p.sps) > 1:
        parts.append(f"divergence {p.divergence:.3g}{plus_minus(p.sketch_error)}{_of_bound(p)}")
    if p.refused:
        parts.append(f"{p.refused} messages refused")
    if p.lag is not None:
        parts.append(f"policy lag {p.lag:.1f}")
    if p.left_out:
        parts.append(f"without {without(p.left_out)}")
    if (waits := who_starves(p)) is not None:
        parts.append(waits)
    return " | ".join(parts)


def who_starves(p: Progress) -> str | None:
    """Which side waits for the other where actors are elsewhere; None: neither does much."""
    learner, actors = p.learner_idle or 0.0, p.actors_idle or 0.0
    if max(learner, actors) < STARVES:
        return None
    if learner >= actors:
        return f"learner waits {learner:.0%} for actors"
    return f"actors wait {actors:.0%} for the learner"


def plus_minus(error: float | None, sign: str = "+-") -> str:
    """Standard error of distances from sketches, such as " +- 4 %"; empty where not known."""
    return "" if error is None else f" {sign} {100 * error:.2g} %"


def _of_bound(p: Progress) -> str:
    """What the divergence is measured by; fewer agents make another graph, hence another beta."""
    if p.epsilon_ratio is None:
        return " (no bound applies)" if p.measured is not None else ""
    text = f" = {p.epsilon_ratio:.2g} x {'model bound' if p.model else 'bound'}"
    if p.measured is not None and p.measured < len(p.sps):
        text += f" of {p.measured} agents" + (f", beta {p.beta:.3f}" if p.beta is not None else "")
    return text


class Console:
    """The display of one run, on rank 0.

    Args:
        reader: of the run folder; polled by the caller.
        run_dir: the run folder, as the user named it.
        opening: lines of the opening block.
        agents: number of agents.
        total_steps: where the run ends.
        every_s: seconds between two plain lines.

    Attributes:
        opening: as given.
    """

    def __init__(
        self,
        reader: RunReader,
        *,
        run_dir: Path,
        opening: list[str],
        agents: int,
        total_steps: int,
        every_s: float,
    ) -> None:
        self._reader, self._run_dir, self.opening = reader, run_dir, opening
        self._agents, self._total_steps, self._every_s = agents, total_steps, every_s
        screen = Screen(highlight=False)
        # a log file is not 80 columns wide
        self._screen = screen if screen.is_terminal else Screen(highlight=False, width=120)
        self._live: Live | None = None
        self._ends = False
        self._started = self._shown = time.monotonic()
        self._since_steps = 0
        self._independent = reader.meta.get("coupling") == "none"

    def start(self) -> None:
        """Print the opening block."""
        self._since_steps = sum(int(r.get("step") or 0) for r in self._reader.latest.values())
        self._started = time.monotonic()
        self._shown = self._started - self._every_s / 2
        for line in self.opening:
            self._print(line)
        if self._screen.is_terminal:
            self._live = Live(console=self._screen, refresh_per_second=4, transient=True)
            self._live.start()

    def show(self) -> None:
        """Show the newest records; plain lines at most every ``every_s`` seconds."""
        if self._live is not None:
            self._live.update(self._table())
            self._require_shown()
            return
        now = time.monotonic()
        if now - self._shown >= self._every_s:
            self._shown = now
            self._print(plain_line(self._progress()))

    def say(self, text: str) -> None:
        """Print a line that should not be missed."""
        self._print(text)

    def finish(self, *, stopped: bool, lost: Sequence[str] = (), unsaved: bool = False) -> None:
        """Print the summary, once the other agents have written their last records.

        Args:
            stopped: before the end.
            lost: what could not be written, a line each.
            unsaved: the newest parameters among it: there is nothing to go on with.
        """
        self._ends = True
        deadline = time.monotonic() + LEAVE_WAIT_S
        while not self._all_left() and time.monotonic() < deadline:
            time.sleep(0.02)
            self._reader.poll()
        if self._live is not None:
            self._live.stop()
            self._live = None
        p = self._progress()
        seconds = time.monotonic() - self._started
        done = p.steps - self._since_steps
        word = "stopped" if stopped else "finished"
        self._print(
            f"{word} after {clock(seconds)}: {p.steps:,} of {p.total_steps:,} steps, "
            f"{done / max(seconds, 1e-9):,.0f} steps/s"
        )
        self._screen.print(self._table())
        for line in lost:
            self._print(f"lost:      {line}")
        if unsaved:
            return
        steps = None if stopped else self._total_steps
        student = "distilled" in self._reader.meta
        for line in next_commands(self._run_dir, self._agents, steps, student=student):
            self._print(line)

    def _print(self, line: str) -> None:
        self._screen.print(line, markup=False, soft_wrap=True)
        self._require_shown()

    def _require_shown(self) -> None:
        """Raise the OSError of a line that was lost; the stream itself forgives it."""
        failure = standard_streams.failure(sys.stdout)
        if failure is not None:
            raise failure

    def _progress(self) -> Progress:
        return progress_of(
            self._reader.latest,
            self._total_steps,
            since_steps=self._since_steps,
            seconds=time.monotonic() - self._started,
            standing=standing_of(self._reader, time.time(), self._expected()),
            independent=self._independent,
        )

    def _expected(self) -> range:
        """Agents that should have recorded something by now."""
        late = time.monotonic() - self._started > SILENT_S
        return range(self._agents if late or self._ends else 0)

    def _all_left(self) -> bool:
        words = self._reader.last_words
        return len(words) >= self._agents and "start" not in words.values()

    def _table(self) -> Table:
        p = self._progress()
        title = (
            f"{p.percent:.1f} %  {p.steps:,}/{p.total_steps:,} steps, {clock(p.seconds_left)} left"
        )
        waits = who_starves(p)
        title += f", {waits}" if waits is not None else ""
        table = Table(title=title, title_justify="left", show_footer=True)
        ratio = _number(p.epsilon_ratio, ".2g")
        columns: list[tuple[str, Callable[[Record], str], str]] = [
            ("steps", lambda r: _number(r.get("step"), ",d"), f"{p.steps:,}"),
            (
                "steps/s",
                lambda r: _number(r.get("charts/SPS"), ",.0f"),
                f"{sum(p.sps.values()):,.0f}",
            ),
            (
                "return",
                lambda r: _number(r.get("charts/episodic_return"), ".2f"),
                _return(p),
            ),
            ("games", lambda r: _number(r.get("charts/episodes"), ",.0f"), ""),
            ("mixes", lambda r: _number(r.get("gossip/mixes"), ",.0f"), ""),
            ("stale", lambda r: _number(r.get("gossip/staleness_max"), ".0f"), ""),
            (
                f"to mean{plus_minus(p.sketch_error)}",
                lambda r: _number(r.get("divergence/to_mean"), ".3g"),
                _number(p.divergence, ".3g"),
            ),
            (
                "of model" if p.model else "of bound",
                lambda r: _number(r.get("divergence/epsilon_ratio"), ".2g"),
                ratio,
            ),
        ]
        if p.lag is not None:
            lag = "lag", lambda r: _number(r.get("policy/lag"), ".1f"), _number(p.lag, ".1f")
            columns.append(lag)
        table.add_column("agent", footer="all")
        for name, _, footer in columns:
            table.add_column(name, justify="right", footer=footer)
        for rank in sorted({*self._reader.latest, *p.left_out}):
            record = self._reader.latest.get(rank, {})
            why = p.left_out.get(rank, "").partition(",")[0]
            table.add_row(
                f"{rank} ({why})" if why else str(rank), *(cell(record) for _, cell, _ in columns)
            )
        return table


def next_commands(
    run_dir: Path, agents: int, done_steps: int | None, *, student: bool = False
) -> list[str]:
    """The exact commands that people need next, to be copied as they stand.

    Args:
        run_dir: the run folder.
        agents: of the run.
        done_steps: steps that the run was to have and has, of which going on doubles the number;
            None where it was stopped before.
        student: it was distilled: learning from rewards begins with it, in another run.
    """
    count = ["--agents", agents] if agents > 1 else []
    more = [] if done_steps is None else ["--total-steps", 2 * done_steps]
    resume = commands.gala("train", "--resume", run_dir, *count, *more)
    if student:
        resume = commands.gala("train", run_dir / "config.yaml", "--init", run_dir)
    return [
        f"evaluate:  {commands.gala('eval', run_dir, '--episodes', 30)}",
        f"go on:     {resume}",
        f"look:      {commands.gala('dashboard', run_dir)}",
    ]


def clock(seconds: float | None) -> str:
    """``h:mm:ss`` or ``m:ss``; ``-:--`` for None."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _return(p: Progress) -> str:
    """The mean, or the range of agents that have none."""
    if p.returns is None:
        return _number(p.episodic_return, ".2f")
    return " to ".join(_number(value, ".2f") for value in p.returns)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(int(value) if form == ",d" else value, form)
