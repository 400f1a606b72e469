"""Judging vectors: every part is looked at, statistics apart, and nobody pulls one way for long."""

import contextlib
import random

import pytest
import torch
from torch import Tensor

from gala.gossip.judging import Gaps, Judge, Parts
from gala.gossip.message import Refusal, Refused

SIZES = (400_000, 300, 200_000, 512, 6, 1, 1)
PARTS = Parts(sizes=SIZES, learned=sum(SIZES[:-2]))
ALL = sum(SIZES)


def judged(parts: Parts = PARTS, moved: float = 0.02) -> tuple[Judge, Tensor, torch.Generator]:
    """A judge that has seen 60 good messages, each 0.05 away in another direction."""
    judge, generator = Judge(10.0, parts, lambda: moved), torch.Generator().manual_seed(3)
    own = torch.randn(sum(parts.sizes), generator=generator)
    for _ in range(60):
        judge.judge(1, own + noise(own, generator), own)
    return judge, own, generator


def noise(own: Tensor, generator: torch.Generator, length: float = 0.05) -> Tensor:
    direction = torch.randn(len(own), generator=generator)
    return direction * (length / direction.norm())


def reason(judge: Judge, vector: Tensor, own: Tensor) -> Refusal | None:
    try:
        judge.judge(1, vector, own)
    except Refused as refused:
        return refused.reason
    return None


@pytest.mark.parametrize("part", range(5))
def test_nonsense_in_any_tensor_of_a_large_network_is_seen(part: int) -> None:
    judge, own, _ = judged()
    start = sum(SIZES[:part])
    for position in (start, start + SIZES[part] - 1):
        bad = own.clone()
        bad[position] = 1e4
        assert reason(judge, bad, own) is Refusal.DISTANCE
    bad = own.clone()
    bad[start : start + SIZES[part]] = 1e4
    assert reason(judge, bad, own) is Refusal.DISTANCE
    assert reason(judge, own, own) is None


def test_a_small_tensor_is_held_against_its_own_distance() -> None:
    judge, own, _ = judged(moved=0.006)
    bad = own.clone()
    bad[-3] += 0.07  # within the radius of the whole, far beyond that of six parameters
    assert reason(judge, bad, own) is Refusal.DISTANCE


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
@pytest.mark.parametrize("position", [0, ALL // 2, ALL - 1])
def test_what_is_not_finite_is_refused_by_name(poison: float, position: int) -> None:
    judge, own, _ = judged()
    bad = own.clone()
    bad[position] = poison
    assert reason(judge, bad, own) is Refusal.NON_FINITE


def test_statistics_that_are_too_far_away_are_left_out_and_the_rest_is_mixed() -> None:
    judge, own, generator = judged()
    good = own + noise(own, generator)
    bad = good.clone()
    bad[-1] = 1e6
    found = judge.judge(1, bad, own)
    assert torch.equal(found[: PARTS.learned], good[: PARTS.learned])
    assert torch.equal(found[PARTS.learned :], own[PARTS.learned :])
    assert bad[-1] == 1e6, "the message itself is not written to"


def test_statistics_of_the_environments_size_are_believed() -> None:
    """They move by thousands at first, and less and less: nothing of that touches parameters."""
    judge, generator = Judge(10.0, PARTS, lambda: 0.02), torch.Generator().manual_seed(3)
    own = torch.randn(ALL, generator=generator)
    for k in range(1, 200):
        own[-2:] += (torch.tensor([3000.0, 9e6]) - own[-2:]) / k
        theirs = own + noise(own, generator)
        theirs[-2:] = own[-2:] * (1 + 0.3 / k)
        assert torch.equal(judge.judge(1, theirs, own)[-2:], theirs[-2:]) or k < 3


def test_first_messages_are_judged() -> None:
    judge, own = Judge(10.0, PARTS, lambda: 0.02), torch.ones(ALL)
    assert reason(judge, own + 1.0, own) is Refusal.DISTANCE
    unknown = Judge(10.0, None)
    assert reason(unknown, own * 100, own) is Refusal.DISTANCE
    assert reason(unknown, own * 2, own) is None


@pytest.mark.parametrize("length", [0.02, 0.1, 0.15])
def test_a_small_displacement_in_one_direction_has_a_bounded_effect(length: float) -> None:
    """A neighbour that is always a little to one side, and one that is honest; 2,000 messages."""
    small = Parts(sizes=(900, 100), learned=1000)
    judge, own, generator = judged(small)
    start, direction = own.clone(), noise(own, generator, length)
    for k in range(2000):
        for peer, lie in ((1, direction), (2, noise(own, generator))):
            try:
                own += (judge.judge(peer, own + lie, own) - own) / 3
            except Refused as refused:
                assert (peer, refused.reason) == (1, Refusal.ONE_WAY), k
    pulled = float((own - start) @ (direction / length))
    assert pulled < 2000 * length / 3 / 8, "less than an eighth of what was asked for"


def test_who_leads_by_less_and_less_is_believed() -> None:
    judge, own, _ = judged(Parts(sizes=(1000,), learned=1000))
    ahead = own + 0.005
    for _ in range(400):
        own = own + (judge.judge(1, ahead, own) - own) / 3
    assert torch.allclose(own, ahead)


def test_who_has_not_moved_yet_believes_no_nonsense() -> None:
    judge, own = Judge(10.0, PARTS, lambda: 0.0), torch.full((ALL,), 0.1)
    for _ in range(50):
        assert reason(judge, own, own) is None
    assert reason(judge, own + 10.0, own) is Refusal.DISTANCE
    assert reason(judge, own + 0.01, own) is None


@pytest.mark.parametrize("seed", range(3))
def test_agents_that_run_in_turns_do_not_part(seed: int) -> None:
    """Four on a ring that learn one thing and their own, on a machine that stops each for long.

    Of updates of ten milliseconds one of fifty takes up to three seconds; the others go on.
    """
    dice, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    size, step = 400, 0.1

    def direction() -> torch.Tensor:
        found = torch.randn(size, generator=generator)
        return found / found.norm()

    common, own = direction(), [direction() for _ in range(4)]
    vectors = [torch.ones(size) for _ in own]
    parts = Parts(sizes=(100, 300), learned=size)
    judges = [Judge(10.0, parts, lambda: step) for _ in own]
    gaps, mail, ready_at = [Gaps() for _ in own], list(vectors), [0.0] * 4
    versions, used, mixes = [0] * 4, [[0] * 4 for _ in own], 0
    for _ in range(2000):
        i = ready_at.index(min(ready_at))
        vectors[i] = vectors[i] + step * (0.5 * common + 0.1 * own[i] + 0.4 * direction())
        versions[i] += 1
        mail[i] = vectors[i]
        for j in ((i - 1) % 4, (i + 1) % 4):
            if versions[j] > used[i][j]:
                used[i][j] = versions[j]
                apart = abs(versions[i] - versions[j])
                gap = gaps[i].note(
                    j, now=ready_at[i], updates=versions[i], apart=apart, typical=0.01
                )
                with contextlib.suppress(Refused):
                    theirs = judges[i].judge(j, mail[j], vectors[i], *gap)
                    vectors[i] = vectors[i] + (theirs - vectors[i]) / 3
                    mixes += 1
        stalled = dice.random() < 0.02
        ready_at[i] += dice.uniform(0.5, 3.0) if stalled else dice.uniform(0.005, 0.015)
    mean = sum(vectors) / 4
    assert max(float((vector - mean).norm()) for vector in vectors) < 60 * step
    assert mixes > 500
