"""What gala doctor says of run folders: of whole ones, and of every file that is not."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from gala.config.sections import CheckpointConfig, EnvConfig, LogConfig, NetworkConfig
from gala.doctor.finding import Finding
from gala.doctor.run_folder import examine_run
from gala.errors import UserError
from gala.learning.a2c_config import A2CConfig
from gala.run import checkpoint
from gala.run.config import Config
from gala.telemetry.history import History, history_damage

Train = Callable[..., Any]


@pytest.fixture
def run(train_here: Train, tmp_path: Path) -> Path:
    """A run that is done, whole in every file."""
    train_here(
        Config(
            total_steps=200,
            env=EnvConfig(id="gala/Identity-v0", num_envs=4),
            network=NetworkConfig(kind="mlp", hidden=(8,)),
            a2c=A2CConfig(n_step=5),
            log=LogConfig(every_s=1e-3, tensorboard=False),
            checkpoint=CheckpointConfig(every_steps=80),
        )
    )
    return tmp_path / "run"


def examined(run: Path) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine_run(run)}


def test_a_whole_run_is_ok(run: Path) -> None:
    found = examined(run)
    assert {each.state for each in found.values()} == {"ok"} and len(found) == 7
    assert found["agent 0"].message == "done at update 10, step 200, incarnation 0"
    assert found["agent 0: checkpoints"].message == "3 finite, the newest of update 10"
    assert all(not each.advice and "\n" not in each.line(20) for each in found.values())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def rubbish(path: Path) -> None:
    path.write_bytes(b"\x00rubbish\xff\n")


def insert_line(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b'{"v": 1, "t"\n', *lines[1:]]))


def put_nan(path: Path) -> None:
    state = checkpoint.load(path)
    state["params"][3] = float("nan")
    torch.save(state, path)


def put_nan_into_the_optimizer(path: Path) -> None:
    state = checkpoint.load(path)
    square = next(t for t in checkpoint._floats(state["learner"]) if t.numel() > 1)
    square[0] = float("inf")
    torch.save(state, path)


def foreign(path: Path) -> None:
    torch.save({"something": 1}, path)


def other_network(path: Path) -> None:
    state = checkpoint.load(path)
    torch.save(state | {"params": torch.zeros(7)}, path)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def write_cut_history(path: Path) -> None:
    History(path, incarnation=0, capacity=8).close()
    assert history_damage(path) is None
    cut(path)


def write_other(path: Path) -> None:
    path.write_bytes(b"GALASKT1" + bytes(200))


CHECKPOINT = "rank_00/checkpoints/update_000000008.pt"
DAMAGE: list[tuple[str, Callable[[Path], object], str, str]] = [
    ("config.yaml", cut, "config.yaml", ""),
    ("config.yaml", rubbish, "config.yaml", ""),
    ("config.yaml", Path.unlink, "config.yaml", ""),
    ("meta.json", cut, "meta.json", "no JSON"),
    ("meta.json", Path.unlink, "meta.json", "is not there"),
    ("topology.json", cut, "topology.json", "no JSON"),
    ("topology.json", lambda p: p.write_text("[]"), "topology.json", "no JSON object"),
    ("topology.json", lambda p: p.write_text("{}"), "topology.json", "no list of edges"),
    (
        "topology.json",
        lambda p: p.write_text('{"edges": [{"source": 0, "target": 5}]}'),
        "topology.json",
        "not between two of 1 agents",
    ),
    ("rank_00/metrics.jsonl", insert_line, "agent 0: records", "1 damaged line of"),
    ("rank_00/metrics.jsonl", rubbish, "agent 0: records", "1 damaged line of 0"),
    ("rank_00/metrics.jsonl", Path.unlink, "agent 0: records", "there are none"),
    ("rank_00/sketches.bin", rubbish, "agent 0: sketches", "no header"),
    (CHECKPOINT, cut, "agent 0: checkpoints", "update_000000008.pt: cannot be read"),
    (CHECKPOINT, flip, "agent 0: checkpoints", "update_000000008.pt: "),
    (CHECKPOINT, rubbish, "agent 0: checkpoints", "update_000000008.pt: cannot be read"),
    (CHECKPOINT, put_nan, "agent 0: checkpoints", "1 of"),
    (CHECKPOINT, put_nan_into_the_optimizer, "agent 0: checkpoints", "of its optimizer is not"),
    (CHECKPOINT, foreign, "agent 0: checkpoints", "holds no parameters"),
    (CHECKPOINT, other_network, "agent 0: checkpoints", "holds 7 parameters, its network has"),
    (CHECKPOINT, pipe, "agent 0: checkpoints", "no regular file"),
    ("rank_00/sketches.bin", pipe, "agent 0: sketches", "no regular file"),
    ("rank_00/steps.bin", rubbish, "agent 0: sketches", "steps.bin: has no header"),
    ("rank_00/layers.bin", rubbish, "agent 0: sketches", "layers.bin: has no header"),
    ("rank_00/history.bin", rubbish, "agent 0: history", "has no header"),
    ("rank_00/history.bin", write_cut_history, "agent 0: history", "bytes instead of"),
    ("rank_00/history.bin", write_other, "agent 0: history", "is no history"),
    ("rank_00/metrics.jsonl", pipe, "agent 0: records", "not a file"),
]


@pytest.mark.parametrize(("file", "harm", "name", "words"), DAMAGE)
def test_every_damaged_file_is_wrong_and_named(
    run: Path, file: str, harm: Callable[[Path], object], name: str, words: str
) -> None:
    harm(run / file)
    found = examined(run)[name]
    assert found.state == "wrong" and words in found.message and found.advice
    assert "\n" not in found.line(20)
    if file == CHECKPOINT:
        assert "update 10 is good" in found.advice


def test_what_was_going_on_is_a_warning(run: Path) -> None:
    with open(run / "rank_00" / "metrics.jsonl", "ab") as file:
        file.write(b'{"v": 1, "t": 17')
    (run / "rank_00" / "checkpoints" / ".update_000000011.pt.00aa.tmp").write_bytes(b"PK")
    with open(run / "rank_00" / "sketches.bin", "ab") as file:
        file.write(b"half")
    found = examined(run)
    for name in ("records", "checkpoints", "sketches"):
        assert found[f"agent 0: {name}"].state == "warning", name
    assert found["agent 0"].state == "ok"


def test_a_mean_is_read_too(run: Path) -> None:
    file = run / "mean.safetensors"
    safetensors.torch.save_file({"w": torch.ones(3)}, file)
    assert examined(run)["mean.safetensors"].state == "ok"
    safetensors.torch.save_file({"w": torch.tensor([1.0, float("inf")])}, file)
    assert examined(run)["mean.safetensors"].message == "is not finite"
    cut(file)
    assert examined(run)["mean.safetensors"].state == "wrong"
    pipe(file)
    assert "no regular file" in examined(run)["mean.safetensors"].message


def test_a_pipe_in_place_of_who_runs_is_nobody(run: Path) -> None:
    pipe(run / "rank_00" / "agent.json")
    assert examined(run)["agent 0"].state == "ok"


def test_an_agent_whose_folder_is_gone_is_missed(run: Path) -> None:
    meta = json.loads((run / "meta.json").read_text())
    (run / "meta.json").write_text(json.dumps(meta | {"agents": 2}))
    found = examined(run)
    assert found["agent 1: records"].state == "wrong"
    assert found["agent 0: records"].state == "ok"


Records = list[dict[str, Any]]


def agents(write_run: Any, ends: dict[int, Records], **pids: int) -> dict[str, Finding]:
    run = write_run("run", ends)
    for rank in ends:
        process = {"host": socket.gethostname(), "pid": pids.get(f"pid{rank}", os.getpid())}
        (run / f"rank_{rank:02d}" / "agent.json").write_text(json.dumps(process))
    return examined(run)


def test_where_each_agent_is(write_run: Any) -> None:
    now = time.time()
    start = {"event": "start", "message": "", "t": now - 100}
    done = {"event": "done", "message": "done", "t": now}
    found = agents(
        write_run,
        {
            0: [start, {"t": now, "update": 500, "step": 9}],
            1: [start, {"t": now, "update": 10}],
            2: [start, {"t": now - 90, "update": 400}],
            3: [start, {"t": now, "update": 7}, done | {"update": 8}],
            4: [done, start, {"t": now, "update": 9, "incarnation": 1}],
        },
        pid4=2**22 + 1,
    )
    assert found["agent 0"].message == "runs, update 500, step 9, incarnation 0"
    assert found["agent 1"].message.startswith("490 updates behind agent 0")
    assert found["agent 2"].message.startswith("silent for 9")
    assert found["agent 3"].message.startswith("done at update 8")
    assert found["agent 4"].message.startswith("ended without a word at update 9")
    assert [found[f"agent {rank}"].state for rank in range(5)] == [
        "ok", "warning", "warning", "ok", "warning",
    ]  # fmt: skip
    assert "gala train --resume" in found["agent 4"].advice


def test_records_of_any_content_are_survived(write_run: Any) -> None:
    found = agents(write_run, {0: [{"t": "x", "update": [], "step": 10**400, "event": {}}]})
    assert found["agent 0"].name == "agent 0"


def test_what_is_no_run_is_bad_input(tmp_path: Path, run: Path) -> None:
    for path, words in ((tmp_path / "none", "no such run folder"), (tmp_path, "holds no run")):
        with pytest.raises(UserError, match=words):
            list(examine_run(path))
    shutil.rmtree(run / "rank_00")
    assert examined(run)["agent 0: records"].state == "wrong"
