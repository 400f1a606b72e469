"""The committed examples of the library API: run as users run them, and few lines long."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "experiments" / "examples"
PAGE = Path(__file__).parents[2] / "docs" / "library.md"

NEEDS = {
    "sb3": "stable_baselines3",
    "accelerated": "accelerate",
    "lightning": "lightning",
    "trainer": "transformers",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run(name: str, agents: int, steps: int, *more: str) -> str:
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={agents}"]
        if agents > 1
        else []
    )
    for beginning, need in NEEDS.items():
        if name.startswith(beginning) and importlib.util.find_spec(need) is None:
            pytest.skip(f"{need} is not installed")
    done = subprocess.run(
        [sys.executable, *launcher, str(EXAMPLES / name), "--steps", str(steps), *more],
        capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["ppo.py", "sb3_a2c.py"])
def test_two_agents_learn_together(name: str) -> None:
    output = run(name, agents=2, steps=25_000)
    mixes = [int(n) for n in re.findall(r"agent \d: (\d+) mixes", output)]
    returns = [float(r) for r in re.findall(r"return ([\d.]+)", output)]
    assert len(mixes) == 2 and min(mixes) > 50
    assert len(returns) == 2 and min(returns) > 60, "chance is 22"


def test_digits_that_differ_are_learned_together() -> None:
    right = [float(r) for r in re.findall(r"return ([\d.]+)", run("digits.py", 2, steps=200))]
    assert len(right) == 2 and min(right) > 60, "chance is 10"


def test_kinds_that_only_another_agent_has_are_learned() -> None:
    """Of four kinds, two of each agent: alone it would name half of them."""
    right = [float(r) for r in re.findall(r"return ([\d.]+)", run("finetuning.py", 2, steps=300))]
    assert len(right) == 2 and min(right) > 80, "alone at most 50"


@pytest.mark.parametrize("name", ["accelerated.py", "lightning_module.py", "trainer.py"])
def test_loops_of_other_frameworks_learn_together(name: str) -> None:
    output = run(name, 2, steps=160)
    mixes = [int(n) for n in re.findall(r"agent \d: (\d+) mixes", output)]
    right = [float(r) for r in re.findall(r"return ([\d.]+)", output)]
    assert len(mixes) == 2 and min(mixes) >= 10
    assert len(right) == 2 and min(right) > 80, "chance is 50"


@pytest.mark.parametrize(("name", "steps"), [("dqn.py", 2_000), ("sac.py", 900)])
def test_agents_with_replay_exchange(name: str, steps: int) -> None:
    mixes = [int(n) for n in re.findall(r"agent \d: (\d+) mixes", run(name, 2, steps))]
    assert len(mixes) == 2 and min(mixes) > 20


@pytest.mark.parametrize(("algorithm", "steps"), [
    ("ppo", 2_000),
    pytest.param("dqn", 600, marks=pytest.mark.long),
    ("sac", 250),
])  # fmt: skip
def test_the_callback_exchanges_whatever_the_algorithm(algorithm: str, steps: int) -> None:
    output = run("sb3.py", 2, steps, "--algorithm", algorithm)
    mixes = [int(n) for n in re.findall(r"agent \d: (\d+) mixes", output)]
    assert len(mixes) == 2 and min(mixes) >= 2


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("ppo.py", 2_000),
        ("digits.py", 20),
        *(
            pytest.param(name, steps, marks=pytest.mark.long)
            for name, steps in (
                ("sb3_a2c.py", 2_000),
                ("finetuning.py", 20),
                ("dqn.py", 1_200),
                ("sac.py", 600),
                ("accelerated.py", 10),
                ("lightning_module.py", 10),
                ("trainer.py", 10),
            )
        ),
    ],
)
def test_alone_it_is_the_loop_that_it_was(name: str, steps: int) -> None:
    assert "agent 0: 0 mixes, ||x - mean|| = 0" in run(name, agents=1, steps=steps)


LINES = {"two": 2, "three": 3, "five": 5, "seven": 7}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_gossip_takes_few_lines_and_the_page_names_them(path: Path) -> None:
    text = path.read_text()
    marked = re.findall(r"# gossip$", text, flags=re.MULTILINE)
    promised = re.search(r"(two|three|five|seven) lines more", text)
    assert promised is not None and len(marked) == LINES[promised[1]] < 10
    assert f"experiments/examples/{path.name}" in PAGE.read_text()
