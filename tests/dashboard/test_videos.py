"""Videos of a run: which are shown, and that nothing else is given out."""

import os
from pathlib import Path

import httpx2
import pytest
from browsing import Serve, Visit, needs_browser, wait
from made_run import MadeRun

from gala.dashboard.frozen import freeze
from gala.dashboard.videos import MOST, videos_of


def put(made: MadeRun, name: str, content: bytes, age: float = 0.0) -> Path:
    (made.path / "videos").mkdir(exist_ok=True)
    path = made.path / "videos" / name
    path.write_bytes(content)
    os.utime(path, (made.now - age, made.now - age))
    return path


def test_the_newest_are_shown_and_links_are_not(tmp_path: Path) -> None:
    made = MadeRun(tmp_path / "run", agents=1, records=2)
    assert videos_of(made.path) == []
    for k in range(MOST + 3):
        put(made, f"{k}.mp4", b"x" * k, age=k)
    put(made, "notes.txt", b"x")
    (made.path / "videos" / "link.mp4").symlink_to(made.path / "config.yaml")
    (made.path / "videos" / "folder.mp4").mkdir()
    found = videos_of(made.path)
    assert [each["name"] for each in found] == [f"{k}.mp4" for k in range(MOST)]
    assert [each["bytes"] for each in found] == list(range(MOST))


def test_only_what_is_shown_is_given_out(tmp_path: Path, serve: Serve) -> None:
    made = MadeRun(tmp_path / "a run", agents=1, records=2)
    content = bytes(range(256)) * 100
    put(made, "step 5, mean.mp4", content)
    (made.path / "videos" / "link.mp4").symlink_to(made.path / "config.yaml")
    address = f"{serve(tmp_path)}api/video/a%20run"
    whole = httpx2.get(address, params={"name": "step 5, mean.mp4"})
    assert whole.content == content and whole.headers["content-type"] == "video/mp4"
    part = httpx2.get(
        address, params={"name": "step 5, mean.mp4"}, headers={"Range": "bytes=10-19"}
    )
    assert part.status_code == 206 and part.content == content[10:20], "players move about in it"
    for name in ("", "link.mp4", "../config.yaml", "../../a run/config.yaml", "/etc/hostname"):
        assert httpx2.get(address, params={"name": name}).status_code == 404, name


@needs_browser
def test_the_page_plays_them(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    imageio = pytest.importorskip("imageio.v2")
    import numpy as np

    made = MadeRun(tmp_path / "run", agents=1, records=5)
    path = put(made, "step 5, mean, greedy.mp4", b"")
    pictures = np.random.default_rng(0).integers(0, 256, (10, 64, 64, 3), dtype=np.uint8)
    imageio.mimwrite(path, list(pictures), fps=10)
    page = visit.open(serve(tmp_path))
    assert page.locator("#videos figcaption").inner_text().startswith("step 5, mean, greedy, ")
    wait(page, "document.querySelector('#videos video').videoWidth === 64")


@needs_browser
def test_a_page_without_videos_has_no_place_for_them(tmp_path: Path, visit: Visit) -> None:
    made = MadeRun(tmp_path / "run", agents=1, records=5, ended=True)
    put(made, "of a server alone.mp4", b"x")
    (tmp_path / "report.html").write_text(freeze([made.path]))
    page = visit.open((tmp_path / "report.html").as_uri())
    assert page.locator("#videos").is_hidden()
