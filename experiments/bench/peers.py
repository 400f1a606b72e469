"""Speed beside others: gala, Stable-Baselines3, Sample Factory, a bare loop train the same games.

    python experiments/bench/peers.py [--rounds 3] [--seconds 30] [--pip-args "..."]

Each library gets a virtual environment of its own, built once from the package index below
``$XDG_CACHE_HOME/gala/peers`` (``~/.cache/gala/peers``), with the version of torch that
constraints.txt names. In each round all take turns, so that they see the same machine. A peer that
cannot be installed is reported, loudly and in the results; the others go on. Writes
experiments/results/peers.{json,md}.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from recording import ROOT, table, write

from gala.bench.measurement import WARM_UP_S, Case, measure
from gala.bench.past import cores, default_path
from gala.errors import UserError
from gala.launch.environment import MALLOC_KEEP_BYTES, MALLOC_VARIABLES, worker_environment
from gala.launch.processes import bound_to
from gala.telemetry.reader import Tail

AGENTS, ENVS = 2, 16
"""Of gala; a peer gets as many environments as these agents have together."""

BARE_ENVIRONMENT = worker_environment(1) | dict.fromkeys(MALLOC_VARIABLES, str(MALLOC_KEEP_BYTES))
"""What gala's agents have, or ask for when they begin."""
DRIVERS = Path(__file__).parent / "peer_drivers"
FIRST_WORD_S = 300.0
"""The longest that a peer may need until its first update."""
GAMES = ("Pong", "CartPole")
MIN_POINTS = 3
"""Updates within the window; who needs longer for them gets a longer window."""
SB3, SAMPLE_FACTORY = "Stable-Baselines3 A2C", "Sample Factory APPO"
BARE = "a bare loop"


@dataclass(frozen=True)
class Peer:
    """What to compare with.

    Attributes:
        driver: its script, which names the environment too.
        requirements: for pip; none: it runs in gala's environment.
        pins: which lines of constraints.txt it can live with; None: all.
        report: distributions whose versions belong to the results.
    """

    driver: str
    requirements: tuple[str, ...]
    pins: tuple[str, ...] | None
    report: tuple[str, ...]


PEERS = {
    SB3: Peer(
        "sb3_driver",
        ("torch", "stable-baselines3", "ale-py", "opencv-python-headless"),
        None,
        ("stable_baselines3", "torch", "gymnasium", "ale-py"),
    ),
    SAMPLE_FACTORY: Peer(
        "sample_factory_driver",
        ("torch", "sample-factory", "ale-py"),
        ("torch",),  # it needs an older Gymnasium
        ("sample-factory", "torch", "gymnasium", "ale-py"),
    ),
    BARE: Peer("bare_loop", (), None, ("torch", "gymnasium", "ale-py")),
}


@dataclass(frozen=True)
class Row:
    """One of those that take turns.

    Attributes:
        game: Pong or CartPole.
        program: name of a peer, or gala.
        how: in words.
        arguments: of ``gala train``, or of the driver.
        agents: of gala.
        alone: with the environments of one agent, not of all.
    """

    game: str
    program: str
    how: str
    arguments: tuple[object, ...]
    agents: int = 1
    alone: bool = False

    @property
    def name(self) -> str:
        """Names it in the results."""
        return f"{self.game}; {self.program}; {self.how}"


def rows(agents: int, envs: int) -> list[Row]:
    """All that take turns, game by game."""
    total = agents * envs
    num_envs = ("--env.num-envs", envs)
    pong = ("pong-paper", *num_envs)
    as_sb3 = (*pong, "--network.filters", "[32, 64, 64]")
    one = f"{envs} simulators, {cores()} threads"
    return [
        Row("Pong", SB3, "simulators in its own process", ("pong", total, "dummy")),
        Row("Pong", SB3, "a process per simulator", ("pong", total, "subproc")),
        Row("Pong", SAMPLE_FACTORY, "each batch four times", ("pong", total, cores(), 4)),
        Row("Pong", SAMPLE_FACTORY, "each batch once, as in A2C", ("pong", total, cores(), 1)),
        Row("Pong", BARE, f"{one}, 64 filters", (envs, cores()), alone=True),
        Row("Pong", "gala", f"one agent, {one}, 64 filters", as_sb3, alone=True),
        Row("Pong", "gala", "64 filters, as in SB3", as_sb3, agents),
        Row("Pong", "gala", "64 filters, in float32 even where bfloat16 is native",
            (*as_sb3, "--network.precision", "float32"), agents),
        Row("Pong", "gala", "32 filters, as in the paper", pong, agents),
        Row("CartPole", SB3, "simulators in its own process", ("cartpole", total, "dummy")),
        Row("CartPole", "gala", "Gymnasium's vectorised CartPole, as shipped",
            ("cartpole", *num_envs), agents),
        Row("CartPole", "gala", "simulators one by one, as in SB3",
            ("cartpole", *num_envs, "--env.workers", "sync"), agents),
    ]  # fmt: skip


# -- environments


def home() -> Path:
    """Where the environments of the peers are kept."""
    return default_path().parent / "peers"


def pins(peer: Peer) -> list[str]:
    """The lines of constraints.txt that hold for ``peer``."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    known = [line for line in lines if "==" in line and not line.startswith("#")]
    wanted = peer.pins
    return known if wanted is None else [x for x in known if x.split("==")[0] in wanted]


def environment(name: str, peer: Peer, pip_args: Sequence[str]) -> Path:
    """The interpreter of ``peer``'s environment, which is built when it is missing or outdated.

    A peer without requirements runs in this one.

    Raises:
        subprocess.CalledProcessError: it cannot be built.
    """
    if not peer.requirements:
        return Path(sys.executable)
    folder = home() / f"{peer.driver}-py{platform.python_version()}"
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join([*peer.requirements, *pins(peer), ""])
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"building an environment for {name} in {folder} ...", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join([*pins(peer), ""]))
    subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "-c", str(constraints), *pip_args, *peer.requirements],
        check=True,
    )  # fmt: skip
    stamp.write_text(wanted)
    return python


def versions(python: Path, names: Sequence[str]) -> dict[str, str]:
    """Installed versions in an environment."""
    code = (
        "import json, sys; from importlib.metadata import version; "
        "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
    )
    done = subprocess.run(
        [str(python), "-c", code, *names], check=True, capture_output=True, text=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


# -- measurements


def gala_rate(row: Row, seconds: float) -> float:
    """Steps per second of all agents of gala."""
    case = Case(name=row.name, agents=row.agents, arguments=row.arguments)
    return measure(case, seconds).steps_per_second


@contextlib.contextmanager
def running_peer(
    python: Path, driver: str, arguments: Sequence[object]
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A driver's process while it trains, and the file that it writes; ended afterwards."""
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "log", "w") as log:
        process = subprocess.Popen(
            [str(python), str(DRIVERS / f"{driver}.py"), *map(str, arguments)],
            stdout=log, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True,
            preexec_fn=bound_to(os.getpid()),
            env=BARE_ENVIRONMENT if driver == PEERS[BARE].driver else None,
        )  # fmt: skip
        try:
            yield process, Path(log.name)
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):  # it leads a group of its own
                    os.killpg(process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=5)


class Run(NamedTuple):
    """One turn of a peer.

    Attributes:
        speed: environment steps per second, after its first update and a warm-up.
        start_s: from the command until its first update was done.
    """

    speed: float
    start_s: float


def peer_run(python: Path, driver: str, arguments: Sequence[object], seconds: float) -> Run:
    """Let a peer train for a while.

    Raises:
        RuntimeError: it ended, or did not come to train.
    """
    began = time.time()
    with running_peer(python, driver, arguments) as (process, log):
        try:
            speed, first = _watched(process, Tail(log), seconds)
            return Run(speed, first - began)
        except RuntimeError as error:
            words = [x for x in log.read_text().splitlines() if x.strip()]
            raise RuntimeError(f"{error}: {words[-1] if words else 'it printed nothing'}") from None


def _watched(process: subprocess.Popen[bytes], tail: Tail, seconds: float) -> tuple[float, float]:
    """Its speed, and the unix seconds of its first update."""
    points: list[dict[str, Any]] = []
    began, start = time.monotonic(), 0.0
    while True:
        points += [each for each in tail.read() if "steps" in each]
        if not start and points:
            start = points[0]["t"] + WARM_UP_S
        window = [each for each in points if each["t"] >= start]
        if start and time.time() >= start + seconds and len(window) >= MIN_POINTS:
            return rate(window), points[0]["t"]
        if process.poll() is not None:
            raise RuntimeError(f"it ended with code {process.returncode}")
        if time.monotonic() - began > FIRST_WORD_S + 4 * seconds:
            raise RuntimeError(f"{len(window)} updates within {time.monotonic() - began:.0f} s")
        time.sleep(0.05)


def rate(points: Sequence[Mapping[str, float]]) -> float:
    """Steps per second between the first and the last of some moments."""
    first, last = points[0], points[-1]
    return (last["steps"] - first["steps"]) / (last["t"] - first["t"])


# -- results


def ratios(found: Mapping[str, Sequence[float | None]], name: str, base: str) -> list[float]:
    """Speed over that of another program in the same game and round, the faster of its ways.

    Args:
        found: by name of a row, steps per second in each round; None: it failed.
        name: of the row.
        base: the other program.
    """
    game = name.split("; ")[0]
    bases = [v for each, v in found.items() if each.split("; ")[:2] == [game, base]]
    made = []
    for number, speed in enumerate(found[name]):
        known = [base[number] for base in bases]
        fastest = max((each for each in known if each is not None), default=None)
        if speed is not None and fastest:
            made.append(speed / fastest)
    return made


def text_of(
    found: Mapping[str, Sequence[float | None]],
    bases: Mapping[str, str],
    peers: Mapping[str, Mapping[str, Any]],
    options: argparse.Namespace,
) -> str:
    """The results for people; ``bases`` tells which program a row is held against."""
    lines = []
    for name, speeds in found.items():
        known = [each for each in speeds if each is not None]
        over = ratios(found, name, bases[name])
        lines.append([
            *name.split("; "),
            f"{statistics.median(known):,.0f}" if known else "-",
            f"{min(known):,.0f} - {max(known):,.0f}" if known else "-",
            f"{statistics.median(over):.2f} of {bases[name]}" if over else "-",
            f"{min(over):.2f} - {max(over):.2f}" if over else "-",
        ])  # fmt: skip
    told = []
    for name, facts in peers.items():
        if "problem" in facts:
            told.append(f"- {name}: NOT MEASURED. {facts['problem']}")
        else:
            told.append(f"- {name}: " + ", ".join(f"{k} {v}" for k, v in facts["versions"].items()))
    total = options.agents * options.simulators
    header = ["game", "program", "how", "steps/s, median", "range", "in the same round", "range"]
    return f"""# Speed beside that of others

{total} environments in all, gala with {options.agents} agents of {options.simulators} if nothing
else is given, with gossip, records and divergence tracking on; {options.rounds} interleaved
rounds of {options.seconds:g} s each, after the start and {WARM_UP_S:g} s of training. Pong: no
sticky actions, frame skip 4, a step is four frames. Gala computes in bfloat16 where that is
native, if the row does not tell otherwise, and plays on ALE's own vector of environments, as the
bare loop does; the others compute in float32, with a Python object per environment.
Stable-Baselines3 with the parameters of rl-zoo; the ratio is to the faster of its ways. Sample
Factory with those of its Atari example, which goes over each batch four times, and with one pass;
{cores()} workers, it plays while it learns. The bare loop is A2C in one short file,
[bare_loop.py](../bench/peer_drivers/bare_loop.py); one agent of gala is held against it, with as
many environments.

{table(header, lines)}

{chr(10).join(told)}
"""


def main() -> None:
    """Build, measure in turns, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--agents", type=int, default=AGENTS)
    parser.add_argument("--simulators", type=int, default=ENVS, help="of each agent")
    parser.add_argument("--games", nargs="+", choices=GAMES, default=GAMES)
    parser.add_argument("--pip-args", type=shlex.split, default=[], help="which index, for example")
    options = parser.parse_args()
    pythons: dict[str, Path] = {}
    peers: dict[str, dict[str, Any]] = {}
    for name, peer in PEERS.items():
        try:
            pythons[name] = environment(name, peer, options.pip_args)
            peers[name] = {"versions": versions(pythons[name], peer.report)}
        except (subprocess.CalledProcessError, OSError) as error:
            peers[name] = {"problem": f"It could not be installed: {error}"}
            print(f"WARNING: {name} is left out. {peers[name]['problem']}", file=sys.stderr)
    turns = [
        row
        for row in rows(options.agents, options.simulators)
        if row.game in options.games and (row.program == "gala" or row.program in pythons)
    ]
    found: dict[str, list[float | None]] = {row.name: [] for row in turns}
    bases = {row.name: BARE if row.alone else SB3 for row in turns}
    for number in range(options.rounds):
        for row in turns:
            speed: float | None = None
            try:
                if row.program == "gala":
                    speed = gala_rate(row, options.seconds)
                else:
                    driver = PEERS[row.program].driver
                    python = pythons[row.program]
                    speed = peer_run(python, driver, row.arguments, options.seconds).speed
            except (RuntimeError, UserError) as error:
                print(f"WARNING: {row.name} failed: {error}", file=sys.stderr)
            found[row.name].append(speed)
            shown = "failed" if speed is None else f"{speed:,.0f} steps/s"
            print(f"round {number + 1}: {row.name}: {shown}", flush=True)
    data = {
        "rounds": options.rounds, "seconds": options.seconds, "agents": options.agents,
        "simulators": options.simulators, "peers": peers, "steps_per_second": found,
        "ratio": {name: ratios(found, name, base) for name, base in bases.items()},
    }  # fmt: skip
    text = text_of(found, bases, peers, options)
    if set(options.games) == set(GAMES):
        write("peers", data, text)
    else:  # a part does not replace the whole
        print(text)


if __name__ == "__main__":
    main()
