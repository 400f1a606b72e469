"""States of neighbours from their transport and from rhythm, on a clock that the test moves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gala.gossip.membership import ENOUGH, UNKNOWN_S, Membership, PeerState, Rhythm


def test_a_deadline_is_median_plus_eight_deviations() -> None:
    rhythm = Rhythm()
    for now in (0.0, 1.0, 3.0, 6.0, 7.0, 9.0):  # gaps 1 2 3 1 2: median 2, deviations 1 0 1 1 0
        rhythm.arrived(now)
    assert rhythm.typical == 2.0 and rhythm.deadline == 2.0 + 8 * 1.0
    assert not rhythm.overdue(18.9, slack=0.0) and rhythm.overdue(19.1, slack=0.0)
    assert not rhythm.overdue(19.1, slack=1.0)


def test_a_regular_sender_has_twice_its_gap() -> None:
    rhythm = Rhythm()
    for now in range(10):
        rhythm.arrived(float(now))
    assert rhythm.deadline == 2.0


def test_a_stranger_gets_ten_seconds() -> None:
    rhythm = Rhythm()
    assert not rhythm.overdue(1e9, slack=0.0), "no message ever"
    for now in range(ENOUGH):
        rhythm.arrived(now * 0.1)
        assert rhythm.deadline == UNKNOWN_S and rhythm.overdue(now * 0.1 + 10.1, slack=0.0)
    rhythm.arrived(ENOUGH * 0.1)
    assert rhythm.deadline == pytest.approx(0.2)


def test_an_absence_is_no_habit() -> None:
    rhythm = Rhythm()
    for now in range(6):
        rhythm.arrived(float(now))
    rhythm.rest()
    assert not rhythm.overdue(1000.0, slack=0.0), "known to be away"
    rhythm.arrived(105.0)
    assert rhythm.typical == 1.0


def test_a_sender_that_slows_down_is_believed_after_a_while() -> None:
    rhythm = Rhythm()
    now = 0.0
    for _ in range(40):
        rhythm.arrived(now := now + 0.1)
    assert rhythm.overdue(now + 1.0, slack=0.0)
    for _ in range(40):
        rhythm.arrived(now := now + 1.0)
    assert not rhythm.overdue(now + 1.9, slack=0.0)


@given(st.lists(st.floats(1e-3, 1e3), min_size=ENOUGH + 1, max_size=100))
def test_the_deadline_is_never_shorter_than_half_of_the_gaps(gaps: list[float]) -> None:
    rhythm, now = Rhythm(), 0.0
    rhythm.arrived(now)
    for gap in gaps:
        rhythm.arrived(now := now + gap)
    assert rhythm.typical is not None
    assert rhythm.deadline >= 2 * rhythm.typical


class Signs:
    """What the transport says."""

    def __init__(self) -> None:
        self.of = {1: PeerState.JOINING, 2: PeerState.ACTIVE}

    def __call__(self, peer: int) -> PeerState:
        return self.of[peer]


def local_group() -> tuple[Membership, Signs, list[tuple[int, PeerState, PeerState]]]:
    signs = Signs()
    members = Membership((1, 2), signs, slack_s=0.5)
    changes: list[tuple[int, PeerState, PeerState]] = []
    members.changed = lambda peer, old, new: changes.append((peer, old, new))
    return members, signs, changes


def test_the_life_of_a_neighbour() -> None:
    members, signs, changes = local_group()
    now = 0.0
    assert members.look(1, now) is PeerState.JOINING
    signs.of[1] = PeerState.ACTIVE
    for _ in range(8):
        members.arrived(1, now := now + 1.0)
    assert members[1] is PeerState.ACTIVE
    assert members.look(1, now + 2.4) is PeerState.ACTIVE
    assert members.look(1, now + 2.6) is PeerState.SUSPECT
    members.arrived(1, now := now + 5.0)
    assert members[1] is PeerState.ACTIVE, "a message makes up for everything"
    signs.of[1] = PeerState.DOWN
    assert members.look(1, now) is PeerState.DOWN
    signs.of[1] = PeerState.JOINING  # a new incarnation has begun
    assert members.look(1, now + 100.0) is PeerState.JOINING
    members.arrived(1, now + 101.0)
    signs.of[1] = PeerState.LEFT
    assert members.look(1, now + 102.0) is PeerState.LEFT
    j, a, s, d, left = PeerState
    assert changes == [
        (1, j, a),
        (1, a, s),
        (1, s, a),
        (1, a, d),
        (1, d, j),
        (1, j, a),
        (1, a, left),
    ]


@pytest.mark.parametrize("state", list(PeerState))
def test_messages_of_the_dead_and_gone_are_not_expected(state: PeerState) -> None:
    assert state.takes(together=True) is (state.name in ("JOINING", "ACTIVE", "SUSPECT"))
    assert state.takes(together=False) is (state.name in ("ACTIVE", "SUSPECT"))


def test_a_neighbour_that_published_before_we_looked_is_active() -> None:
    members, _, _ = local_group()
    assert members.look(2, 0.0) is PeerState.ACTIVE


def test_who_is_there_and_never_says_a_word_is_suspect() -> None:
    """As one that was stopped just after it came back: it must hold up nobody for ever."""
    states = {1: PeerState.DOWN}
    members = Membership((1,), states.__getitem__, slack_s=0.5)
    assert members.look(1, 0.0) is PeerState.DOWN
    states[1] = PeerState.ACTIVE
    assert members.look(1, 100.0) is PeerState.ACTIVE
    assert members.look(1, 100.0 + UNKNOWN_S) is PeerState.ACTIVE
    assert members.look(1, 101.0 + UNKNOWN_S) is PeerState.SUSPECT
    states[1] = PeerState.LEFT
    members.look(1, 200.0)
    states[1] = PeerState.ACTIVE
    assert members.look(1, 300.0) is PeerState.ACTIVE, "its next life begins anew"
    members.arrived(1, 301.0)
    assert members.rhythms[1].typical is None, "the wait for a first message is no gap"
