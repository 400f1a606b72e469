"""The pure parts of the measurement on a GPU, and what it says where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gala.bench.gpu_meter import Look
from gala.bench.measurement import Measurement
from gala.errors import UserError
from gala.run.request import read_request
from gala.telemetry.phases import PHASES

FOLDER = Path(__file__).parents[2] / "experiments" / "bench"
if not FOLDER.is_dir():
    pytest.skip("gala is installed, this is not a checkout", allow_module_level=True)
sys.path.insert(0, str(FOLDER))
import gpu  # noqa: E402


def row(way: str, agents: int, speed: float, **changes: Any) -> gpu.Row:
    given = {"utilisation": 0.5, "watts": 200.0, "memory_mb": 3000.0, "learn_ms": 2.0} | changes
    return gpu.Row(way=way, agents=agents, steps_per_second=speed, **given)


@pytest.mark.parametrize("way", gpu.NAMES)
@pytest.mark.parametrize("agents", [1, 2, 4, 8, 16])
def test_every_case_has_64_environments_and_is_accepted_by_gala(way: str, agents: int) -> None:
    case = gpu.case_of(way, agents, 64, "pong")
    request = read_request([str(each) for each in case.arguments], agents=agents)
    assert case.agents * request.config.env.num_envs == 64
    assert request.config.coupling == ("allreduce" if way == "allreduce" else "gossip")
    assert request.agents_per_process == (agents if way == "threads" else 1)
    assert request.config.device == "cuda:0" and request.topology.agents == agents


def test_environments_that_cannot_be_shared_are_refused() -> None:
    with pytest.raises(UserError, match="64 environments.*3 agents"):
        gpu.case_of("threads", 3, 64, "pong")


def test_rows_are_medians() -> None:
    found = [
        (
            Measurement(
                case="x",
                steps_per_second=speed,
                phases_ms=dict.fromkeys(PHASES, 1.0) | {"learn": speed / 100},
                overhead=0.0,
                memory_mb=None,
                start_s=1.0,
            ),
            Look(utilisation=share, watts=watts, memory_mb=1000),
        )
        for speed, share, watts in ((100, 0.2, 50), (900, 0.9, 300), (400, 0.5, 100))
    ]
    assert gpu.medians("threads", 4, found) == gpu.Row(
        way="threads", agents=4, steps_per_second=400, utilisation=0.5, watts=100, memory_mb=1000,
        learn_ms=4.0,
    )  # fmt: skip
    assert gpu.medians("threads", 4, found).steps_per_joule == 4.0


def test_the_page_compares_with_as_many_agents() -> None:
    rows = [row("threads", 4, 9000.0), row("threads", 8, 12000.0), row("allreduce", 4, 6000.0)]
    text = gpu.markdown(rows, gpu="Made-up GPU", envs=64, seconds=30, repeats=3)
    lines = [line for line in text.splitlines() if line.startswith("| gossip")]
    assert lines[0] == (
        "| gossip, threads of one process | 4 | 9,000 | 1.50 | 50 % | 200 | 45.0 | 3,000 | 2.0 |"
    )
    assert lines[1].split(" | ")[3] == "-", "nothing to compare with"
    assert "Made-up GPU; 30 s 3 times each" in text


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: the figure is not drawn")
    rows = [row(way, n, 1000.0 * n, watts=100.0 + n) for way in gpu.NAMES for n in (1, 4, 16)]
    gpu.draw(rows, tmp_path / "gpu.png")
    assert (tmp_path / "gpu.png").stat().st_size > 10_000


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / "gpu.py")], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "no CUDA device" in done.stderr
