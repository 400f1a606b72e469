"""A recording does what the function does, on the same memory, and bakes in what is no tensor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tape import Tape

from gala.device.recorded import Captured


def record(
    function: Callable[[], Any], generator: torch.Generator | None = None
) -> tuple[Any, Callable[[], None]]:
    tape = Tape(generator)
    return tape.record(function), tape.replay


@pytest.mark.parametrize("warm_up", [0, 1, 3])
def test_every_call_works_once_warm_up_or_not(warm_up: int) -> None:
    x, count = torch.zeros(3), torch.zeros(())
    calls = []

    def function(x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        count.add_(1)
        return x.add_(1).sum() * count

    captured = Captured(function, record, warm_up)
    assert [float(captured(x)) for _ in range(6)] == [3.0 * k * k for k in range(1, 7)]
    assert x.tolist() == [6.0] * 3 and len(calls) == warm_up + 1, "recorded once, then replayed"


def test_warm_up_is_kept_apart_from_the_recordings_of_others() -> None:
    apart = threading.Lock()
    seen = []
    captured = Captured(lambda: seen.append(apart.locked()), lambda f: (f(), f), 2, apart)
    for _ in range(2):
        captured()
    assert seen == [True, True] and not apart.locked()
    captured()
    assert seen[2:] == [False, False], "recorded, and replayed"


def test_results_stay_at_their_addresses() -> None:
    x = torch.arange(4.0)
    captured = Captured(lambda: {"square": x * x, "same": x}, record, 1)
    captured()
    found = [captured() for _ in range(3)]
    addresses = [{name: tensor.data_ptr() for name, tensor in each.items()} for each in found]
    assert addresses[0] == addresses[1] == addresses[2] and addresses[0]["same"] == x.data_ptr()
    x += 1
    assert captured()["square"].tolist() == [1, 4, 9, 16]


def test_other_arguments_than_the_recorded_are_refused() -> None:
    x, y = torch.ones(2), torch.ones(2)
    captured = Captured(lambda x: x * 2, record, 0)
    captured(x)
    with pytest.raises(AssertionError, match="objects it was made with"):
        captured(y)


def test_random_numbers_go_on_as_without_a_recording() -> None:
    drawn = {}
    for kind in ("eager", "recorded"):
        g = torch.Generator().manual_seed(7)

        def draw(g: torch.Generator = g) -> torch.Tensor:
            return torch.empty(5).exponential_(generator=g)

        captured = Captured(draw, lambda work, g=g: record(work, g), 2) if kind != "eager" else draw
        drawn[kind] = torch.stack([captured().clone() for _ in range(6)])
    assert torch.equal(drawn["eager"], drawn["recorded"])
    assert len(set(drawn["eager"][:, 0].tolist())) == 6


# -- the witness itself: a tape that saw nothing would let everything pass


def test_the_tape_bakes_in_what_is_no_tensor() -> None:
    rate = {"now": 1.0}
    x = torch.zeros(())
    captured = Captured(lambda: x.add_(rate["now"]), record, 0)
    captured()
    rate["now"] = 100.0
    captured()
    assert float(x) == 2.0


def test_the_tape_refuses_to_wait_and_strange_random_numbers() -> None:
    x = torch.ones(3)
    with pytest.raises(AssertionError, match="waits for the device"):
        Captured(lambda: float(x.sum()), record, 0)()
    with pytest.raises(AssertionError, match="stranger"):
        Captured(lambda: x.exponential_(), record, 0)()


def test_recording_alone_changes_nothing() -> None:
    x, g = torch.ones(3), torch.Generator().manual_seed(1)
    state = g.get_state()
    y, _ = record(lambda: x.mul_(2).add_(torch.empty(3).exponential_(generator=g)) + 1, g)
    assert x.tolist() == [1.0] * 3 and torch.equal(g.get_state(), state)
    assert bool(y.isnan().all()), "results are there when the work is done, not before"
