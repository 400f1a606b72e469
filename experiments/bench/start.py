"""What the start of agents is made of, and what an agent keeps in memory.

    python experiments/bench/start.py [--agents 1 2 4 8] [--rounds 3]

Launches take turns. Reads /proc (Linux). Writes experiments/results/start.{json,md}.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recording import table, write

from gala.bench.live_run import LiveRun
from gala.bench.measurement import ENDLESS
from gala.bench.past import cores
from gala.launch.environment import worker_environment
from gala.launch.processes import bound_to

GAME = "pong-paper"
TRAINED_S = 5.0
"""Training before memory is read: all buffers are filled, messages have come."""

PARTS = (
    ("Python", ""),
    ("numpy", "import numpy"),
    ("torch", "import torch"),
    ("torch.distributed", "import torch.distributed"),
    ("gymnasium, ale-py", "import gymnasium, ale_py.vector_env"),
    ("gala and what else it needs", "import gala.agent.training"),
    (
        "its simulators",
        "from gala.run.config import load; from gala.files.shipped import resolve;"
        f"config = load(resolve('experiments', {GAME!r}));"
        "envs = gala.agent.equipment.make_vector_envs(config.env, seed=1, threads=1)",
    ),
    ("their first observations", "first = [env.reset() for env in envs]"),
    (
        "the network",
        "spaces = envs[0].observation_space, envs[0].action_space;"
        "import gala.networks.build;"
        "policy = gala.networks.build.build_network(*spaces, config.network, seed=1)",
    ),
)
"""In this order: what one brings is not counted again for those after it."""

STAGES = ("torchrun begins", "it starts its workers", "agents are processes", "first update")


class Memory(NamedTuple):
    """MiB of a process.

    Attributes:
        resident: all of it that is in memory, the sum of the rest.
        own: written by this process, nobody else has it.
        shared: segments that processes share: mailboxes.
        mapped: read from files, code of libraries above all; one copy serves all processes.
    """

    resident: float
    own: float
    shared: float
    mapped: float


def memory(process: int) -> Memory:
    """What a process holds now."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    kib = {key: int(rest.split()[0]) for key, _, rest in (line.partition(":") for line in lines)
           if key.startswith(("Vm", "Rss"))}  # fmt: skip
    return Memory(*(kib[key] / 1024 for key in ("VmRSS", "RssAnon", "RssShmem", "RssFile")))


def _stat(process: int) -> list[str]:
    """Fields of /proc/PROCESS/stat from the third on."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(process: int) -> float:
    """Processor time of a process so far, to 10 ms."""
    fields = _stat(process)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def parent(process: int) -> int:
    """Who started a process."""
    return int(_stat(process)[1])


def started(process: int) -> float:
    """Unix seconds at which a process was started, to 10 ms."""
    since_boot = int(_stat(process)[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)


def parts(
    wanted: Sequence[tuple[str, str]] = PARTS,
) -> Iterator[tuple[str, float, Memory]]:
    """Load and make one part of an agent after the other in a fresh process.

    Yields:
        Name, processor seconds and memory of the process after each.
    """
    code = "".join(f"{line}\nprint(flush=True); input()\n" for _, line in wanted)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=worker_environment(1), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        preexec_fn=bound_to(os.getpid()),
    )  # fmt: skip
    with process:
        assert process.stdin is not None and process.stdout is not None
        for name, _ in wanted:
            if not process.stdout.readline():
                raise RuntimeError(f"could not load {name}")
            yield name, cpu_seconds(process.pid), memory(process.pid)
            process.stdin.write("\n")
            process.stdin.flush()


def launch(agents: int, arguments: Sequence[object]) -> dict[str, Any]:
    """Launch, wait until all train, look at them.

    Returns:
        ``stages``: by name, seconds after the command until the last agent was there;
        ``memory``: of an agent that has trained for a while, mean.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = LiveRun(Path(folder) / "run", agents, *arguments, "--total-steps", ENDLESS)
        try:
            run.wait_until(run.all_train)
            run.watch(TRAINED_S)
            processes = [run.pid(rank) for rank in range(agents)]
            kept = [memory(process) for process in processes]
            times = [started(run.process.pid)]
            if agents > 1:  # one agent needs no torchrun
                workers = [parent(process) for process in processes]
                times += [started(parent(workers[0])), max(map(started, workers))]
                times.append(max(map(started, processes)))
        finally:
            run.finish()
    times.append(times[0] + run.began())
    names = STAGES if agents > 1 else STAGES[-1:]
    return {
        "stages": {name: at - times[0] for name, at in zip(names, times[1:], strict=True)},
        "memory": Memory(*map(statistics.fmean, zip(*kept, strict=True)))._asdict(),
    }


Found = dict[int, list[dict[str, Any]]]


def _medians(looks: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(look[key] for look in looks) for key in looks[0]}


def text_of(
    found: Found, brought: list[tuple[str, float, Memory]], options: argparse.Namespace
) -> str:
    """The results for people."""
    starts, kept, parts_of_one = [], [], []
    for agents, runs in found.items():
        stages = _medians([run["stages"] for run in runs])
        held = _medians([run["memory"] for run in runs])
        starts.append([str(agents), *(f"{stages[x]:.1f}" if x in stages else "-" for x in STAGES)])
        kept.append([str(agents), *(f"{held[field]:,.0f}" for field in Memory._fields)])
    seconds, before = 0.0, Memory(0.0, 0.0, 0.0, 0.0)
    for name, until, now in brought:
        grown = (now.own - before.own, now.mapped - before.mapped)
        parts_of_one.append([name, f"{until - seconds:.2f}", *(f"{each:.0f}" for each in grown)])
        seconds, before = until, now
    total = [f"{seconds:.2f}", f"{before.own:.0f}", f"{before.mapped:.0f}"]
    parts_of_one.append(["together", *total])
    return f"""# Start and memory

{" ".join([GAME, *options.arguments])}, {cores()} cores;
medians of {options.rounds} interleaved rounds.

Seconds after the command, until the last agent was there. Each agent is a process, which a small
one of Python alone watches over (a worker of torchrun); one agent does without torchrun.

{table(["agents", *STAGES], starts)}

Memory of an agent's process after {TRAINED_S:g} s of training, MiB. *Own*: nobody else has it.
*Shared*: mailboxes, its own and those that it reads. *Mapped*: code of libraries above all, one
copy of which serves all processes.

{table(["agents", *Memory._fields], kept)}

What one agent loads and makes, one after the other in a process of its own with one thread:

{table(["part", "processor s", "own MiB", "mapped MiB"], parts_of_one)}

What it has beyond that once it trains: its parameters, gradients, moments and their copies,
what the layers gave for the observations of an update, records, sketches and TensorBoard, and what
malloc keeps for the next update.
"""


def main() -> None:
    """Measure in turns, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--agents", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    options, rest = parser.parse_known_args()
    options.arguments = rest  # gala train's
    found: Found = {agents: [] for agents in options.agents}
    list(parts())  # files come from the disk once, not in the first round
    looks = []
    for number in range(options.rounds):
        looks.append(list(parts()))
        for agents in options.agents:
            run = launch(agents, (GAME, *options.arguments))
            found[agents].append(run)
            print(f"round {number + 1}: {agents} agents: {run['stages'][STAGES[-1]]:.1f} s, "
                  f"{run['memory']['resident']:.0f} MiB each", flush=True)  # fmt: skip
    brought = [
        (
            same[0][0],
            statistics.median(seconds for _, seconds, _ in same),
            Memory(*map(statistics.median, zip(*(held for *_, held in same), strict=True))),
        )
        for same in zip(*looks, strict=True)
    ]
    data = {
        "rounds": options.rounds,
        "launches": {str(agents): runs for agents, runs in found.items()},
        "parts": [
            {"part": name, "seconds": seconds, "memory": held._asdict()}
            for name, seconds, held in brought
        ],
    }
    write("start", data, text_of(found, brought, options))


if __name__ == "__main__":
    main()
