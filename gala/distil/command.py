"""The command line of ``gala distil``: one student from several trained runs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from gala.config.arguments import Parser, not_negative, positive, whole
from gala.config.options import parse_options
from gala.distil.lesson import Lesson, require_own
from gala.errors import UserError
from gala.run.config import config_type


def main(arguments: Sequence[str]) -> int:
    """Run ``gala distil``; returns its exit code."""
    parser = Parser(
        prog="gala distil",
        usage="gala distil RUN ... --into FOLDER [options of this command or of gala train]",
        description="Teach one student what several trained runs do (Actor-Mimic). Of the options "
        "of gala train, those of the student may be given: --network.hidden '[256]', --a2c.lr "
        "1e-3, --total-steps 500_000.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--into", type=Path, required=True, help="the student's run folder, a new one"
    )
    parser.add_argument(
        "--temperature",
        type=positive,
        help="of the teachers' distributions, below 1 nearer to their best action (1; 0.01 for "
        "teachers of values, r2d2)",
    )
    parser.add_argument(
        "--features",
        type=not_negative,
        default=0.0,
        metavar="COEF",
        help="also learn the teachers' features: weight of their squared error (0)",
    )
    parser.add_argument(
        "--episodes", type=whole, default=30, help="games of each policy at the end (30); 0: none"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    given, rest = parser.parse_known_args(arguments)
    runs, options = parse_options(config_type(), rest)
    if not runs:
        raise UserError("needs the run folders of teachers", hint="gala distil --help")
    require_own(options)
    lesson = Lesson(
        teachers=tuple(Path(run) for run in runs),
        into=given.into,
        temperature=given.temperature,
        features=given.features,
        episodes=given.episodes,
        options=tuple(options),
        command=shlex.join(["gala", "distil", *arguments]),
    )
    return _distil(lesson, as_json=given.json)


def _distil(lesson: Lesson, *, as_json: bool) -> int:
    from gala.distil.scores import scores, show  # seconds of torch, which a mistake need not wait
    from gala.distil.student import distil

    code, teachers = distil(lesson, quiet=as_json)
    found = []
    if teachers and lesson.episodes:
        seed = dict(lesson.options).get("seed", 0)
        found = scores(lesson.into, teachers, episodes=lesson.episodes, seed=seed)
        if not as_json:
            show(found, lesson.episodes)
    if as_json:
        told = {"run": str(lesson.into), "teachers": [str(path) for path in lesson.teachers]}
        print(json.dumps({**told, "episodes": lesson.episodes, "results": found}))
    return code
