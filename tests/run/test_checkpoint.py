"""Checkpoints under the faults they exist for: kills, full disks, damaged files, foreign files."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gala.errors import NotFinite
from gala.files import atomic
from gala.run import checkpoint
from gala.run.checkpoint import CheckpointError


def state(update: int, size: int = 1000) -> dict[str, Any]:
    return {
        "params": torch.full((size,), float(update)),
        "update": update,
        "layout": [["w", [size]]],
    }


def run_script(source: str, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(source), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


# -- writing and reading back


def test_save_and_load(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "checkpoints", 1234, state(1234), keep=3)
    assert path.name == "update_000001234.pt"
    loaded = checkpoint.load(path)
    assert torch.equal(loaded["params"], torch.full((1000,), 1234.0))
    assert loaded["update"] == 1234
    assert loaded["layout"] == [["w", [1000]]]


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=10,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), plain, max_size=4))
def test_plain_data_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("checkpoints")
    loaded = checkpoint.load(checkpoint.save(folder, 0, content, keep=1))
    assert loaded == content
    assert repr(loaded) == repr(content)  # == alone takes 1 for True and 1.0


def test_random_states_come_back_exactly(tmp_path: Path) -> None:
    torch_generator = torch.Generator().manual_seed(7)
    numpy_generator = np.random.default_rng(7)
    torch.rand(3, generator=torch_generator)
    numpy_generator.random(3)
    saved = {"torch": torch_generator.get_state(), "numpy": numpy_generator.bit_generator.state}
    loaded = checkpoint.load(checkpoint.save(tmp_path, 1, saved, keep=1))
    expected = torch.rand(5, generator=torch_generator), numpy_generator.random(5)

    torch_again, numpy_again = torch.Generator(), np.random.default_rng()
    torch_again.set_state(loaded["torch"])
    numpy_again.bit_generator.state = loaded["numpy"]
    assert torch.equal(torch.rand(5, generator=torch_again), expected[0])
    assert np.array_equal(numpy_again.random(5), expected[1])


def test_an_optimizers_state_comes_back(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.Adam([weight], lr=0.1)
    weight.square().sum().backward()
    optimizer.step()
    path = checkpoint.save(tmp_path, 1, {"optimizer": optimizer.state_dict()}, keep=1)
    loaded = checkpoint.load(path)["optimizer"]
    assert torch.equal(loaded["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])
    ordered = OrderedDict(a=torch.ones(2))
    assert checkpoint.load(checkpoint.save(tmp_path, 2, {"m": ordered}, keep=1))["m"].keys() == {
        "a"
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": {"b": [1, np.zeros(2)]}}, r"state\['a'\]\['b'\]\[1\] is a ndarray"),
        ({"a": np.float64(1.0)}, r"state\['a'\] is a float64"),
        ({"a": b"bytes"}, "bytes"),
        ({"a": Path("x")}, "PosixPath"),
        ({"a": lambda: 0}, "function"),
        ({Path("x"): 1}, "a key of state is a PosixPath"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(
    tmp_path: Path, content: dict[Any, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        checkpoint.save(tmp_path, 1, content, keep=1)
    assert os.listdir(tmp_path) == []


# -- which files are kept and found


def test_keeps_the_newest_few(tmp_path: Path) -> None:
    for update in (5, 10, 1_000_000_000, 20):
        checkpoint.save(tmp_path, update, state(update), keep=2)
    assert checkpoint.updates(tmp_path) == [20, 1_000_000_000]
    assert checkpoint.newest(tmp_path) == tmp_path / "update_1000000000.pt"


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("notes.txt", "update_1.pt", "update_000000001.pt.bak", "mean.safetensors"):
        (tmp_path / name).write_text("mine")
    checkpoint.save(tmp_path, 7, state(7), keep=1)
    assert checkpoint.updates(tmp_path) == [7]
    assert len(os.listdir(tmp_path)) == 5


def test_only_old_leftovers_of_killed_writers_are_removed(tmp_path: Path) -> None:
    old, young = tmp_path / ".update_000000001.pt.aa.tmp", tmp_path / ".update_000000002.pt.bb.tmp"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    checkpoint.save(tmp_path, 3, state(3), keep=1)
    assert not old.exists()
    assert young.exists()
    assert checkpoint.newest(tmp_path) == tmp_path / "update_000000003.pt"


def test_no_folder_and_an_empty_folder_hold_nothing(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        assert checkpoint.updates(folder) == []
        assert checkpoint.newest(folder) is None
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        checkpoint.load(tmp_path / "update_000000001.pt")


def test_common_is_the_newest_update_that_all_can_read(tmp_path: Path) -> None:
    saved = {0: (10, 20, 30, 40), 1: (10, 20, 30), 2: (10, 20, 30, 50)}
    for rank, updates in saved.items():
        for update in updates:
            checkpoint.save(checkpoint.folder_of(tmp_path, rank), update, state(update), keep=9)
    assert checkpoint.common(tmp_path, range(3)) == 30
    truncate(checkpoint.path_of(checkpoint.folder_of(tmp_path, 1), 30))
    assert checkpoint.common(tmp_path, range(3)) == 20
    assert checkpoint.common(tmp_path, [0]) == 40
    assert checkpoint.common(tmp_path, range(4)) is None
    assert checkpoint.common(tmp_path, []) is None


# -- damaged and foreign files


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_newest_falls_back_to_the_newest_that_can_be_read(tmp_path: Path) -> None:
    for update in (1, 2, 3, 4):
        checkpoint.save(tmp_path, update, state(update), keep=9)
    truncate(checkpoint.path_of(tmp_path, 4))
    checkpoint.path_of(tmp_path, 3).write_bytes(b"")
    assert checkpoint.newest(tmp_path) == checkpoint.path_of(tmp_path, 2)
    for update in (1, 2):
        checkpoint.path_of(tmp_path, update).write_text("not a checkpoint")
    assert checkpoint.newest(tmp_path) is None


@settings(max_examples=60, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_never_taken_for_parameters(
    tmp_path_factory: pytest.TempPathFactory, position: float, bit: int
) -> None:
    path = checkpoint.save(tmp_path_factory.mktemp("checkpoints"), 3, state(3), keep=1)
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1 << bit
    path.write_bytes(content)
    try:
        loaded = checkpoint.load(path)
    except CheckpointError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
    else:  # the bit was one that carries no data, such as a date in the archive
        assert torch.equal(loaded["params"], state(3)["params"])


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "was run"),)

    path = tmp_path / "update_000000001.pt"
    torch.save({"params": Bomb()}, path)
    with pytest.raises(CheckpointError, match=r"cannot be read: .*posix\.mkdir") as raised:
        checkpoint.load(path)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "was run").exists()
    assert checkpoint.newest(tmp_path) is None


def test_a_file_that_holds_something_else_says_what(tmp_path: Path) -> None:
    path = tmp_path / "update_000000001.pt"
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="holds a list, not a checkpoint"):
        checkpoint.load(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, state(1), keep=2)
    os.mkfifo(tmp_path / "update_000000002.pt")
    with pytest.raises(CheckpointError, match="no regular file"):
        checkpoint.load(tmp_path / "update_000000002.pt")
    assert checkpoint.newest(tmp_path) == tmp_path / "update_000000001.pt"


# -- failing disks


def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, 1, state(1), keep=1)

    def fsync(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "fsync", fsync)
        with pytest.raises(CheckpointError, match=r"update_000000002\.pt.*No space left on device"):
            checkpoint.save(tmp_path, 2, state(2), keep=1)
    assert os.listdir(tmp_path) == ["update_000000001.pt"]
    assert checkpoint.newest(tmp_path) == checkpoint.path_of(tmp_path, 1)
    checkpoint.save(tmp_path, 3, state(3), keep=1)  # and works again when there is space
    assert checkpoint.updates(tmp_path) == [3]


FAIL = """
    import json, os, sys, torch
    from gala.run import checkpoint
    folder, limit = sys.argv[1], int(sys.argv[2])
    if limit:
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    checkpoint.save(folder, 1, {"params": torch.ones(10_000)}, keep=1)
    try:
        checkpoint.save(folder, 2, {"params": torch.ones(1_000_000)}, keep=1)
        raised = None
    except checkpoint.CheckpointError as error:
        raised = str(error)
    checkpoint.save(folder, 3, {"params": torch.ones(10_000)}, keep=2)
    print(json.dumps({"raised": raised, "files": sorted(os.listdir(folder))}))
"""


def check_failed_save(result: subprocess.CompletedProcess[str], reason: str) -> None:
    assert result.returncode == 0, result.stderr
    outcome = json.loads(result.stdout)
    assert outcome["raised"].endswith(f"update_000000002.pt: cannot be written: {reason}")
    assert outcome["files"] == ["update_000000001.pt", "update_000000003.pt"]


def test_a_file_size_limit_in_the_middle_of_the_tensor(tmp_path: Path) -> None:
    check_failed_save(run_script(FAIL, tmp_path / "checkpoints", 1_000_000), "File too large")


def test_a_really_full_file_system(tmp_path: Path) -> None:
    mount = ["unshare", "-mr", "sh", "-c", 'mount -t tmpfs -o size=1m none "$1" && shift && "$@"']
    mount += ["sh", str(tmp_path)]
    if (
        not shutil.which("unshare")
        or subprocess.run([*mount, "true"], capture_output=True).returncode
    ):
        pytest.skip("needs unprivileged mount namespaces to fill a small file system")
    command = [
        *mount,
        sys.executable,
        "-c",
        textwrap.dedent(FAIL),
        str(tmp_path / "checkpoints"),
        "0",
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    check_failed_save(result, "No space left on device")


def test_no_permission_is_a_checkpoint_error(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):  # the superuser may write anywhere: use a file in the way
        folder.rmdir()
        folder.write_text("")
    with pytest.raises(
        CheckpointError, match=r"cannot be written: (Permission denied|File exists)"
    ):
        checkpoint.save(folder, 1, state(1), keep=1)


# -- kills: a process of its own forks a writer, which dies by SIGKILL


KILL_AT = """
    import os, signal, sys, torch
    from gala.run import checkpoint
    from gala.files import atomic
    folder, name, call, when = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    checkpoint.save(folder, 1, {"params": torch.full((1000,), 1.0)}, keep=1)
    module = checkpoint if name == "unlink" else atomic
    owner = os if name != "unlink" else checkpoint.Path
    real, calls = getattr(owner, name), 0
    def die(*args, **kwargs):
        global calls
        calls += 1
        if calls == call and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, die)
    checkpoint.save(folder, 2, {"params": torch.full((1000,), 2.0)}, keep=1)
"""


@pytest.mark.parametrize(
    ("name", "call", "when", "survivor"),
    [
        ("fsync", 1, "before", 1),
        ("replace", 1, "before", 1),
        ("replace", 1, "after", 2),
        ("unlink", 1, "before", 2),
    ],
)
def test_killed_at_each_step_of_a_save(
    tmp_path: Path, name: str, call: int, when: str, survivor: int
) -> None:
    result = run_script(KILL_AT, tmp_path, name, call, when)
    assert result.returncode == -9, result.stderr
    assert checkpoint.path_of(tmp_path, 1).exists()  # removed only when the new one is durable
    path = checkpoint.newest(tmp_path)
    assert path == checkpoint.path_of(tmp_path, survivor)
    assert torch.equal(checkpoint.load(path)["params"], torch.full((1000,), float(survivor)))


KILL_ANYTIME = """
    import json, os, random, signal, sys, time, torch
    from gala.run import checkpoint
    folder, seed = sys.argv[1], int(sys.argv[2])
    rng = random.Random(seed)
    torch.set_num_threads(1)  # a forked child has no worker threads
    update, outcomes = 1, []
    checkpoint.save(folder, update, {"params": torch.full((200_000,), 1.0)}, keep=2)
    for _ in range(15):
        child = os.fork()
        if child == 0:
            while True:
                update += 1
                params = torch.empty(200_000).fill_(update)
                checkpoint.save(folder, update, {"params": params}, keep=2)
        time.sleep(rng.uniform(0.002, 0.06))  # the moment of the kill, not a wait for anything
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        path = checkpoint.newest(folder)
        params = checkpoint.load(path)["params"]
        last = checkpoint.updates(folder)[-1]
        outcomes.append([update, last, int(path.stem[7:]), int(params.min()), int(params.max())])
        update = last
    print(json.dumps(outcomes))
"""


def test_killed_at_any_moment_the_newest_always_loads(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    result = run_script(KILL_ANYTIME, tmp_path, seed)
    assert result.returncode == 0, result.stderr
    outcomes = json.loads(result.stdout)
    assert len(outcomes) == 15
    for before, last, found, smallest, largest in outcomes:
        assert found == last >= before, seed  # what has its final name is never damaged
        assert smallest == largest == found, seed
    assert outcomes[-1][1] > 1, "the writer never finished a single checkpoint"


# -- what is not finite


@pytest.mark.parametrize("part", ["params", "learner"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_what_is_not_finite_replaces_nothing(tmp_path: Path, part: str, value: float) -> None:
    checkpoint.save(tmp_path, 1, state(1), keep=1)
    spoilt = torch.zeros(100)
    spoilt[77] = value
    bad = {**state(2), part: spoilt if part == "params" else {"optimizer": {"mean": spoilt}}}
    with pytest.raises(NotFinite, match="not finite after update 2"):
        checkpoint.save(tmp_path, 2, bad, keep=1)
    assert os.listdir(tmp_path) == ["update_000000001.pt"]


def test_environments_may_hold_what_they_like(tmp_path: Path) -> None:
    source = {"obs": torch.tensor([float("nan")]), "returns": [float("inf")]}
    checkpoint.save(tmp_path, 1, {**state(1), "source": source}, keep=1)
    assert checkpoint.newest(tmp_path) is not None


def test_one_goes_on_from_the_newest_that_is_finite(tmp_path: Path) -> None:
    """The others are told, and no longer count among those that are kept."""
    for update in (10, 20):
        checkpoint.save(tmp_path, update, state(update), keep=2)
    for update in (30, 40):
        torch.save({**state(update), "params": torch.tensor([float("nan")])},
                   checkpoint.path_of(tmp_path, update))  # fmt: skip
    checkpoint.path_of(tmp_path, 50).write_bytes(b"torn")
    told: list[tuple[str, str]] = []
    found = checkpoint.newest_finite(tmp_path, lambda path, why: told.append((path.name, why)))
    assert found == checkpoint.path_of(tmp_path, 20)
    assert [name for name, _ in told] == [f"update_0000000{n}.pt" for n in (50, 40, 30)]
    assert told[1][1] == "its parameters are not finite" and "cannot be read" in told[0][1]
    assert checkpoint.updates(tmp_path) == [10, 20, 50]


def test_common_is_finite_for_all(tmp_path: Path) -> None:
    for rank in range(2):
        for update in (10, 20):
            checkpoint.save(checkpoint.folder_of(tmp_path, rank), update, state(update), keep=9)
    spoilt = {**state(20), "params": torch.tensor([float("inf")])}
    torch.save(spoilt, checkpoint.path_of(checkpoint.folder_of(tmp_path, 1), 20))
    assert checkpoint.common(tmp_path, range(2)) == 10
