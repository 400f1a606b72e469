"""Run folders: what is written, what is refused."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gala.errors import UserError
from gala.run.config import Config, load
from gala.run.folder import RunFolder, command_line, default_path, prepare
from gala.topology import load_topology


def make(path: Path, *, agents: int = 3, resume: bool = False) -> RunFolder:
    return prepare(
        path,
        config=Config(seed=7),
        agents=agents,
        topology=load_topology("ring", agents).to_json(),
        facts={"torch": "2", "parameters": 10, "frames_per_step": 4},
        resume=resume,
    )


def test_the_promised_names(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    names = {str(path.relative_to(run.path)) for path in run.path.rglob("*")}
    assert {"config.yaml", "topology.json", "meta.json", "logs", "rank_00/checkpoints",
            "rank_02/checkpoints"} <= names  # fmt: skip
    assert run.metrics(2) == run.path / "rank_02" / "metrics.jsonl"
    assert load(run.config) == Config(seed=7)
    topology = json.loads(run.topology.read_text())
    assert topology["name"] == "ring" and topology["agents"] == 3
    meta = run.read_meta()
    promised = {"run_id", "started", "command", "agents", "env_id", "gala", "python", "torch",
                "commit", "hostnames", "seed", "parameters", "coupling", "frames_per_step",
                "total_steps"}  # fmt: skip
    assert promised <= set(meta)
    assert len(bytes.fromhex(meta["run_id"])) == 8 and meta["agents"] == 3


def test_each_launch_has_its_own_id(tmp_path: Path) -> None:
    first = make(tmp_path / "run").read_meta()["run_id"]
    assert make(tmp_path / "run", resume=True).read_meta()["run_id"] != first


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    make(tmp_path / "run")
    with pytest.raises(UserError, match=r"holds another run .*--resume"):
        make(tmp_path / "run")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is not an empty folder"):
        make(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert make(tmp_path / "run").meta.exists()


def test_what_is_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such run folder"):
        RunFolder(tmp_path / "none").read_meta()
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(UserError, match="not a run folder"):
        RunFolder(tmp_path).read_meta()


def test_default_names_come_from_the_experiment() -> None:
    assert default_path(Path("experiments/pong.yaml")).name.startswith("pong-")
    assert default_path(None).parent == Path("runs")


@pytest.mark.parametrize(
    ("argv", "agents", "expected"),
    [
        (["train.py", "pong"], 4, "gala train pong --agents 4"),
        (["train.py", "a b.yaml"], 1, "gala train 'a b.yaml'"),
        (["gala", "train", "pong", "--agents", "2"], 2, "gala train pong --agents 2"),
    ],
)
def test_the_command_that_reruns_it(
    monkeypatch: pytest.MonkeyPatch, argv: list[str], agents: int, expected: str
) -> None:
    monkeypatch.setattr("sys.argv", argv)
    assert command_line(agents) == expected


def test_a_parent_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "mkdir", refuse)  # root may write everywhere: say it for the kernel
    with pytest.raises(UserError, match="cannot be written: Permission denied"):
        make(tmp_path / "run")


def test_names_of_one_second_are_all_different(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gala.run.folder.time.strftime", lambda form: "now")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: default_path(None), range(24)))
    assert len(set(found)) == 24 and Path("runs/run-now") in found
    assert all(path.is_dir() for path in found)


def test_a_folder_belongs_to_the_first_who_takes_it(tmp_path: Path) -> None:
    def attempt(_: int) -> bool:
        try:
            make(tmp_path / "run")
        except UserError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1


def test_runs_may_be_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").write_text("mine")
    with pytest.raises(UserError, match="^runs: is no folder$"):
        default_path(None)


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"{", b"\xff\xfe{\x00}\x00", b"[" * 100_000, b"null", b"\x00" * 99]
)
def test_damaged_facts_are_one_line(tmp_path: Path, content: bytes) -> None:
    run = make(tmp_path / "run")
    run.meta.write_bytes(content)
    with pytest.raises(UserError, match="no readable meta.json"):
        run.read_meta()
    for agents in (0, True, -3, "2", None, 1e3, 10**9):
        run.meta.write_text(json.dumps({"agents": agents}))
        with pytest.raises(UserError, match="agents: names no number of agents"):
            run.read_agents()
