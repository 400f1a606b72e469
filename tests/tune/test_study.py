"""The search itself, with scripted runs: order, values, pruning, what is kept, going on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gala.errors import UserError
from gala.files.yaml import parse_yaml
from gala.run.config import from_document
from gala.tune import study as module
from gala.tune.command import result
from gala.tune.space import parse
from gala.tune.study import WARM_UP, Driver, Search, ended, load, open_study

pytest.importorskip("optuna")

Worth = Callable[[float], "float | None"]


class ScriptedRun:
    """A run whose return is that of its learning rate from the first share on."""

    started: list[ScriptedRun]

    def __init__(self, run: Path, agents: int, arguments: list[str], total_steps: int) -> None:
        self.run, self.agents, self.total_steps, self.stopped = run, agents, total_steps, False
        self.lr = float(arguments[arguments.index("--a2c.lr") + 1])
        self.looks = 0
        self.code = 0
        run.mkdir()
        (run / "config.yaml").write_text(f"a2c:\n  lr: {self.lr}\n")
        type(self).started.append(self)

    worth: Worth = staticmethod(lambda lr: 100.0 - abs(lr - 0.003))
    shares = 20

    def progress(self) -> Iterator[tuple[int, float]]:
        self.looks += 1
        value = type(self).worth(self.lr)
        if value is not None and self.looks < self.shares:
            yield self.looks, value

    @property
    def exit_code(self) -> int | None:
        return self.code if self.looks >= self.shares else None

    def value(self) -> float | None:
        return type(self).worth(self.lr)

    def last_words(self) -> str:
        return "its last words"

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> type[ScriptedRun]:
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    return type("Run", (ScriptedRun,), {"started": []})


@pytest.fixture
def search(tmp_path: Path) -> Search:
    made = Search(
        folder=tmp_path / "search", agents=2, parameters=(parse("a2c.lr=1e-4..1e-2:log"),)
    )
    config = from_document(parse_yaml("{a2c: {lr: 3e-3}, total_steps: 500}", "x.yaml"))
    made.begin(config)
    return made


def drive(search: Search, runs: type[ScriptedRun], trials: int, jobs: int = 1) -> list[str]:
    told: list[str] = []
    study = open_study(search, seed=1, jobs=jobs)
    Driver(search, study, told.append, start=runs).run(trials, jobs)
    return told


def test_the_first_trial_is_the_experiment_as_it_is(
    search: Search, runs: type[ScriptedRun]
) -> None:
    told = drive(search, runs, 3)
    assert [run.lr for run in runs.started][0] == 0.003
    assert all(1e-4 <= run.lr <= 1e-2 for run in runs.started) and len(told) == 3
    assert told[0] == "trial 0: 100 | a2c.lr 0.003"
    assert (runs.started[0].agents, runs.started[0].total_steps) == (2, 500)
    assert all(run.stopped for run in runs.started)


def test_the_best_is_kept_as_an_experiment(search: Search, runs: type[ScriptedRun]) -> None:
    runs.worth = staticmethod(lambda lr: lr)  # larger is better
    drive(search, runs, 5)
    best = max(runs.started, key=lambda run: run.lr)
    text = search.best.read_text()
    assert text.startswith(f"# trial {best.run.name[-1]} of gala tune: {best.lr:g}, mean over")
    assert text.endswith(f"lr: {best.lr}\n")
    found = result(search, open_study(search, 1))
    assert found["best"]["value"] == best.lr and len(found["trials"]) == 5


def test_what_is_worse_than_the_median_is_given_up(search: Search, runs: type[ScriptedRun]) -> None:
    values = [*[50.0] * WARM_UP, 10.0, 60.0]
    runs.worth = staticmethod(lambda lr: values[len(runs.started) - 1])
    told = drive(search, runs, WARM_UP + 2)
    states = [trial.state.name for trial in open_study(search, 1).trials]
    assert states == ["COMPLETE"] * WARM_UP + ["PRUNED", "COMPLETE"]
    bad = runs.started[WARM_UP]
    assert bad.looks == WARM_UP and bad.stopped  # not before the warm-up is over
    assert f"given up after {WARM_UP} of 20 shares" in told[WARM_UP]
    assert result(search, open_study(search, 1))["best"]["trial"] == WARM_UP + 1


def test_nothing_is_given_up_where_that_is_not_wanted(
    tmp_path: Path, runs: type[ScriptedRun], search: Search
) -> None:
    plain = Search(folder=tmp_path / "plain", agents=1, parameters=search.parameters, prune=False)
    plain.begin(search.read({}))
    runs.worth = staticmethod(lambda lr: -float(len(runs.started)))
    drive(plain, runs, WARM_UP + 2)
    assert {trial.state.name for trial in open_study(plain, 1).trials} == {"COMPLETE"}


def test_jobs_run_beside_one_another(search: Search, runs: type[ScriptedRun]) -> None:
    most = 0

    class Watched(runs):  # type: ignore[valid-type, misc]
        def progress(self) -> Iterator[tuple[int, float]]:
            nonlocal most
            most = max(most, sum(not run.stopped for run in runs.started))
            return super().progress()

    drive(search, Watched, 4, jobs=2)
    assert most == 2 and len(runs.started) == 4


def test_a_search_goes_on_where_it_was_cut_short(search: Search, runs: type[ScriptedRun]) -> None:
    class Cut(runs):  # type: ignore[valid-type, misc]
        def progress(self) -> Iterator[tuple[int, float]]:
            if self.run.name == "trial_001":
                raise KeyboardInterrupt
            return super().progress()

    with pytest.raises(KeyboardInterrupt):
        drive(search, Cut, 3)
    cut = runs.started[1]
    assert cut.stopped and len(ended(open_study(search, 1))) == 1
    drive(load(search.folder), runs, 3)
    assert [run.run.name for run in runs.started[2:]] == ["trial_002", "trial_003"]
    assert runs.started[2].lr == cut.lr  # tried again
    drive(search, runs, 3)
    assert len(runs.started) == 4  # there is nothing left to do


def test_a_crash_costs_one_trial(search: Search, runs: type[ScriptedRun]) -> None:
    class Crashes(runs):  # type: ignore[valid-type, misc]
        @property
        def exit_code(self) -> int | None:
            code = super().exit_code
            return 1 if code is not None and self.run.name == "trial_001" else code

    told = drive(search, Crashes, 3)
    assert told[1].startswith("trial 1: no value (its last words) | a2c.lr")
    assert [t.state.name for t in open_study(search, 1).trials] == ["COMPLETE", "FAIL", "COMPLETE"]


def test_runs_without_any_value_end_the_search(search: Search, runs: type[ScriptedRun]) -> None:
    runs.worth = staticmethod(lambda lr: None)
    with pytest.raises(UserError, match="no run has a value so far, the last for this: its agents"):
        drive(search, runs, 20)
    assert len(runs.started) == WARM_UP


def test_a_run_that_is_refused_ends_the_search(search: Search, runs: type[ScriptedRun]) -> None:
    class Refused(runs):  # type: ignore[valid-type, misc]
        @property
        def exit_code(self) -> int | None:
            return 2

    with pytest.raises(UserError, match="trial_000: a run was refused: its last words"):
        drive(search, Refused, 3)


def test_values_that_contradict_one_another_cost_no_run(
    tmp_path: Path, runs: type[ScriptedRun]
) -> None:
    made = Search(
        folder=tmp_path / "s",
        agents=1,
        parameters=(parse("ppo.minibatches=3,4"),),
    )
    text = "{algorithm: ppo, ppo: {n_step: 8, minibatches: 4}, env: {num_envs: 1}}"
    made.begin(from_document(parse_yaml(text, "x.yaml")))
    told: list[str] = []
    study = open_study(made, seed=1)
    study.enqueue_trial({"ppo.minibatches": "3"})
    study.enqueue_trial({"ppo.minibatches": "3"})
    Driver(made, study, told.append, start=runs).run(2, 1)
    assert "must divide n_step x num_envs = 8, got 3" in told[0] and runs.started == []


# -- the folder


def test_a_folder_holds_one_search(search: Search) -> None:
    with pytest.raises(UserError, match="there is a search already .--resume"):
        search.begin(search.read({}))
    assert load(search.folder) == search


def test_a_value_that_would_be_refused_is_told_at_once(tmp_path: Path) -> None:
    config = from_document(parse_yaml("{}", "x.yaml"))
    for text, words in (
        ("a2c.gae_lambda=0.5..2", "--a2c.gae-lambda: .* got 2"),
        ("a2c.lx=1..2", "--a2c.lx: unknown option .did you mean '--a2c.lr'"),
        ("a2c.optimizer=adam,sdg", "--a2c.optimizer"),
    ):
        made = Search(folder=tmp_path / "s", agents=1, parameters=(parse(text),))
        with pytest.raises(UserError, match=words):
            made.begin(config)
        assert not made.folder.exists()


@pytest.mark.parametrize("content", [None, "", "[]", '{"agents": 1}', '{"agents": "x"}'])
def test_a_damaged_folder(tmp_path: Path, content: Any) -> None:
    if content is not None:
        (tmp_path / "tune.json").write_text(content)
    with pytest.raises(UserError, match="no search is kept here|is damaged"):
        load(tmp_path)
