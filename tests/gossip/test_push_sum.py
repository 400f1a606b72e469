"""Push-sum: nothing is lost or doubled, whatever is overwritten on the way."""

from pathlib import Path

import pytest
import torch
from fake_transport import FakeTransport, Network, identity
from hypothesis import given, settings
from hypothesis import strategies as st

from gala.gossip.mixing import PushSumMixing
from gala.gossip.node import GossipNode
from gala.gossip.push_sum import LEAST, PushSum
from gala.gossip.transport import PeerState
from gala.gossip.wire import wire_format
from gala.topology import load_topology


def test_one_exchange_by_hand() -> None:
    """a = 8, b = 2; both keep half and send half: x = 5, w = 1 each, z = 5."""
    vectors = [torch.tensor([8.0]), torch.tensor([2.0])]
    sums = [PushSum(vector) for vector in vectors]
    sent = [each.push(out_neighbours=1).clone() for each in sums]
    assert [row.tolist() for row in sent] == [[4.0, 0.5], [1.0, 0.5]]
    sums[0].pull(1, sent[1])
    sums[1].pull(0, sent[0])
    for each in sums:
        each.settle()
    assert [vector.tolist() for vector in vectors] == [[5.0], [5.0]]
    assert [each.weight for each in sums] == [1.0, 1.0]


def test_a_message_that_was_overwritten_is_not_lost() -> None:
    a, b = PushSum(torch.tensor([8.0])), PushSum(torch.tensor([2.0]))
    a.push(1)
    twice = a.push(1).clone()  # 4, then a quarter of the 4 left: who is poor gives less
    assert twice.tolist() == [5.0, 0.625]
    b.pull(0, twice)
    b.pull(0, twice)  # seen twice, counted once
    b.settle()
    assert b.weight == 1.625


@pytest.mark.parametrize("unanswered", [0, 1, 8, 3000])
def test_parameters_move_by_the_step_whatever_was_given_away(unanswered: int) -> None:
    vector = torch.tensor([1.0])
    sums = PushSum(vector)
    for _ in range(unanswered):
        sums.push(1)
    vector += 3.0  # an optimizer step on z
    sums.push(0)
    sums.settle()
    assert vector.tolist() == [4.0] and sums.weight > 0.9 * LEAST / 2


def test_who_is_poor_still_gives_what_a_joiner_can_read() -> None:
    a = PushSum(torch.tensor([4.0, -8.0]))
    for _ in range(2000):
        a.push(3)
    joiner = PushSum(torch.zeros(2))
    joiner.meet(0, a.push(3).clone())
    found = joiner.parameters_in(0, a.push(3).clone())
    assert found is not None
    torch.testing.assert_close(found, torch.tensor([4.0, -8.0]).double(), rtol=1e-6, atol=0)


Event = tuple[int, int, bool, bool]
EVENTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 40), st.booleans(), st.booleans()),
    max_size=60,
)


@given(EVENTS, st.sets(st.integers(0, 3), max_size=2), st.integers(0, 2**16))
@settings(max_examples=80, deadline=None)
def test_bursts_losses_and_deaths_keep_the_mean_and_the_hull(
    events: list[Event], dead: set[int], seed: int
) -> None:
    """Four agents, each heard by the two after it: what all hold and what is under way is kept."""
    generator = torch.Generator().manual_seed(seed)
    vectors = list(torch.randn(4, 3, generator=generator))
    sums = [PushSum(vector) for vector in vectors]
    mailbox, seen = {}, {}
    learned = torch.zeros(3, dtype=torch.float64)
    start = sum(each.mass for each in sums)
    low, high = torch.stack(vectors).min(0).values, torch.stack(vectors).max(0).values
    for k, (agent, burst, lost, learns) in enumerate(events):
        if k > 20 and agent in dead:
            continue  # it died, with what it held
        if learns:
            before = vectors[agent].clone()
            vectors[agent] += torch.randn(3, generator=generator)
            step = vectors[agent] - before
            learned += sums[agent].weight * step.double()
            low, high = low + step.clamp(max=0), high + step.clamp(min=0)
        for _ in range(burst):
            message = sums[agent].push(2).clone()
            if not lost:
                mailbox[agent] = message
        for source in ((agent - 1) % 4, (agent - 2) % 4):
            if source in mailbox:
                sums[agent].pull(source, mailbox[source])
                seen[agent, source] = mailbox[source]
        sums[agent].settle()
        slack = 1e-5 * (1 + high - low)
        outside = (vectors[agent] < low - slack) | (vectors[agent] > high + slack)
        assert not bool(outside.any())
    for each in sums:
        each.settle()  # steps that were not taken up yet
    zero = torch.zeros(4, dtype=torch.float64)
    flying = [
        sums[source]._sent - seen.get((agent, source), zero)
        for agent in range(4)
        for source in ((agent - 1) % 4, (agent - 2) % 4)
    ]
    mass = sum(each.mass for each in sums) + sum(new[:-1] for new in flying)
    weight = sum(each.weight for each in sums) + sum(float(new[-1]) for new in flying)
    assert abs(weight - 4.0) < 1e-12
    torch.testing.assert_close(mass / weight, (start + learned) / 4, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_sums_that_grew_for_long_lose_nothing() -> None:
    """4,000 exchanges: the rounding of running sums is not the rounding of the mean."""
    vectors = [torch.tensor([1.0]), torch.tensor([-3.0]), torch.tensor([0.5])]
    sums = [PushSum(vector) for vector in vectors]
    for _ in range(4_000):
        sent = [each.push(2).clone() for each in sums]
        for i, each in enumerate(sums):
            for j in {0, 1, 2} - {i}:
                each.pull(j, sent[j])
            each.settle()
    weight = sum(each.weight for each in sums)
    assert abs(float(sum(each.mass for each in sums)) / weight + 0.5) < 1e-12


def test_a_message_from_before_changes_nothing() -> None:
    a, b = PushSum(torch.tensor([8.0])), PushSum(torch.tensor([2.0]))
    old, new = a.push(1).clone(), a.push(1).clone()
    b.pull(0, new)
    weight, mass = b.weight, b.mass.clone()
    b.pull(0, old)
    assert b.weight == weight and torch.equal(b.mass, mass)


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=5, max_size=200))
@settings(max_examples=60, deadline=None)
def test_mass_is_kept_under_any_loss_and_order(events: list[tuple[int, bool]]) -> None:
    """A directed ring of three; when everything has arrived, the mean of the start is found."""
    start = [torch.tensor([3.0, -1.0]), torch.tensor([0.0, 5.0]), torch.tensor([9.0, 2.0])]
    mean = torch.stack(start).mean(0)
    vectors = [v.clone() for v in start]
    sums = [PushSum(v) for v in vectors]
    mailbox: dict[int, torch.Tensor] = {}
    for agent, reads in events:
        mailbox[agent] = sums[agent].push(1).clone()
        source = (agent - 1) % 3
        if reads and source in mailbox:
            sums[agent].pull(source, mailbox[source])
            sums[agent].settle()
    for _ in range(200):
        for agent in range(3):
            mailbox[agent] = sums[agent].push(1).clone()
        for agent in range(3):
            sums[agent].pull((agent - 1) % 3, mailbox[(agent - 1) % 3])
            sums[agent].settle()
    for vector in vectors:
        torch.testing.assert_close(vector, mean, atol=1e-5, rtol=1e-5)
    flying = 0.0  # all weight that was ever there is still there
    for agent in range(3):
        flying += sums[agent].weight
    assert abs(flying - 3.0) < 1e-9


def test_a_joiner_becomes_what_its_neighbour_is() -> None:
    a = PushSum(torch.tensor([4.0, 8.0]))
    joiner = PushSumMixing(torch.zeros(2), newcomer=True)
    first, second = a.push(1).clone(), a.push(1).clone()
    assert joiner.adopt(0, first) is False, "a sum of the past says nothing of the present"
    assert joiner.adopt(0, first) is False, "nothing was added"
    assert joiner.adopt(0, second) is True
    torch.testing.assert_close(joiner.staged, torch.tensor([4.0, 8.0]))


def test_a_joiner_reads_one_whom_nobody_else_hears() -> None:
    vector = torch.tensor([4.0, 8.0])
    a, joiner = PushSum(vector), PushSumMixing(torch.zeros(2), newcomer=True)
    assert joiner.adopt(0, a.push(0).clone()) is False
    vector += 1.0
    assert joiner.adopt(0, a.push(0).clone()) is True
    torch.testing.assert_close(joiner.staged, vector)
    assert a.weight == 1.0, "nothing was given away"


def test_shares_from_before_a_meeting_are_not_taken() -> None:
    a, vector = PushSum(torch.tensor([4.0])), torch.tensor([1.0])
    mixing = PushSumMixing(vector, newcomer=True)
    before = a.push(1).clone()
    mixing.mix(0.5, {0: 0.5}, {0: before}, {})
    assert vector.tolist() == [1.0]
    mixing.mix(0.5, {0: 0.5}, {0: a.push(1).clone()}, {})
    assert 1.0 < float(vector) < 4.0
    mixing.forget(0)  # it died: its next incarnation begins a new sum
    restarted = PushSum(torch.tensor([100.0]))
    there = float(vector)
    mixing.mix(0.5, {0: 0.5}, {0: restarted.push(1).clone()}, {})
    assert float(vector) == there


def test_shares_of_a_neighbour_that_is_heard_later_begin_at_the_meeting_too() -> None:
    """All that it ever gave would else enter at once, though most of it was given to others."""
    early, late = PushSum(torch.tensor([4.0])), PushSum(torch.tensor([1000.0]))
    vector = torch.tensor([1.0])
    mixing = PushSumMixing(vector, newcomer=True)
    mixing.mix(0.5, {0: 0.5, 1: 0.5}, {0: early.push(1).clone()}, {})
    for _ in range(3):
        late.push(1)
    there = float(vector)
    mixing.mix(0.5, {0: 0.5, 1: 0.5}, {1: late.push(1).clone()}, {})
    assert float(vector) == there
    mixing.mix(0.5, {0: 0.5, 1: 0.5}, {1: late.push(1).clone()}, {})
    assert float(vector) > there


class Spoken(FakeTransport):
    """Who has said nothing yet is joining, as with all transports between processes."""

    def state(self, peer: int) -> PeerState:
        spoken = peer in self.network.messages
        return self.network.states[peer] if spoken else PeerState.JOINING


def test_one_that_is_not_there_takes_nothing_and_throws_nobody_back_when_it_comes(
    tmp_path: Path,
) -> None:
    path = tmp_path / "graph.yaml"
    path.write_text("version: 1\nname: all\nfamily: complete\nweights: push-sum\n")
    graph, network, vectors = load_topology(path, 3), Network(3), torch.zeros(3, 1)
    mixers = [PushSumMixing(vector, newcomer=True) for vector in vectors]
    nodes = [
        GossipNode(
            rank=rank,
            topology=graph,
            vector=vectors[rank],
            transport=Spoken(network, rank),
            identity=identity(wire=3),
            wire=wire_format("float64", 2),
            mixer=mixers[rank],
        )
        for rank in range(3)
    ]
    late = nodes.pop()

    def go_round(k: int) -> float:
        for node in nodes:
            node.publish(update=k, step=k)
        for node in nodes:
            node.mix()
        return sum(mixer._sums.weight for mixer in mixers[: len(nodes)])

    held = go_round(1)
    for k in range(2, 2000):
        vectors[0] += 0.02  # the other one hears of it alone
        assert abs(go_round(k) - held) < 1e-12
        assert abs(float(vectors[0] - vectors[1])) < 0.1
    before = float(vectors[:2].min())
    assert before > 15.0
    while late.adopt() is None:  # of sums one more is needed
        go_round(2000)
    nodes.append(late)
    go_round(2001)
    held = go_round(2002)
    for k in range(2003, 2100):
        assert abs(go_round(k) - held) < 1e-12
        assert float(vectors.min()) > before - 1e-3
    assert float(vectors.max() - vectors.min()) < 1e-3
