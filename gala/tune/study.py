"""A search that is kept in a folder, goes on from it, and leaves ``best.yaml`` there.

``tune.json`` says what is searched, ``base.yaml`` is the experiment, ``study.journal`` Optuna's own
journal of all trials, ``trial_NNN`` the run of each. One thread starts, watches and ends all runs.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gala.config.options import parse_options
from gala.config.tree import Config
from gala.errors import EXIT_BAD_INPUT, EXIT_OK, UserError
from gala.files import commands
from gala.files.atomic import write_atomic
from gala.files.yaml import parse_yaml
from gala.run.config import from_document
from gala.run.request import read_request
from gala.tune.space import Parameter, parse
from gala.tune.trial import SHARES, WatchedRun

OBJECTIVE = "mean over agents of their last 100 raw returns, after total_steps of all agents"

WARM_UP = 4
"""Shares of a run before it may be given up, and finished trials before any is."""

EVERY_S = 0.2
"""Between two looks at the runs."""

REASON, VALUE = "reason", "value"


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched.

    Attributes:
        folder: where it is kept.
        agents: of each run.
        parameters: what is tried.
        prune: whether runs are given up that are worse than the median of the others so far.
    """

    folder: Path
    agents: int
    parameters: tuple[Parameter, ...]
    prune: bool = True

    @property
    def base(self) -> Path:
        """The experiment whose options are tried."""
        return self.folder / "base.yaml"

    @property
    def best(self) -> Path:
        """The configuration of the best trial, for ``gala train``."""
        return self.folder / "best.yaml"

    def begin(self, config: Config) -> None:
        """Make the folder.

        Raises:
            UserError: there is such a search, or an option or a value is refused.
        """
        if (self.folder / "tune.json").exists():
            hint = f"--resume {self.folder} goes on with it; --dir names another folder"
            raise UserError("there is a search already", file=self.folder, hint=hint)
        base = config.to_yaml()
        document = parse_yaml(base, str(self.base))
        for each in self.parameters:
            for text in each.ends:  # what contradicts other options is another trial's luck
                _, options = parse_options(type(config), each.option(text))
                from_document(document, options)
        told = {
            "agents": self.agents,
            "parameters": [str(each) for each in self.parameters],
            "prune": self.prune,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.base, base)
        write_atomic(self.folder / "tune.json", json.dumps(told) + "\n")

    def arguments(self, values: Mapping[str, str]) -> list[str]:
        """The command line of a trial, without the number of agents."""
        options = [each.option(values[each.name]) for each in self.parameters if values]
        return [str(self.base), *itertools.chain.from_iterable(options)]

    def read(self, values: Mapping[str, str]) -> Config:
        """The configuration of a trial; without values that of the experiment.

        Raises:
            UserError: they contradict one another.
        """
        return read_request(self.arguments(values), agents=self.agents).config


def load(folder: Path) -> Search:
    """The search of a folder.

    Raises:
        UserError: there is none, or what says so is damaged.
    """
    path = folder / "tune.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Search(
            folder=folder,
            agents=int(told["agents"]),
            parameters=tuple(parse(text) for text in told["parameters"]),
            prune=bool(told["prune"]),
        )
    except FileNotFoundError:
        raise UserError("no search is kept here", file=folder) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"is damaged: {error}", file=path) from None


def require_optuna() -> Any:
    """Optuna, quiet.

    Raises:
        UserError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        hint = commands.install("tune")
        raise UserError("gala tune needs optuna", hint=hint) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def open_study(search: Search, seed: int, jobs: int = 1) -> Any:
    """The trials of before, and what chooses the next ones.

    Args:
        search: what is searched.
        seed: of the choices.
        jobs: runs beside one another, whose choices should differ.
    """
    optuna = require_optuna()
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(search.folder / "study.journal")))
    pruner = optuna.pruners.MedianPruner(n_startup_trials=WARM_UP, n_warmup_steps=WARM_UP)
    study = optuna.create_study(
        study_name="gala",
        storage=storage,
        direction="maximize",
        load_if_exists=True,
        pruner=pruner if search.prune else optuna.pruners.NopPruner(),
    )
    # with the seed alone a search that goes on would draw again what it began with
    study.sampler = optuna.samplers.TPESampler(
        seed=(seed + len(study.trials)) % 2**32, constant_liar=jobs > 1
    )
    return study


class Driver:
    """Starts, watches and ends the runs of a search.

    Args:
        search: what is searched; its folder is there.
        study: see :func:`open_study`.
        tell: is told a line about each trial that ends.
        start: begins a run, see :class:`~gala.tune.trial.WatchedRun`.
    """

    def __init__(
        self,
        search: Search,
        study: Any,
        tell: Callable[[str], object],
        start: Callable[..., WatchedRun] = WatchedRun,
    ) -> None:
        self._search, self._study, self._tell, self._start = search, study, tell, start
        self._running: dict[int, tuple[Any, WatchedRun]] = {}

    def run(self, trials: int, jobs: int) -> None:
        """Go on until ``trials`` have ended, ``jobs`` at a time.

        Raises:
            UserError: a run was refused, for what no choice of values would change.
        """
        self._take_up()
        try:
            while self._running or self._ended() < trials:
                while len(self._running) < jobs and self._ended() + len(self._running) < trials:
                    self._begin()
                for number in list(self._running):
                    self._look(number)
                self._require_values()
                time.sleep(EVERY_S)
        finally:
            for _, run in self._running.values():
                run.stop()

    def _take_up(self) -> None:
        """First the experiment as it is; values whose runs were cut short are tried again."""
        if not self._study.trials:
            config = self._search.read({})
            own = {each.name: each.current(config) for each in self._search.parameters}
            self._study.enqueue_trial({k: v for k, v in own.items() if v is not None})
        for trial in self._study.trials:
            if trial.state.name == "RUNNING":
                self._study.tell(trial.number, state=_state("FAIL"))
                self._study.enqueue_trial(trial.params)

    def _ended(self) -> int:
        return len(ended(self._study))

    def _require_values(self) -> None:
        found = ended(self._study)
        if len(found) >= WARM_UP and all(trial.state.name == "FAIL" for trial in found):
            rule = f"no run has a value so far, the last for this: {found[-1].user_attrs[REASON]}"
            raise UserError(rule, file=self._search.folder)

    def _begin(self) -> None:
        trial = self._study.ask()
        values = {each.name: each.suggest(trial) for each in self._search.parameters}
        try:
            config = self._search.read(values)
        except UserError as error:  # values that contradict one another
            self._end(trial, "FAIL", reason=str(error))
            return
        run = self._start(
            self.folder_of(trial.number),
            self._search.agents,
            self._search.arguments(values),
            config.total_steps,
        )
        self._running[trial.number] = trial, run

    def _look(self, number: int) -> None:
        trial, run = self._running[number]
        code = run.exit_code
        for share, so_far in run.progress():
            trial.report(so_far, share)
            if code is None and trial.should_prune():
                self._running.pop(number)
                run.stop()
                reason = f"given up after {share} of {SHARES} shares of its steps"
                self._end(trial, "PRUNED", value=so_far, reason=reason)
                return
        if code is None:
            return
        self._running.pop(number)
        words = run.last_words()
        run.stop()
        if code == EXIT_BAD_INPUT:
            raise UserError(f"a run was refused: {words}", file=run.run)
        value = run.value() if code == EXIT_OK else None
        if value is None:
            reason = words if code != EXIT_OK else "its agents finished no game, or were stopped"
            self._end(trial, "FAIL", reason=reason)
        else:
            self._end(trial, "COMPLETE", value=value)

    def _end(
        self, trial: Any, state: str, *, value: float | None = None, reason: str | None = None
    ) -> None:
        if reason is not None:
            trial.set_user_attr(REASON, reason)
        if state == "FAIL":
            self._study.tell(trial, state=_state(state))
        elif state == "PRUNED":
            trial.set_user_attr(VALUE, value)
            self._study.tell(trial, state=_state(state))
        else:
            self._study.tell(trial, value)
            if self._study.best_trial.number == trial.number:
                self._keep(trial.number, value)
        told = f"{value:.4g}" if value is not None else "no value"
        self._tell(
            f"trial {trial.number}: {told}{f' ({reason})' if reason else ''} | "
            + ", ".join(f"{name} {_short(each)}" for name, each in trial.params.items())
        )

    def folder_of(self, number: int) -> Path:
        """The run of a trial."""
        return self._search.folder / f"trial_{number:03d}"

    def _keep(self, number: int, value: float | None) -> None:
        """Write the best trial's resolved configuration."""
        config = (self.folder_of(number) / "config.yaml").read_text(encoding="utf-8")
        head = f"# trial {number} of gala tune: {value:g}, {OBJECTIVE}\n"
        write_atomic(self._search.best, head + config)


def ended(study: Any) -> Sequence[Any]:
    """The trials that came to an end of their own, by number."""
    own = {"COMPLETE", "PRUNED"}
    return [
        trial
        for trial in study.trials
        if trial.state.name in own or (trial.state.name == "FAIL" and REASON in trial.user_attrs)
    ]


def _state(name: str) -> Any:
    return getattr(require_optuna().trial.TrialState, name)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
