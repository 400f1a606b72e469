"""Plans come from a store: they decide about a run, and never about where an agent writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from gala.agent.plan import find_plan, open_folder
from gala.errors import UserError
from gala.launch.launch import Launch
from gala.launch.rendezvous import Rendezvous

PLAN = {"run_dir": "runs/pong-1", "run_id": "0123456789abcdef", "meta": {"started": 0.0},
        "config": "a: 1\n", "topology": {}}  # fmt: skip


def found(plan: Any, run_dir: Path | None = None) -> dict[str, Any]:
    """What agent 1 makes of a plan in the store."""
    store = dist.HashStore()
    rendezvous = Rendezvous(store, lambda: store)
    Launch(agents=2, rendezvous=rendezvous).share("plan", plan)
    plan = find_plan(Launch(rank=1, agents=2, local_group=(1,), rendezvous=rendezvous), run_dir)
    assert plan is not None
    return dict(plan)


def test_a_run_below_runs_is_joined() -> None:
    assert found(PLAN) == PLAN


def test_the_folder_of_the_command_line_is_the_folder(tmp_path: Path) -> None:
    plan = found(PLAN | {"run_dir": "/etc"}, tmp_path / "mine")
    folder = open_folder(plan, (1,))
    assert folder.path == tmp_path / "mine" and folder.config.read_text() == "a: 1\n"
    assert folder.rank(1).is_dir()


@pytest.mark.parametrize(
    "run_dir", ["/tmp/elsewhere", "runs/..", "runs/a/b", "../runs/x", "runs", ".", "", "/runs/x"]
)
def test_no_other_folder_is_written(
    run_dir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no folder below runs .*say the same --run-dir"):
        found(PLAN | {"run_dir": run_dir})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "plan",
    [
        [], 5, "x", {}, PLAN | {"run_id": "../../x"}, PLAN | {"run_id": 3},
        PLAN | {"meta": []}, PLAN | {"config": None}, PLAN | {"run_dir": 1},
    ],
)  # fmt: skip
def test_what_is_no_plan_is_a_line(plan: Any) -> None:
    with pytest.raises(UserError, match="holds no plan of a run"):
        found(plan)


def test_who_failed_has_said_why() -> None:
    with pytest.raises(SystemExit):
        found({"failed": True})
