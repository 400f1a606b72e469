"""The picture of one update: every text within its box, and none over another."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))
import architecture

pytest.importorskip("matplotlib")

Texts = list[tuple[str, Any]]


@pytest.fixture(scope="module")
def axes() -> Any:
    """Of the picture."""
    (found,) = architecture.draw().axes
    return found


@pytest.fixture(scope="module")
def texts(axes: Any) -> Texts:
    """Each text with the rectangle that it covers, in pixels."""
    renderer = axes.figure.canvas.get_renderer()
    found = [(each.get_text(), each.get_window_extent(renderer)) for each in axes.texts]
    return [(text, extent) for text, extent in found if text]


def test_no_text_covers_another(texts: Texts) -> None:
    assert len(texts) > 40
    over = [(a, b) for (a, one), (b, two) in itertools.combinations(texts, 2) if one.overlaps(two)]
    assert over == []


def test_texts_of_boxes_stay_within(axes: Any, texts: Texts) -> None:
    extents = dict(texts)
    for box in architecture.BOXES:
        corners = [(box.x, box.y), (box.x + box.width, box.y + box.height)]
        (left, bottom), (right, top) = axes.transData.transform(corners)
        for text in filter(None, (box.title, box.text)):
            inside = extents[text]
            assert left < inside.x0 and inside.x1 < right, text
            assert bottom < inside.y0 and inside.y1 < top, text


def test_no_line_runs_through_a_text(axes: Any, texts: Texts) -> None:
    for arrow in architecture.ARROWS:
        points = axes.transData.transform(arrow.corners)
        for (x, y), (to_x, to_y) in itertools.pairwise(points):
            for step in range(101):
                here = x + (to_x - x) * step / 100, y + (to_y - y) * step / 100
                assert [text for text, extent in texts if extent.contains(*here)] == [], arrow
