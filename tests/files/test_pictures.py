"""Figures are written in one piece or not at all."""

from pathlib import Path

import pytest

from gala.errors import UserError
from gala.files.pictures import new_figure, save_figure


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_suffix_says_the_format(suffix: str, magic: bytes, tmp_path: Path) -> None:
    path = save_figure(new_figure(1, 1), tmp_path / "deep" / f"x.{suffix}")
    assert path.read_bytes().startswith(magic)


@pytest.mark.parametrize("name", ["x.txt", "x"])
def test_other_suffixes_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no picture format .png, pdf or svg."):
        save_figure(new_figure(1, 1), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        save_figure(new_figure(1, 1), tmp_path / "file" / "x.png")
