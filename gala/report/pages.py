"""Pages of a report in PDF: the tables, set like the figures, and figures with their captions."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gala.files.pictures import new_figure
from gala.report.figures import DARK, Drawing
from gala.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHARACTER, ROW, MARGIN, GAP = 0.078, 0.22, 0.5, 0.18
"""Inches: mean width of a character of 8 points, height of a row, margin, space of columns."""

RULE = "#b5bec4"


def table_page(title: str, tables: Sequence[Table]) -> Figure:
    """All tables below one another, on a page as large as they are."""
    widths = [_widths(table) for table in tables]
    width = max(sum(each) for each in widths) + 2 * MARGIN
    notes = [textwrap.wrap(table.note, int((width - 2 * MARGIN) / CHARACTER)) for table in tables]
    rows = sum(len(table.rows) + len(note) + 3.5 for table, note in zip(tables, notes, strict=True))
    height = 2 * MARGIN + 0.5 + ROW * rows
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    sheet = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    sheet.set_xlim(0, width)
    sheet.set_ylim(height, 0)
    sheet.axis("off")

    def write(x: float, y: float, text: str, size: float = 8, **style: Any) -> None:
        sheet.text(x, y, text, fontsize=size, color=DARK, va="center", parse_math=False, **style)

    y = MARGIN
    write(MARGIN, y, title, 14)
    y += 0.5
    for table, columns, note in zip(tables, widths, notes, strict=True):
        write(MARGIN, y, table.title, 10)
        for line, cells in enumerate((table.columns, *table.rows)):
            y += ROW
            x = MARGIN
            for index, (cell, room) in enumerate(zip(cells, columns, strict=True)):
                if index < table.words:
                    write(x, y, cell, weight="normal" if line else "bold")
                else:
                    write(x + room - GAP, y, cell, ha="right", weight="normal" if line else "bold")
                x += room
            sheet.plot([MARGIN, x - GAP], [y + ROW / 2] * 2, color=RULE, linewidth=0.5)
        for text in note:
            y += ROW
            write(MARGIN, y, text, 7)
        y += 2.5 * ROW
    return figure


def captioned(drawing: Drawing) -> Figure:
    """The figure itself, below its title and caption."""
    figure = drawing.figure
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(drawing.caption, int((width - MARGIN) / CHARACTER * 8 / 7))
    above = 0.45 + 0.14 * len(lines)
    figure.set_size_inches(width, height + above)
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0.0, 0.0, 1.0, height / (height + above)))

    def write(inches: float, text: str, size: float) -> None:
        top = 1 - inches / (height + above)
        figure.text(0.5, top, text, fontsize=size, color=DARK, ha="center", va="top")

    write(0.12, drawing.title, 12)
    write(0.36, "\n".join(lines), 7)
    return figure


def _widths(table: Table) -> list[float]:
    """Inches of each column."""
    columns = zip(table.columns, *table.rows, strict=True)
    return [CHARACTER * max(map(len, column)) + GAP for column in columns]
