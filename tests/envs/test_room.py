"""Numbers of environments that no memory holds are refused, with the memory, before it is gone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gala.config.sections import EnvConfig
from gala.envs import room
from gala.envs.making import make_vector
from gala.errors import UserError

GIB = 2**30


def remaining(monkeypatch: pytest.MonkeyPatch, *free: int | None) -> None:
    """What is free, at one look after the other; the last for ever."""
    looks: Iterator[int | None] = iter(free)
    monkeypatch.setattr(room, "free_memory", lambda: next(looks, free[-1]))


@pytest.mark.parametrize("workers", ["vector", "sync", "async"])
def test_a_billion_is_refused_before_one_is_made(workers: str) -> None:
    config = EnvConfig(num_envs=10**9 * 1000, workers=workers)  # more than any host has
    rule = r"^--env.num-envs: 1,000,000,000,000 environments .* need at least 238,418.6 GiB of "
    with pytest.raises(UserError, match=rule):
        room.require_room_of_envs(config)


def test_agents_of_a_host_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    remaining(monkeypatch, 1000 * room.LEAST)
    room.require_room_of_envs(EnvConfig(num_envs=250), agents=4)
    with pytest.raises(UserError, match="1,004 environments .*less than 1,000"):
        room.require_room_of_envs(EnvConfig(num_envs=251), agents=4)


@pytest.mark.parametrize("workers", ["sync", "async"])
def test_large_ones_are_refused_while_they_are_made(
    monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    remaining(monkeypatch, 8 * GIB, 6 * GIB, 4 * GIB, 2 * GIB)
    with pytest.raises(UserError) as refused:
        make_vector(EnvConfig(num_envs=8, workers=workers))
    told = str(refused.value)
    assert "8 environments of 2,097,152.0 KiB need 16.0 GiB of memory, 8.0 GiB are free" in told


@pytest.mark.parametrize(
    "free",
    [
        (8 * GIB, 5 * GIB),  # somebody else may have taken it
        (8 * GIB, 8 * GIB, 4 * GIB, 4 * GIB),  # little is missing for the rest
        (None,),
    ],
)
def test_what_fits_is_made(monkeypatch: pytest.MonkeyPatch, free: tuple[int | None, ...]) -> None:
    remaining(monkeypatch, *free)
    made = list(room.Makers(lambda: pytest.fail("not called"), 4))
    assert len(made) == 4


def test_makers_are_a_sequence() -> None:
    makers = room.Makers(lambda: pytest.fail("not called"), 10**12)
    assert len(makers) == 10**12 and len(makers[1:5]) == 4
    assert makers[0] is makers[-1]
    with pytest.raises(IndexError):
        makers[10**12]
