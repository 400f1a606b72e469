"""Which runs a folder holds, and how they are named."""

import shutil
from pathlib import Path

import pytest
from made_run import MadeRun

from gala.dashboard.run_index import DEPTH, find_runs, require_runs
from gala.errors import UserError


def test_a_run_folder_is_its_own_only_run(tmp_path: Path) -> None:
    MadeRun(tmp_path / "pong", agents=1, records=1)
    assert find_runs(tmp_path / "pong") == {"pong": tmp_path / "pong"}


def test_runs_below_a_folder_are_named_by_their_path(tmp_path: Path) -> None:
    for name in ("a", "seeds/1", "seeds/2"):
        MadeRun(tmp_path / name, agents=1, records=1)
    (tmp_path / "notes").mkdir()
    assert list(find_runs(tmp_path)) == ["a", "seeds/1", "seeds/2"]


def test_a_run_is_not_searched_for_others(tmp_path: Path) -> None:
    MadeRun(tmp_path / "a", agents=1, records=1)
    MadeRun(tmp_path / "a" / "inner", agents=1, records=1)
    assert list(find_runs(tmp_path)) == ["a"]


def test_the_search_has_a_depth(tmp_path: Path) -> None:
    deep = "/".join("abcd"[: DEPTH + 1])
    MadeRun(tmp_path / deep, agents=1, records=1)
    assert find_runs(tmp_path) == {}


def test_links_are_followed_once_and_hidden_folders_are_not(tmp_path: Path) -> None:
    MadeRun(tmp_path / "elsewhere" / "run", agents=1, records=1)
    MadeRun(tmp_path / "runs" / ".hidden", agents=1, records=1)
    MadeRun(tmp_path / "runs" / "z", agents=1, records=1)
    for name, target in (("a", "runs/z"), ("link", "elsewhere"), ("round", "runs"), ("x", "no")):
        (tmp_path / "runs" / name).symlink_to(tmp_path / target)
    assert list(find_runs(tmp_path / "runs")) == ["z", "link/run"]


def test_a_run_that_lost_its_meta_file_is_still_one(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "a", agents=2, records=1)
    (run.path / "meta.json").unlink()
    assert list(find_runs(tmp_path)) == ["a"]


def test_a_run_whose_first_agent_is_gone_is_still_one(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "a", agents=2, records=1)
    (run.path / "meta.json").unlink()
    shutil.rmtree(run.path / "rank_00")
    assert list(find_runs(tmp_path)) == ["a"]


def test_no_folder_and_no_run_are_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        require_runs(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no run"):
        require_runs(tmp_path)
