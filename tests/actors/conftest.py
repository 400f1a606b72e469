"""Crews of real processes for the tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from with_actors import WithActors


@pytest.fixture
def with_actors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., WithActors]]:
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    )
    made: list[WithActors] = []

    def make(actors: int, **options: object) -> WithActors:
        made.append(WithActors(actors, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.source.close()
        assert each.processes == [], "actors are left"
