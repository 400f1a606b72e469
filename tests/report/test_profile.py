"""``gala profile``: phases of agents as a table, as JSON and as a picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from gala import cli
from gala.errors import UserError
from gala.report import gantt
from gala.report.figures import COLOURS
from gala.report.profile import profile, read_streams, title
from gala.report.streams import Span, Stream
from gala.telemetry.phases import PHASES

LENGTHS = {"collect": 0.010, "learn": 0.006, "gossip": 0.002, "log": 0.001, "other": 0.001}


def lines(rank: int, *, begin: float, updates: int, factor: float = 1.0) -> list[dict[str, Any]]:
    """Every other update mixes."""
    found, now = [], begin
    for update in range(1, updates + 1):
        for phase in PHASES:
            if (update, phase) == (updates, "other"):
                break
            end = now + factor * LENGTHS[phase]
            found.append({
                "v": 1, "rank": rank, "update": update + (phase == "other"), "phase": phase,
                "begin": now, "end": end, "mixed": update % 2 == 0 if phase == "gossip" else None,
            })  # fmt: skip
            now = end
    return found


@pytest.fixture
def run(write_run: Any) -> Path:
    made: Path = write_run("two", {0: [], 1: []})
    for rank in (0, 1):
        folder = made / f"rank_{rank:02d}" / "profile"
        folder.mkdir()
        each = lines(rank, begin=100.0 + 0.005 * rank, updates=10, factor=1.0 + rank)
        (folder / "phases.jsonl").write_text("".join(json.dumps(x) + "\n" for x in each))
    return made


def test_json_has_an_object_for_each_agent(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["profile", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["damaged_lines"] == 0 and found["picture"] is None
    first, second = found["agents"]
    assert (first["agent"], first["first_update"], first["updates"]) == (0, 1, 10)
    assert first["update_ms"] == pytest.approx(19.9)  # the last one has no `other` behind it
    assert first["phases_ms"]["collect"] == pytest.approx(10.0)
    assert second["phases_ms"]["gossip"] == pytest.approx(4.0)
    assert first["mixes_per_update"] == 0.5
    assert second["begin"] == pytest.approx(100.005)


def test_the_table_fits_a_terminal(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["profile", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "10 updates of each agent" in shown and "19.90" in shown and "0.50" in shown
    assert all(word in shown for word in (*PHASES, "mixes")) and "…" not in shown


@pytest.mark.parametrize("name", ["gantt.png", "gantt.svg", "deep/gantt.pdf"])
def test_the_suffix_says_the_format(run: Path, tmp_path: Path, name: str) -> None:
    picture = tmp_path / name
    assert cli.main(["profile", str(run), "-o", str(picture)]) == 0
    assert picture.stat().st_size > 1000


def test_damaged_lines_are_passed_over_and_counted(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "rank_00" / "profile" / "phases.jsonl"
    good = json.loads(path.read_text().splitlines()[0])
    bad: list[Any] = [
        "{half", [1], good | {"phase": "sleep"}, good | {"begin": None}, good | {"update": "x"},
        good | {"end": good["begin"] - 1.0}, good | {"rank": None},
    ]  # fmt: skip
    with open(path, "a") as file:
        for each in bad:
            file.write((each if isinstance(each, str) else json.dumps(each)) + "\n")
        file.write('{"v": 1, "rank": 0')  # a kill in the middle of a line
    before = read_streams(run)[0][0]
    assert len(before.spans) == 49
    assert cli.main(["profile", str(run)]) == 0
    assert f"{len(bad)} damaged lines" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("break_it", "rule"),
    [
        (lambda run: run / "nowhere", "no such run folder"),
        (lambda run: run / "rank_00", "holds no profile .gala train ... --profile"),
    ],
)
def test_without_a_profile_there_is_a_line(
    run: Path, capsys: pytest.CaptureFixture[str], break_it: Any, rule: str
) -> None:
    assert cli.main(["profile", str(break_it(run))]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and captured.out == ""
    with pytest.raises(UserError, match=rule):
        profile(break_it(run))


def test_without_matplotlib_nothing_is_read(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match="plots need matplotlib"):
        profile(run, output=run / "gantt.png")


# -- the picture


def bars(figure: Figure) -> dict[str, list[tuple[float, float, float]]]:
    """By phase: left, right in ms and row of each bar."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    (ax,) = figure.axes
    for each in ax.collections:
        assert isinstance(each, PolyCollection)
        colour = "#{:02X}{:02X}{:02X}".format(*(round(255 * c) for c in each.get_facecolor()[0]))
        phase = next(p for p, known in gantt.COLOUR_OF.items() if known == colour)
        for path in each.get_paths():
            x, y = path.vertices[:, 0], path.vertices[:, 1]
            found.setdefault(phase, []).append((x.min(), x.max(), round((y.min() + y.max()) / 2)))
    return found


def test_a_lane_an_agent_in_the_colours_of_the_reports(run: Path) -> None:
    streams, _ = read_streams(run)
    figure = gantt.draw(streams, title(run, 2), seconds=0.05)
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["agent 0", "agent 1"]
    assert ax.get_title(loc="left") == "two, CartPole-v1, 2 agents, ring"
    assert ax.get_xlim() == (0.0, pytest.approx(50.0))
    found = bars(figure)
    assert set(found) == set(PHASES) and gantt.COLOUR_OF["collect"] == COLOURS[0]
    # what is shown begins where both had begun: 5 ms after agent 0
    first = {row: next(b for b in found["collect"] if b[2] == row) for row in (0, 1)}
    assert first[0][:2] == (pytest.approx(-5.0), pytest.approx(5.0))
    assert first[1][:2] == (pytest.approx(0.0), pytest.approx(20.0))


def test_mixes_are_marked_where_they_happened(run: Path) -> None:
    streams, _ = read_streams(run)
    figure = gantt.draw(streams, "", seconds=0.077)
    (ax,) = figure.axes
    marks = [line for line in ax.lines if line.get_marker() == "v"]
    # in its second update agent 0 mixes 20 + 18 ms after its begin, 33 after that of the picture
    assert list(marks[0].get_xdata()) == [pytest.approx(33.0), pytest.approx(73.0)]
    assert list(marks[1].get_xdata()) == [pytest.approx(76.0)]
    assert marks[0].get_ydata()[0] < 0 < marks[1].get_ydata()[0] < 1
    cut = gantt.draw(streams, "", seconds=0.0725).axes[0]  # within the gossip of agent 0
    assert [len(line.get_xdata()) for line in cut.lines if line.get_marker() == "v"] == [1, 0]


def stream(rank: int, begin: float, end: float, updates: int = 2) -> Stream:
    width = (end - begin) / updates
    spans = [
        Span(u, "collect", begin + u * width, begin + (u + 1) * width, False)
        for u in range(updates)
    ]
    return Stream(rank, tuple(spans))


def test_the_window_is_that_of_all_agents_and_not_too_long() -> None:
    overlapping = [stream(0, 0.0, 10.0), stream(1, 4.0, 30.0)]
    assert gantt.common_window(overlapping) == (4.0, 10.0)
    assert gantt.common_window(overlapping, 2.5) == (4.0, 6.5)
    assert gantt.common_window(overlapping, 99.0) == (4.0, 10.0)
    many = [stream(0, 0.0, 100.0, 100), stream(1, 1.0, 101.0, 100)]
    assert gantt.common_window(many) == (1.0, pytest.approx(1.0 + gantt.SHOWN_UPDATES))
    apart = [stream(0, 0.0, 1.0), stream(1, 5.0, 6.0)]
    assert gantt.common_window(apart) == (0.0, 6.0)
    assert gantt.common_window([stream(3, 2.0, 4.0)]) == (2.0, 4.0)


def test_one_agent_and_many_are_drawn() -> None:
    for count in (1, 64):
        figure = gantt.draw([stream(rank, 0.0, 1.0) for rank in range(count)], "title")
        assert len(figure.axes[0].get_yticks()) == count
        assert figure.get_size_inches()[1] <= 30.0
