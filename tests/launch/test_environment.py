"""Variables that a launcher or a notebook left behind: one line that names the variable."""

import os
import subprocess
import sys

import pytest

from gala.errors import UserError
from gala.launch.environment import check_environment, rank_from_environment

WHOLE = {
    "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "localhost", "MASTER_PORT": "29500", "TORCHELASTIC_RESTART_COUNT": "0",
}  # fmt: skip


def test_what_torchrun_sets_is_believed() -> None:
    for environment in ({}, WHOLE, {"OMP_NUM_THREADS": "4,2"}, {"RANK": "0", "WORLD_SIZE": "1"}):
        check_environment(environment)
    others = {name: WHOLE[name] for name in WHOLE if not name.startswith("MASTER")}
    check_environment(others | {"GALA_STORE": "tcp://host:29400"})


@pytest.mark.parametrize("value", ["", "auto", "-1", "1.5", "²", "0x2", "1 2", "9" * 5000])
@pytest.mark.parametrize("name", [*WHOLE, "OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_what_is_no_number_is_named(name: str, value: str) -> None:
    if name == "MASTER_ADDR" and value:
        return
    with pytest.raises(UserError, match=f"^{name}: (must be a whole number|is not set)"):
        check_environment(WHOLE | {name: value})


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT"])
def test_half_of_a_launch_is_none(name: str) -> None:
    left = {key: value for key, value in WHOLE.items() if key != name}
    with pytest.raises(UserError, match=f"{name}: is not set, and WORLD_SIZE is"):
        check_environment(left)


def test_ranks_are_below_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        with pytest.raises(UserError, match=f"{name}: must be below .*, which is 2, got 2"):
            check_environment(WHOLE | {name: "2"})
    monkeypatch.setenv("RANK", "3")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(UserError, match="RANK: must be below WORLD_SIZE, which is 1, got 3"):
        rank_from_environment()


@pytest.mark.parametrize(
    ("command", "name", "value"),
    [
        (("train",), "WORLD_SIZE", "auto"),
        (("train",), "RANK", ""),
        (("train", "--agents", "2"), "OMP_NUM_THREADS", "many"),
        (
            ("launch", "--rank", "0", "--size", "1", "--store", "file:///nowhere/x"),
            "OMP_NUM_THREADS",
            "0",
        ),
    ],
)
def test_commands_say_it_in_a_line(command: tuple[str, ...], name: str, value: str) -> None:
    clean = {key: each for key, each in os.environ.items() if key not in WHOLE}
    done = subprocess.run(
        [sys.executable, "-m", "gala", *command], env=clean | {name: value},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"gala: error: {name}: must be a whole number")
