"""What rich shows: its own colours, and no steering letter of anybody else."""

from __future__ import annotations

import io

from rich.table import Table
from rich.text import Text

from gala.files.screen import Screen


def test_colours_are_its_own_and_names_are_text() -> None:
    file = io.StringIO()
    screen = Screen(file=file, force_terminal=True, color_system="standard", width=60)
    table = Table("na\x1bme")
    table.add_row(Text("\x1b]0;title\x07 \x9b2J", style="red"))
    screen.print(table)
    screen.print("plain \x1b[2J", markup=False, highlight=False)
    screen.print(Text("\x1b[5m"))
    shown = file.getvalue()
    assert "\x1b[31m" in shown, "the colour that was asked for"
    assert not {"\x07", "\x9b"} & {*shown} and "\x1b]" not in shown and "\x1b[2J" not in shown
    assert "plain [2J" in shown and "]0;title" in shown and "\x1b[5m" not in shown
