"""The picture of a prediction."""

from pathlib import Path

import pytest

from gala.files import pictures
from gala.simulation import plot
from gala.simulation.prediction import simulate
from gala.simulation.scenario import Scenario
from gala.topology import load_topology


def test_lines_in_the_legend_are_in_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bound far above everything is told in words, without a sample of a line."""
    prediction = simulate(load_topology("ring", 40), Scenario(updates=30, dimension=4))
    assert prediction.epsilon is not None
    assert prediction.epsilon > 3 * max(prediction.tally.divergence)
    figures = []
    monkeypatch.setattr(
        pictures, "save_figure", lambda figure, path: figures.append(figure) or Path(path)
    )
    plot.save(prediction, tmp_path / "p.png")
    axes = figures[0].axes[0]
    drawn = {line.get_label() for line in axes.lines if len(line.get_xdata())}
    handles, labels = axes.get_legend_handles_labels()
    absent = [h for h, label in zip(handles, labels, strict=True) if label not in drawn]
    assert absent and all(handle.get_linestyle() == "None" for handle in absent)
    assert any("bound" in label and "far above" in label for label in labels)
