"""What gala does without, tried in a bare loop: another memory layout, torch's compiler.

    python experiments/bench/not_taken.py [--rounds 3] [--seconds 20]

Pong, one agent with as many threads as cores. All take turns, so that they see the same machine.
The compiler needs a C++ compiler on the machine. Writes experiments/results/not-taken.{json,md}.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from peers import BARE, MIN_POINTS, PEERS, SIMULATORS, rate, running_peer
from recording import table, write

from gala.bench.measurement import WARM_UP_S
from gala.bench.past import cores
from gala.telemetry.reader import Tail

PLAIN = "as it is"
WAYS: dict[str, tuple[str, ...]] = {
    PLAIN: (),
    "channels last": ("channels-last",),
    "torch.compile": ("compile",),
}
PATIENCE_S = 300.0


class Run(NamedTuple):
    """One turn.

    Attributes:
        speed: environment steps per second.
        start_s: from the command until the first update was done.
    """

    speed: float
    start_s: float


def run(words: Sequence[str], seconds: float) -> Run:
    """Train for ``seconds`` after the first update and a warm-up.

    Raises:
        RuntimeError: it ended, or did not come to train.
    """
    began = time.time()
    arguments = (SIMULATORS, cores(), *words)
    points: list[dict[str, Any]] = []
    window: list[dict[str, Any]] = []
    with running_peer(Path(sys.executable), PEERS[BARE].driver, arguments) as (process, log):
        tail = Tail(log)
        while len(window) < MIN_POINTS or window[-1]["t"] - window[0]["t"] < seconds:
            points += [each for each in tail.read() if "steps" in each]
            window = [each for each in points if each["t"] >= points[0]["t"] + WARM_UP_S]
            if process.poll() is not None or time.time() - began > PATIENCE_S + seconds:
                lines = [x for x in log.read_text().splitlines() if x.strip()]
                raise RuntimeError(lines[-1] if lines else "it said nothing")
            time.sleep(0.05)
    return Run(rate(window), points[0]["t"] - began)


def text_of(found: dict[str, list[Run]], rounds: int, seconds: float) -> str:
    """The results for people."""
    lines = []
    for name, runs in found.items():
        over = [a.speed / b.speed for a, b in zip(runs, found[PLAIN], strict=True)]
        lines.append([
            name,
            f"{statistics.median(each.speed for each in runs):,.0f}",
            f"{statistics.median(over):.2f}",
            f"{min(over):.2f} - {max(over):.2f}",
            f"{statistics.median(each.start_s for each in runs):.1f}",
        ])  # fmt: skip
    header = ["what", "steps/s, median", f"of {PLAIN}, same round", "range",
              "launch to first update, s"]  # fmt: skip
    return f"""# What gala does without

[The bare loop](../bench/peer_drivers/bare_loop.py), A2C on Pong in one short file, bfloat16, with
{SIMULATORS} simulators and {cores()} threads; {rounds} interleaved rounds of {seconds:g} s each,
after the first update and {WARM_UP_S:g} s.

{table(header, lines)}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure in turns, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args(arguments)
    found: dict[str, list[Run]] = {name: [] for name in WAYS}
    for number in range(options.rounds):
        for name, words in WAYS.items():
            found[name].append(run(words, options.seconds))
            print(f"round {number + 1}: {name}: {found[name][-1]}", flush=True)
    data = {
        "rounds": options.rounds,
        "seconds": options.seconds,
        "runs": {name: [each._asdict() for each in runs] for name, runs in found.items()},
    }
    write("not-taken", data, text_of(found, options.rounds, options.seconds))


if __name__ == "__main__":
    main()
