"""Lock-step under SIGKILL at any moment: those who live do not stand still, and all end in step."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROGRAM = Path(__file__).with_name("killing.py")
STANDSTILL_S = 5.0
"""Who waits for the dead waits for 60 s."""


@pytest.mark.parametrize(
    ("topology", "agents"),
    [("ring", 3), ("directed-ring", 4), pytest.param("complete", 4, marks=pytest.mark.long)],
)
def test_deaths_at_any_moment_stop_nobody(tmp_path: Path, topology: str, agents: int) -> None:
    command = [sys.executable, PROGRAM, topology, agents, 25, 1, tmp_path]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["standstill"] < STANDSTILL_S
    assert max(found["updates"]) - min(found["updates"]) <= 1
