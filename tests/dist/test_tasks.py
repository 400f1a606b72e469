"""Agents with tasks of their own, as a user starts them."""

from __future__ import annotations

from pathlib import Path

from launching import gala, records


def test_two_agents_with_a_task_each_train_and_go_on(tmp_path: Path) -> None:
    run, names = tmp_path / "run", ("charts/task/0/", "charts/task/1/")
    tasks = "[{length: 0.25}, {length: 1.0}]"
    few = ("--network.hidden", "[8]", "--total-steps", 3000, "--log.every-s", 0.05)
    begin = ("train", "cartpole-tasks", "--agents", 2, "--env.tasks", tasks, "--run-dir", run)
    shown = gala(*begin, *few)
    assert "tasks      0: length 0.25 (agent 0)" in shown and "1: length 1.0 (agent 1)" in shown
    gala("train", "--resume", run, "--agents", 2, "--total-steps", 5000)
    for rank in (0, 1):
        found = {name for record in records(run, rank) for name in record}
        assert f"{names[rank]}episodic_return" in found
        assert f"{names[1 - rank]}episodic_return" not in found
    assert "env.tasks" in gala("train", "--resume", run, "--env.tasks", "[{}]", code=2)
