"""Batches of the unroll queue, from a feeder that ruins whatever it gets back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from scripted import B, Scripted, step

from gala.experience import Collector
from gala.experience.unroll import Layout, Unroll
from gala.experience.unroll_queue import UnrollQueue
from gala.networks.heads import CategoricalHead

LAYOUT = Layout(
    steps=2, obs=(3,), obs_dtype=torch.float32, action=(), action_dtype=torch.int64, dist=2,
    masked=False,
)  # fmt: skip


class Fed:
    """A feeder of unrolls of given versions; observations are the version, each."""

    def __init__(self, versions: list[int], who: list[tuple[int, int]] | None = None) -> None:
        self.versions, self.heard = deque(versions), list[int]()
        self.who = deque(who or [(1, 0)] * len(versions))
        self.released = 0

    def take(self, meanwhile: Callable[[], object]) -> Unroll:
        memory = torch.zeros(Unroll.size(LAYOUT, 1), dtype=torch.uint8)
        unroll, version = Unroll(memory, LAYOUT, 1), self.versions.popleft()
        batch = LAYOUT.batch(torch.zeros(LAYOUT.size(1), dtype=torch.uint8), 1)
        batch.obs.fill_(version)
        faults = ["reward of environment 0 is nan"] if version == 13 else []
        actor, number = self.who.popleft()
        unroll.fill(
            batch, version=version, games=[(1.0, 5)], faults=faults, actor=actor, number=number
        )
        return unroll

    def release(self, unroll: Unroll) -> None:
        unroll.batch.obs.fill_(-1)
        self.released += 1

    def learned(self, revision: int) -> None:
        self.heard.append(revision)

    def metrics(self) -> dict[str, float]:
        return {}

    def events(self) -> list[tuple[str, str]]:
        return []

    def done(self) -> None:
        pass

    def close(self) -> None:
        pass


def queue(fed: Fed, **options: int) -> UnrollQueue:
    return UnrollQueue(fed, LAYOUT, envs=3, each=1, **options)


def test_a_batch_is_copied_out_before_its_slots_are_free() -> None:
    fed = Fed([4, 5, 6, 7, 13, 8])
    source = queue(fed)
    batch = source.next()
    assert fed.released == 3
    assert batch.obs[:, :, 0].tolist() == [[4.0, 5.0, 6.0]] * 3
    assert batch.version.tolist() == [[4, 5, 6]] * 2 and batch.lag(6) == (1.0, 2)
    assert source.steps == 6 and source.episodes == 3 and list(source.lengths) == [5] * 3
    assert source.faults == ()
    again = source.next()
    assert again is batch and batch.obs[0, :, 0].tolist() == [7.0, 13.0, 8.0]
    assert source.faults == ("reward of environment 0 is nan (actor 1)",)


def test_unrolls_that_are_too_old_are_dropped_and_counted() -> None:
    fed = Fed([1, 8, 2, 9, 10])
    source = queue(fed, max_lag=2)
    source.learned(10)
    assert source.next().version.tolist() == [[8, 9, 10]] * 2 and fed.heard == [10]
    assert source.metrics()["actors/dropped"] == 2.0
    assert fed.released == 5 and source.steps == 6
    assert source.episodes == 5, "games of dropped unrolls have been played"


def test_columns_go_on_where_their_actor_did() -> None:
    who = [
        (0, 0), (1, 0), (2, 0),
        (2, 1), (0, 1), (0, 2),  # in another order, and two of one
        (1, 2), (2, 0), (0, 3),  # one of 1 was left out, and 2 began anew
    ]  # fmt: skip
    source = queue(Fed(list(range(9)), who))
    seen = []
    for _ in range(3):
        batch = source.next()
        assert batch.stream is not None
        seen.append(batch.stream.tolist())
    assert seen == [[0, 1, 2], [2, 0, 0], [3, 4, 0]]


def test_an_unroll_that_is_too_old_is_a_gap() -> None:
    source = queue(Fed([9, 9, 9, 1, 9, 9, 9], [(0, n) for n in range(7)]), max_lag=2)
    source.learned(10)
    streams = [source.next().stream.tolist() for _ in range(2)]  # type: ignore[union-attr]
    assert streams == [[0, 0, 0], [1, 1, 1]]


def test_a_run_goes_on_with_and_without_actors() -> None:
    def act(
        obs: torch.Tensor, rows: slice | None = None, mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(obs), 2), torch.zeros(len(obs))

    source = queue(Fed([0] * 6))
    source.next()
    state = source.state_dict()
    later = queue(Fed([0] * 3))
    later.load_state_dict(state)
    assert (later.steps, later.episodes, later.return_sum) == (6, 3, 3.0)
    collector = Collector(
        [Scripted([step([0] * B)])], act, CategoricalHead(2), n_step=1, gamma=0.9,
        reward_clip=False, generator=torch.Generator(),
    )  # fmt: skip
    collector.load_state_dict(state)
    assert (collector.steps, list(collector.returns)) == (6, [1.0] * 3)
    later.load_state_dict(collector.state_dict())
    assert later.steps == 6
