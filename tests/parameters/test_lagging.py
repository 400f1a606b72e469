"""Lagging: copies every n updates."""

import torch

from gala.parameters.lagging import Lagging


def test_a_copy_is_taken_every_n_updates() -> None:
    source, copy = torch.zeros(2), torch.ones(2)
    lagging = Lagging(source, copy, every=3)
    assert copy.tolist() == [0, 0]
    for update in range(1, 8):
        source.fill_(update)
        assert lagging.follow(update) == (update in (3, 6))
        assert copy.tolist() == [update // 3 * 3] * 2


def test_updates_that_were_left_out_do_not_delay_it() -> None:
    source, copy = torch.zeros(1), torch.zeros(1)
    lagging = Lagging(source, copy, every=10)
    source.fill_(1.0)
    assert not lagging.follow(9) and lagging.follow(25) and lagging.copied == 25
    assert not lagging.follow(34) and lagging.follow(35)


def test_it_goes_on_from_its_state_bit_for_bit() -> None:
    g = torch.Generator().manual_seed(0)
    source, whole, part = torch.randn(5, generator=g), torch.zeros(5), torch.zeros(5)
    one = Lagging(source, whole, every=2)
    one.follow(3)
    other = Lagging(torch.full((5,), 7.0), part, every=2)
    other.load_state_dict(one.state_dict())
    other = Lagging(source, part, every=2)
    other.load_state_dict(one.state_dict())
    assert torch.equal(part, whole) and other.copied == 3
    source.add_(1.0)
    assert [each.follow(update) for update in (4, 5) for each in (one, other)] == [
        False, False, True, True,
    ]  # fmt: skip
    assert torch.equal(part, whole)


def test_beginning_anew_is_being_equal() -> None:
    source, copy = torch.zeros(1), torch.zeros(1)
    lagging = Lagging(source, copy, every=5)
    source.fill_(2.0)
    lagging.restart(11)
    assert copy.item() == 2.0 and not lagging.follow(15) and lagging.follow(16)
