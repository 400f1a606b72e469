"""Videos of a run: the mp4 files of its folder ``videos``, as ``gala eval --video`` writes them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from gala.evaluation.kept import VIDEOS

MOST = 12
"""Videos that are shown, the newest ones."""


def videos_of(run: Path) -> list[dict[str, Any]]:
    """``name``, ``t`` (unix seconds) and ``bytes`` of each, newest first; links are left out."""
    found: list[dict[str, Any]] = []
    try:
        with os.scandir(run / VIDEOS) as entries:
            for entry in entries:
                if entry.name.lower().endswith(".mp4") and entry.is_file(follow_symlinks=False):
                    about = entry.stat(follow_symlinks=False)
                    found.append({"name": entry.name, "t": about.st_mtime, "bytes": about.st_size})
    except OSError:
        return []
    return sorted(found, key=lambda each: (-each["t"], each["name"]))[:MOST]


def video_at(run: Path, name: str) -> Path | None:
    """The file of a video by its name; None: there is none that is shown."""
    if name not in {each["name"] for each in videos_of(run)}:
        return None
    path = run / VIDEOS / name
    try:
        return path if stat.S_ISREG(os.lstat(path).st_mode) else None
    except OSError:
        return None
