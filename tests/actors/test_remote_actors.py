"""Actors with a policy of their own at the other end of a link: what they fill, and hear."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from with_actors import DEADLINE_S, WithActors, assert_alike

from gala.actors import building
from gala.actors.worker import work
from gala.envs.wire import Gone, Kind, Link
from gala.errors import UserError


class Threads:
    """A :class:`~gala.actors.worker_pool.WorkerPool` of threads that work as processes do."""

    def __init__(self, workers: int) -> None:
        self.vacant, self.replaced = list(range(workers)), 0
        self.threads: list[threading.Thread] = []
        self.ends: dict[int, Link] = {}
        self.raised: list[str] = []

    def come(self) -> list[tuple[int, Link]]:
        found = []
        while self.vacant:
            ours, theirs = map(Link, socket.socketpair())
            ours.trust()
            theirs.trust()
            index = self.vacant.pop(0)
            self.ends[index] = theirs
            thread = threading.Thread(target=self._work, args=(theirs,))
            thread.start()
            self.threads.append(thread)
            found.append((index, ours))
        return found

    def _work(self, link: Link) -> None:
        try:
            work(link)
        except (Gone, UserError) as error:
            self.raised.append(str(error))
        link.close()

    def delivered(self, index: int) -> None: ...

    def over(self, index: int, why: str | None) -> str:
        self.replaced += 1
        self.vacant.append(index)
        return f"actor {index}: {why or 'its link is closed'}"

    def events(self) -> list[tuple[str, str]]:
        return []

    def close(self) -> None:
        for thread in self.threads:
            thread.join(DEADLINE_S)


@pytest.fixture
def remote_actors(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., tuple[WithActors, Threads]]]:
    made: list[WithActors] = []
    before = torch.get_num_threads()

    def make(actors: int, **options: Any) -> tuple[WithActors, Threads]:
        pool = Threads(actors)
        monkeypatch.setattr(building, "_pool", lambda setting: pool)
        made.append(WithActors(actors, listen="127.0.0.1:0", **options))
        return made[-1], pool

    yield make
    for each in made:
        each.source.done()
        each.source.close()
    torch.set_num_threads(before)


Outposted = Callable[..., tuple[WithActors, Threads]]


@pytest.mark.parametrize("memory", ["none", "gru"])
def test_an_unroll_is_what_a_collector_makes(remote_actors: Outposted, memory: str) -> None:
    one, _ = remote_actors(1, memory=memory)
    with torch.no_grad():
        one.flat.data.add_(0.01)
    one.source.learned(2**33 + 41)  # more than a word of the header holds
    here = one.collector()
    for _ in range(5):
        assert_alike(one.source.next(), here.next(), version=2**33 + 41)
    assert one.source.episodes == here.episodes > 0
    found = one.source.metrics()
    assert found["actors/kl"] == pytest.approx(0.0, abs=1e-6) and found["actors/synced"] == 0


def weights_after(remote_actors: Outposted, sync_kl: float) -> tuple[float, int, float]:
    """Bytes sent to an actor in 30 unrolls while the policy drifts, its newest revision, and KL."""
    one, _ = remote_actors(1, sync_kl=sync_kl)
    one.source.learned(0)
    generator = torch.Generator().manual_seed(0)
    for revision in range(1, 31):
        batch = one.source.next()
        with torch.no_grad():
            one.flat.data.add_(0.02 * torch.randn(one.flat.data.shape, generator=generator))
        one.source.learned(revision)
    found = one.source.metrics()
    return found["actors/bytes_sent"], int(batch.version.max()), found["actors/kl"]


def test_parameters_are_sent_only_when_they_would_act_otherwise(remote_actors: Outposted) -> None:
    always, some, never = (weights_after(remote_actors, kl) for kl in (0.0, 0.02, 1e9))
    assert never[0] < some[0] < always[0]
    assert never[1] == 0 < some[1] and always[1] >= 26
    assert never[2] > some[2] > 0.0, "the further apart, the fewer bytes"


def test_whoever_vanishes_is_told_and_replaced(remote_actors: Outposted) -> None:
    two, pool = remote_actors(2)
    two.source.learned(0)
    two.source.next()
    pool.ends[1].end.shutdown(socket.SHUT_RDWR)
    assert two.until(lambda text: "actor 1" in text) == "actor 1: its link is closed"
    deadline = time.monotonic() + DEADLINE_S
    while two.source.metrics()["actors/alive"] < 2:
        assert time.monotonic() < deadline
        two.source.next()
    assert two.source.metrics()["actors/replaced"] == 1


def test_another_network_than_the_agents_is_refused_on_both_sides(
    remote_actors: Outposted, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = building.Part
    monkeypatch.setattr(
        building, "Part", lambda **given: real(**given | {"envs": given["envs"] + 1})
    )
    one, pool = remote_actors(1)
    one.source.learned(0)
    told: list[str] = []

    class Enough(Exception):
        pass

    def look() -> None:
        told.extend(text for _, text in one.source.events())
        if told and pool.raised:
            raise Enough

    one.source.meanwhile = look
    with pytest.raises(Enough):
        one.source.next()
    assert "another environment or network" in told[0]
    assert "another environment or network" in pool.raised[0]


def test_what_is_damaged_or_out_of_turn_ends_the_link(remote_actors: Outposted) -> None:
    one, pool = remote_actors(1)
    feeder = one.source._feeder
    ours, theirs = map(Link, socket.socketpair())
    ours.trust()
    theirs.trust()
    pool.vacant = []
    pool.come = lambda: came.pop() if came else []  # type: ignore[method-assign]
    came = [[(0, ours)]]
    one.source.learned(0)
    theirs.send(Kind.UNROLL, np.zeros(8, np.uint8).data)
    feeder._attend(0.0)
    feeder._attend(1.0)
    assert "out of turn" in one.source.events()[0][1]
    with pytest.raises(Gone):
        while theirs.receive(DEADLINE_S).kind == Kind.PART:
            pass
    theirs.close()
