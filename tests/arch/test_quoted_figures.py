"""Figures that a page quotes are those of the results: who measures again writes them again."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from gala.evaluation.statistics import COVERAGE
from gala.report.summary import THRESHOLDS

ROOT = Path(__file__).resolve().parents[2]
GALA = "Pong; gala; 64 filters, as in SB3"


def results(name: str) -> Any:
    return json.loads((ROOT / "experiments" / "results" / f"{name}.json").read_text())


def page(name: str) -> str:
    return " ".join((ROOT / name).read_text().split())


@pytest.fixture(scope="module")
def peers() -> dict[str, Any]:
    found: dict[str, Any] = results("peers")
    return found


def ratio(peers: dict[str, Any], name: str) -> str:
    return f"{statistics.median(peers['ratio'][name]):.2f}"


def named(peers: dict[str, Any], words: str) -> str:
    (name,) = (name for name in peers["ratio"] if words in name)
    return name


def test_the_speed_in_the_readme(peers: dict[str, Any]) -> None:
    speed = statistics.median(peers["steps_per_second"][GALA])
    text = page("README.md")
    assert f"at {speed:,.0f} steps a second ({4 * round(speed):,} frames)" in text
    assert f"{ratio(peers, GALA)} times the speed of its A2C" in text
    assert f"({ratio(peers, named(peers, 'in float32'))} in float32" in text


def test_the_time_to_the_goal_in_the_readme() -> None:
    rows = [r for r in results("time-to-goal") if r["program"] == "gala"]
    assert not [r for r in rows if r["commit"].endswith("-dirty")]
    (ppo,) = [r for r in rows if "a2c" not in r["how"]]
    assert ppo["goal"] is None, "tell when it was reached"
    stood = f"at {ppo['return']:.1f} after {ppo['seconds'] / 60:.1f} minutes]"
    assert stood in page("README.md")
    a2c = [r["goal"] for r in rows if "a2c" in r["how"]]
    times = [f"{goal[0] / 60:.1f}" for goal in sorted(filter(None, a2c))]
    assert len(a2c) == 3 and f"{times[0]} and {times[1]} minutes with two seeds" in page(
        "README.md"
    )
    found = [t for t in results("tuning") if t["name"] == "steady entropy"]
    for steps in (f"{t['goal'][1] / 1e6:.2f} M" for t in found):
        assert steps in page("README.md")
    (peer,) = [r for r in results("time-to-goal") if r["program"] == "Stable-Baselines3 A2C"]
    assert peer["goal"] is None, "tell when it was reached"
    stands = f"stands at {peer['return']:.1f} after {peer['seconds'] / 60:.0f} minutes"
    assert stands in page("README.md")


def test_the_ratios_in_the_page_on_performance(peers: dict[str, Any]) -> None:
    text = page("docs/performance.md")
    float32 = named(peers, "in float32")
    cartpole = named(peers, "vectorised CartPole")
    alone = named(peers, "gala; one agent")
    assert f"[{ratio(peers, GALA)} times the speed of Stable-Baselines3's A2C]" in text
    assert f"{ratio(peers, float32)} times in float32" in text
    assert f"{ratio(peers, cartpole)} times on CartPole" in text
    assert f"at {ratio(peers, alone)} of a bare loop" in text


def test_the_levers_in_the_page_on_performance() -> None:
    speeds, text = results("levers")["steps_per_second"], page("docs/performance.md")

    def share(name: str) -> str:
        return f"{statistics.median(each / base for each, base in speeds[name]):.2f}"

    alone, averaged = "one agent with all simulators", "gradients averaged (allreduce)"
    assert f"environments {share(alone)}, gradients averaged {share(averaged)} of it" in text
    assert f"| float32 {share('float32')} of it" in text
    spin, sleep = (f"one agent, OpenMP threads that {x}" for x in ("spin", "sleep at once"))
    assert f"spin {share(spin)}, sleep at once {share(sleep)} of it" in text
    assert f"| without {share('large blocks of memory given back at once')} of it" in text
    assert f"two agents were {share('no gossip')} times as fast" in text
    pinned = "each agent on a core of its own"
    spread = [each / base for each, base in speeds[pinned]]
    assert f"its threads: {share(pinned)} of what the kernel does by itself" in text
    assert f"from {min(spread):.2f} to {max(spread):.2f} ([levers]" in text
    assert f"{share('lock-step gossip')} and {share(averaged)} of asynchronous gossip" in text


def test_what_was_not_taken_in_the_page_on_performance() -> None:
    runs, text = results("not-taken")["runs"], page("docs/performance.md")

    def shares(name: str) -> list[float]:
        pairs = zip(runs[name], runs["as it is"], strict=True)
        return [one["speed"] / other["speed"] for one, other in pairs]

    layout = shares("channels last, converted in one go")
    assert f"channels_last)`: {statistics.median(layout):.2f} of a bare loop" in text
    assert f"{min(layout):.2f} to {max(layout):.2f} in its two rounds" in text
    compiled, cold = shares("torch.compile"), runs["torch.compile"][0]["start_s"]
    assert f"**torch.compile**: {statistics.median(compiled):.2f} of a bare loop" in text
    assert f"and {cold:.0f} s until the first update" in text


def test_slow_environments_in_the_page_on_performance() -> None:
    """Two agents do not notice them, one with two threads does."""
    shares = results("slow-simulator")["of_quick"]
    assert "Two agents with 16 each [do not notice" in page("docs/performance.md")
    assert statistics.median(shares["2 x 16"]) > 0.97
    assert statistics.median(shares["1 x 32"]) < 0.97


@pytest.mark.parametrize("algorithm", ["a2c", "ppo", "vtrace", "impact", "vmpo"])
def test_the_seeds_that_solve_cartpole_in_the_readme(algorithm: str) -> None:
    rows = results("algorithms")["results"]
    mine = [r for r in rows if (r["task"], r["algorithm"]) == ("CartPole-v1", algorithm)]
    solved = sum(row["return"] >= THRESHOLDS["CartPole-v1"] for row in mine)
    lines = (ROOT / "README.md").read_text().splitlines()
    (line,) = [each for each in lines if f"| `{algorithm}` |" in each]
    assert f"[{solved} of {len(mine)} seeds](experiments/results/algorithms.md)" in line


def test_the_blows_in_the_page_on_faults() -> None:
    text, soak = page("docs/fault-tolerance.md"), results("soak")
    runs = list(soak["transports"].values())
    kills, segvs = (sum(run["blows"][how] for run in runs) for how in ("kill", "segv"))
    minutes = sum(run["seconds"] for run in runs) / 60
    told = f"{kills} SIGKILL and {segvs} SIGSEGV in {minutes:.0f} minutes, {soak['agents']} agents"
    assert told in text and {run["exit_code"] for run in runs} == {0}
    stops, nans, cuts = (
        sum((run["blows"] | run["injected"])[how] for run in runs)
        for how in ("stop", "nan", "drop-network")
    )
    assert f"| {stops} stops, same runs" in text and f"| {cuts} cuts, same runs" in text
    assert f"| {nans} of them, same runs" in text
    gloo = soak["transports"]["gloo"]
    faults = sum((gloo["blows"] | gloo["injected"]).values())
    assert f"| {faults} faults in {gloo['seconds'] / 60:.0f} minutes, same runs" in text
    (full,), (locks,) = (
        [count for run in runs if (count := run["injected"].get(kind))]
        for kind in ("disk-full", "deadlock")
    )
    words = {1: "one", 2: "two", 3: "three"}
    assert f"`tests/run/test_checkpoint.py` | {words[full]}, same runs" in text
    assert (
        f"killed and started again | `tests/dist/test_injected.py` | {words[locks]}, same" in text
    )
    assert not any(run["torn"] or run["left_in_shared_memory"] for run in runs)
    acting = list(results("actor-kills")["results"].values())
    one, other = (run["kills"] for run in acting)
    minutes = sum(run["seconds"] for run in acting) / 60
    assert f"{one + other} SIGKILL in {minutes:.0f} minutes, half at actors" in text
    assert one == other and not any(run["failures"] for run in acting)


@pytest.mark.parametrize(
    ("transport", "words"), [("shared-memory", "shared memory"), ("gloo", "gloo")]
)
def test_the_growth_in_the_page_on_faults(transport: str, words: str) -> None:
    grown = results("soak")["transports"][transport]["growth"].values()

    def most(kind: str) -> str:
        early, late = (max(each[kind][third] for each in grown) for third in (0, 1))
        return f"{early:.0f} and {late:.0f}"

    told = f"over {words} {most('threads')} threads, {most('files')} files, {most('mib')} MiB"
    assert told in page("docs/fault-tolerance.md")


def test_the_coverage_of_intervals_in_code_and_page() -> None:
    covered = {int(n): share for n, share in results("coverage")["covered"]["normal"].items()}
    assert {n: round(share, 2) for n, share in covered.items() if n < 10} == COVERAGE
    two, three, five, ten = (f"{100 * covered[n]:.0f} %" for n in (2, 3, 5, 10))
    told = f"{two} of the time with 2 runs, {three} with 3, {five} with 5, {ten} with 10"
    assert told in page("docs/report.md")
