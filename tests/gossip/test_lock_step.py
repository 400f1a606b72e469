"""Lock-step by its own decisions, through all interleavings of small groups: nobody is stuck, equal
versions are mixed, and nobody waits for who cannot speak."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from lock_step_model import Agent, Graph, Group, Model, place

from gala.gossip import lock_step
from gala.gossip.lock_step import Phase, Sight
from gala.gossip.membership import PeerState

pytestmark = pytest.mark.slow


def ring(agents: int) -> Graph:
    return tuple(tuple(sorted({(i - 1) % agents, (i + 1) % agents})) for i in range(agents))


def directed_ring(agents: int) -> Graph:
    return tuple(((i - 1) % agents,) for i in range(agents))


def complete(agents: int) -> Graph:
    return tuple(tuple(j for j in range(agents) if j != i) for i in range(agents))


# graph, last version, deaths (each may come back, at once, late or never), waits that time out
EXHAUSTIVE = {
    "pair, two deaths": (ring(2), 4, 2, 0),
    "pair, a death and a wait in vain": (ring(2), 5, 1, 1),
    "pair, two waits in vain": (ring(2), 5, 0, 2),
    "ring of three, a death": (ring(3), 3, 1, 0),
    "directed ring of three, a death": (directed_ring(3), 4, 1, 0),
}


def living(group: Group) -> list[int]:
    return [i for i, agent in enumerate(group.agents) if agent.at not in ("dead", "left")]


def check(model: Model, group: Group) -> None:
    """What holds at every moment."""
    alive = living(group)
    assert not alive or any(model.can_move(group, i) for i in alive), f"stuck: {group}"
    for i in alive:
        for j in model.missing(group, i):
            ahead, behind = group.agents[i], group.agents[j]
            assert place(behind) < place(ahead), f"{i} waits for {j}, who is not behind: {group}"
            assert behind.sign is PeerState.ACTIVE or (ahead.founder and not behind.version), (
                f"{i} waits for {j}, who has yet to find its place: {group}"
            )


def check_mixes(model: Model, group: Group, *, whole: bool) -> None:
    """Equal versions are mixed, and all of them while nothing has failed."""
    for i in (i for i in living(group) if group.agents[i].at == "take"):
        mixed = model.mixed(group, i)
        assert all(group.agents[j].version == group.agents[i].own for j in mixed)
        assert not whole or mixed == list(model.graph[i])


def check_versions(model: Model, group: Group, rank: int, after: Group) -> bool:
    """Versions follow one another except where an agent joins; whether one joins anew."""
    before, now = group.agents[rank], after.agents[rank]
    if now.at == "move":
        assert before.at in ("adopt", "look") or before.own + len(model.graph) < model.last
        return before.at == "mix"
    if before.at not in ("move", "adopt") and now.at not in ("dead", "adopt"):
        assert now.own - before.own in (0, 1)
        assert now.own == before.own or before.at == "write"
    return False


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.long if "three" in name else ()) for name in EXHAUSTIVE],
)
def test_what_holds_at_every_moment(name: str) -> None:
    """Nobody is ever stuck, and what :func:`check_mixes` and :func:`check_versions` say."""
    graph, last, deaths, timeouts = EXHAUSTIVE[name]
    model = Model(graph=graph, last=last)
    moments = anew = 0
    for group in model.reachable(deaths=deaths, timeouts=timeouts):
        moments += 1
        check(model, group)
        whole = group.deaths == deaths and group.timeouts == timeouts
        check_mixes(model, group, whole=whole)
        for rank, after in model.following(group):
            anew += check_versions(model, group, rank, after)
    assert moments > 10_000, "a model that hardly moves proves nothing"
    assert not timeouts or anew, "who was given up for long joins anew"


def test_a_run_ends_whatever_the_order() -> None:
    """No moment comes twice: with nobody ever stuck, whoever lives gets to the end."""
    model = Model(graph=ring(2), last=4)
    before: dict[Group, int] = {}
    for group in model.reachable(deaths=2, timeouts=0):
        for _, after in model.following(group):
            before[after] = before.get(after, 0) + 1
    free = [next(model.reachable(deaths=2, timeouts=0))]
    done = 0
    while free:
        group = free.pop()
        done += 1
        for _, after in model.following(group):
            before[after] -= 1
            if not before[after]:
                free.append(after)
    assert done == len(before) + 1, "some moments follow each other in a circle"


@pytest.mark.parametrize("graph", [directed_ring(4), ring(5), complete(4)])
@pytest.mark.parametrize("seed", range(40))
def test_larger_groups_in_random_order(graph: Graph, seed: int) -> None:
    model, dice = Model(graph=graph, last=12), random.Random(seed)
    group = next(model.reachable(deaths=3, timeouts=2))
    while living(group):
        check(model, group)
        usual = list(usually(model, group))
        rare = list(model.following(group)) if dice.random() < 0.02 or not usual else usual
        group = dice.choice(rare)[1]
    assert all(agent.own >= 12 for agent in group.agents if agent.at == "left")


def usually(model: Model, group: Group) -> Iterator[tuple[int, Group]]:
    """What happens next where nobody dies and no wait is in vain."""
    budget = group.deaths, group.timeouts
    for rank, after in model.following(group):
        if (after.deaths, after.timeouts) == budget and group.agents[rank].at != "dead":
            yield rank, after


@pytest.mark.parametrize(
    ("rule", "broken"),
    [
        ("waited_for", lambda phase, founder: phase is not Phase.GONE),
        ("lacks_message", lambda own, seen, founder: seen.version != own),
        ("lacks_taking", lambda own, seen, founder: seen.taken != own),
    ],
)
def test_the_model_sees_a_broken_rule(
    rule: str, broken: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_step, rule, broken)
    model = Model(graph=directed_ring(3), last=3)
    with pytest.raises(AssertionError):
        for group in model.reachable(deaths=1, timeouts=0):
            check(model, group)


def test_the_model_sees_who_looks_for_words_after_the_sign() -> None:
    """A founder that speaks up between the two looks like one that has come back."""

    class Late(Model):
        def heard(self, before: bool, seen: Agent) -> bool:
            return seen.version > 0

    model = Late(graph=directed_ring(3), last=2)
    with pytest.raises(AssertionError):
        for group in model.reachable(deaths=0, timeouts=0):
            check_mixes(model, group, whole=True)


@pytest.mark.parametrize(
    ("sign", "heard", "given_up", "phase"),
    [
        (PeerState.JOINING, False, False, Phase.MADE),
        (PeerState.JOINING, False, True, Phase.SILENT),
        (PeerState.JOINING, True, False, Phase.JOINING),
        (PeerState.ACTIVE, True, False, Phase.SPEAKING),
        (PeerState.ACTIVE, True, True, Phase.SILENT),
        (PeerState.DOWN, True, False, Phase.GONE),
        (PeerState.LEFT, True, True, Phase.GONE),
    ],
)
def test_the_states_of_a_life(sign: PeerState, heard: bool, given_up: bool, phase: Phase) -> None:
    assert lock_step.phase_of(sign, heard=heard, given_up=given_up) is phase
    waited_for = {
        founder: lock_step.waited_for(phase, founder=founder) for founder in (True, False)
    }
    assert waited_for == {
        True: phase in (Phase.MADE, Phase.SPEAKING),
        False: phase is Phase.SPEAKING,
    }


def test_the_front_is_of_those_who_speak() -> None:
    seen = [Sight(phase=phase, version=7, taken=9) for phase in Phase]
    assert lock_step.front(3, seen, []) == 7 and lock_step.front(3, [], seen) == 9
    mute = [one for one in seen if one.phase is not Phase.SPEAKING]
    assert lock_step.front(3, mute, mute) == 3
