"""What ``gala tune`` does: read what is searched, drive it, tell what was found."""

from __future__ import annotations

import itertools
import json as encoder
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from gala.config.arguments import Parser, at_least_one
from gala.config.options import parse_options
from gala.errors import EXIT_CRASH, EXIT_OK, UserError
from gala.files import commands
from gala.files.screen import Screen
from gala.run.folder import RUNS
from gala.run.request import LAUNCH_OPTIONS, configured_agents, read_request
from gala.tune.space import space_of
from gala.tune.study import (
    OBJECTIVE,
    REASON,
    VALUE,
    Driver,
    Search,
    ended,
    load,
    open_study,
    require_optuna,
)


def main(arguments: Sequence[str]) -> int:
    """Run ``gala tune``; returns its exit code."""
    parser = Parser(
        prog="gala tune",
        usage="gala tune EXPERIMENT [options of this command or of gala train]",
        description="Search for options by short runs. Whatever else is given are options of gala "
        "train, for every run: --total-steps 200_000.",
        allow_abbrev=False,
    )
    parser.add_argument("--trials", type=at_least_one, default=20, help="runs in all (20)")
    parser.add_argument("--jobs", type=at_least_one, default=1, help="runs at a time (1)")
    parser.add_argument("--agents", type=at_least_one, help="of each run")
    parser.add_argument(
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=WHAT",
        help="a2c.lr=1e-4..1e-2:log, a2c.n_step=5..40 or a2c.optimizer=adam,rmsprop; as often as "
        "wanted, instead of what the algorithm states",
    )
    parser.add_argument("--dir", type=Path, help="folder of the search (runs/tune-NAME)")
    parser.add_argument("--resume", type=Path, help="folder of a search to go on with")
    parser.add_argument("--no-prune", action="store_true", help="let bad runs end, too")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options, rest = parser.parse_known_args(arguments)
    require_optuna()
    if options.resume is not None:
        others = [options.agents, options.dir, *options.parameter, *rest]
        if any(each is not None for each in others) or options.no_prune:
            rule = "takes what is searched from the folder"
            hint = "--trials, --jobs and --json may stand beside it"
            raise UserError(rule, field="--resume", hint=hint)
        search = load(options.resume)
    else:
        search = _begin(options, rest)
    return tune(search, trials=options.trials, jobs=options.jobs, json=options.json)


def tune(search: Search, *, trials: int, jobs: int, json: bool) -> int:
    """Go on with a search until ``trials`` have ended; returns an exit code.

    Raises:
        UserError: a run is refused, or none has a value.
    """
    study = open_study(search, search.read({}).seed, jobs)
    print(f"tune: {OBJECTIVE}", file=sys.stderr)
    print(f"      {len(ended(study))} of {trials} trials; {search.folder}", file=sys.stderr)
    for each in search.parameters:
        print(f"      {each}", file=sys.stderr)
    try:
        Driver(search, study, _tell).run(trials, jobs)
    except KeyboardInterrupt:
        print(f"go on:     {commands.gala('tune', '--resume', search.folder)}", file=sys.stderr)
        raise
    found = result(search, study)
    if json:
        print(encoder.dumps(found))
    else:
        _show(found, search)
    return EXIT_OK if found["best"] is not None else EXIT_CRASH


def result(search: Search, study: Any) -> dict[str, Any]:
    """What ``--json`` prints."""
    trials = [
        {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            "value": trial.value if trial.state.name == "COMPLETE" else trial.user_attrs.get(VALUE),
            "reason": trial.user_attrs.get(REASON),
            "parameters": dict(trial.params),
        }
        for trial in ended(study)
    ]
    whole = [each for each in trials if each["state"] == "complete"]
    return {
        "folder": str(search.folder),
        "objective": OBJECTIVE,
        "agents": search.agents,
        "best": max(whole, key=lambda each: each["value"], default=None),
        "trials": trials,
    }


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _begin(options: Any, rest: Sequence[str]) -> Search:
    """A new search of what the command line says."""
    agents = options.agents or configured_agents(rest)
    request = read_request(rest, agents=agents)
    positional, given = parse_options(type(request.config), rest, LAUNCH_OPTIONS)
    for name, _ in given:
        if name in LAUNCH_OPTIONS:
            flag = f"--{name.replace('_', '-')}"
            rule = "is of one run, and a search makes many"
            raise UserError(rule, field=flag, hint="leave it out")
    name = Path(positional[0]).stem if positional else request.config.algorithm
    search = Search(
        folder=options.dir or _free(f"tune-{name}"),
        agents=agents,
        parameters=space_of(request.config, options.parameter),
        prune=not options.no_prune,
    )
    search.begin(request.config)
    return search


def _free(name: str) -> Path:
    names = itertools.chain([name], (f"{name}-{k}" for k in itertools.count(2)))
    return next(RUNS / each for each in names if not (RUNS / each).exists())


def _show(found: dict[str, Any], search: Search) -> None:
    console = Screen(highlight=False)
    if not console.is_terminal:
        console = Screen(highlight=False, width=200)
    table = Table(title="Trials, the best first", title_justify="left")
    names = [each.name for each in search.parameters]
    for name in ("trial", "state", "value", *names):
        table.add_column(name, justify="left" if name == "state" else "right", overflow="fold")
    order = {"complete": 0, "pruned": 1, "fail": 2}
    for each in sorted(
        found["trials"], key=lambda each: (order[each["state"]], -(each["value"] or 0.0))
    ):
        value = "-" if each["value"] is None else f"{each['value']:.2f}"
        chosen = (each["parameters"].get(name, "-") for name in names)
        cells = (f"{x:.4g}" if isinstance(x, float) else str(x) for x in chosen)
        table.add_row(str(each["trial"]), each["state"], value, *cells)
    console.print(table)
    if found["best"] is None:
        console.print("no run has a value")
        return
    print(f"best:      {search.best}, trial {found['best']['trial']}; of one seed: try others")
    print(f"train:     {commands.gala('train', search.best, '--seed', 2)}")
    more = ("--trials", 2 * len(found["trials"]))
    print(f"go on:     {commands.gala('tune', '--resume', search.folder, *more)}")
