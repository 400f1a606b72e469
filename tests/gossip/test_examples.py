"""The committed examples of the library API: run as users run them, and few lines long."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "experiments" / "examples"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run(name: str, agents: int, steps: int) -> str:
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={agents}"]
        if agents > 1
        else []
    )
    if name == "sb3_a2c.py" and importlib.util.find_spec("stable_baselines3") is None:
        pytest.skip("stable-baselines3 is not installed: pip install 'gala[sb3]'")
    done = subprocess.run(
        [sys.executable, *launcher, str(EXAMPLES / name), "--steps", str(steps)],
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


@pytest.mark.parametrize("name", ["ppo.py", "sb3_a2c.py"])
def test_alone_it_is_the_loop_that_it_was(name: str) -> None:
    assert "agent 0: 0 mixes, ||x - mean|| = 0" in run(name, agents=1, steps=2_000)


@pytest.mark.parametrize("name", ["ppo.py", "sb3_a2c.py"])
def test_gossip_takes_at_most_five_lines(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    marked = re.findall(r"# gossip$", text, flags=re.MULTILINE)
    promised = re.search(r"(two|five) lines more", text)
    assert promised is not None and len(marked) == {"two": 2, "five": 5}[promised[1]]
