"""Push-sum: nothing is lost or doubled, whatever is overwritten on the way."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gala.gossip.mixing import PushSumMixing
from gala.gossip.push_sum import PushSum


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
    twice = a.push(1).clone()  # 4 and then 2 of the 4 left: 6 in all, of weight 0.75
    assert twice.tolist() == [6.0, 0.75]
    b.pull(0, twice)
    b.pull(0, twice)  # seen twice, counted once
    b.settle()
    assert b.weight == 1.75


def test_what_is_learned_enters_the_mass() -> None:
    vector = torch.tensor([1.0])
    sums = PushSum(vector)
    sums.push(1)
    vector += 3.0  # an optimizer step on z
    sums.push(0)
    sums.settle()
    assert vector.tolist() == [0.5 * (1.0) / 0.5 + 3.0 / 0.5], "x = 0.5 + 3, w = 0.5"


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
