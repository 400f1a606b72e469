"""What gala does without: words that the bare loop knows, turns, and the text."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "bench"))
import not_taken
import peers
from not_taken import Run


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "name", ["as it is", pytest.param("channels last, converted in one go", marks=pytest.mark.long)]
)
def test_the_bare_loop_learns_that_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "WARM_UP_S", 0.2)
    found = not_taken.run(not_taken.WAYS[name], 0.5)
    assert found.speed > 10 and 0 < found.start_s < 200


def test_a_loop_that_fails_is_no_result() -> None:
    with pytest.raises(RuntimeError, match="AssertionError.*backwards"):
        not_taken.run(("backwards",), 1.0)


def test_turns_and_ratios_within_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = iter([Run(1000.0, 4.0), Run(900.0, 4.5), Run(800.0, 60.0),
                 Run(500.0, 5.0), Run(600.0, 5.5), Run(500.0, 70.0)])  # fmt: skip
    turns: list[object] = []
    written: dict[str, str] = {}

    def run(words: tuple[str, ...], seconds: float) -> Run:
        turns.append(words)
        return next(runs)

    monkeypatch.setattr(not_taken, "run", run)
    monkeypatch.setattr(not_taken, "write", lambda name, data, text: written.update({name: text}))
    not_taken.main(["--rounds", "2", "--seconds", "1"])
    assert turns == [(), ("channels-last",), ("compile",)] * 2
    text = written["not-taken"]
    assert "| as it is | 750 | 1.00 | 1.00 - 1.00 | 4.5 |" in text
    assert "| channels last, converted in one go | 750 | 1.05 | 0.90 - 1.20 | 5.0 |" in text
    assert "| torch.compile | 650 | 0.90 | 0.80 - 1.00 | 65.0 |" in text
