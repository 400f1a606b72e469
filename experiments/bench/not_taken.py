"""What gala does without, tried in a bare loop: torch's conversion of images, its compiler.

    python experiments/bench/not_taken.py [--rounds 3] [--seconds 20]

Pong, one agent with as many threads as cores. All take turns, so that they see the same machine.
The compiler needs a C++ compiler on the machine. Writes experiments/results/not-taken.{json,md}.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from peers import BARE, ENVS, PEERS, Run, peer_run
from recording import table, write

from gala.bench.measurement import WARM_UP_S
from gala.bench.past import cores

PLAIN = "as it is"
WAYS: dict[str, tuple[str, ...]] = {
    PLAIN: (),
    "channels last, converted in one go": ("channels-last",),
    "torch.compile": ("compile",),
}


def run(words: Sequence[str], seconds: float) -> Run:
    """The bare loop with those words."""
    arguments = (ENVS, cores(), *words)
    return peer_run(Path(sys.executable), PEERS[BARE].driver, arguments, seconds)


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
{ENVS} environments and {cores()} threads; {rounds} interleaved rounds of {seconds:g} s each,
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
