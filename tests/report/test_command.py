"""``gala report``: every format from the files of runs, and mistakes in one line."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gala import cli
from gala.files import commands
from gala.report.command import read_report, summary_html
from gala.report.tables import Table, size

Write = Any


def records(final: float, ratio: float | None = 0.1, count: int = 12) -> list[dict[str, Any]]:
    learned = [
        {"charts/episodic_return": final * i / count, "divergence/total": 0.1 + i,
         "divergence/to_mean": 0.05 + i, "divergence/epsilon": 20.0 + i,
         "divergence/epsilon_ratio": ratio, "time/collect_ms": 3.0, "time/gossip_ms": 1.0}
        for i in range(1, count + 1)
    ]  # fmt: skip
    return [{"event": "start", "message": ""}, *learned, {"event": "done", "message": "done"}]


@pytest.fixture
def runs(write_run: Write) -> list[str]:
    made = [
        write_run(f"ring-{seed}", {rank: records(400.0 + 50 * seed + rank) for rank in (0, 1)},
                  seed=seed)
        for seed in (1, 2, 3)
    ]  # fmt: skip
    made.append(write_run("al<o>ne", {0: records(200.0, None)}, coupling="none", seed=1))
    return [str(run) for run in made]


def test_without_output_the_tables_are_shown(
    runs: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    assert cli.main(["report", *runs]) == 0
    shown = capsys.readouterr().out
    assert all(title in shown for title in ("Learning", "Agreement", "Sets of seeds"))
    assert "2 agents, ring" in shown and "al<o>ne" in shown and "2 of 3" in shown


def test_a_pipe_gets_tables_of_any_width_uncut(
    runs: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["report", *runs]) == 0
    shown = capsys.readouterr().out
    assert "…" not in shown and "environment" in shown and "450.50" in shown
    (head,) = [line for line in shown.splitlines() if "time to it" in line]
    assert len(head) > 100 and "│ ring-1" in shown


@pytest.mark.parametrize("columns", [30, 80])
def test_a_narrow_terminal_gets_a_line_for_each_number(runs: list[str], columns: int) -> None:
    made = read_report({Path(run).name: Path(run) for run in runs})
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=columns)
    for table in made.tables:
        table.print(console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in shown and "│" not in shown
    assert "  run          ring-1\n" in shown and "  return       450.50\n" in shown
    wide = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=300)
    made.tables[0].print(wide)
    assert "│ ring-1" in wide.file.getvalue()  # type: ignore[attr-defined]


def test_one_run_of_a_kind_has_no_profile(
    runs: list[str], write_run: Write, tmp_path: Path
) -> None:
    alone = write_run("cart", {0: records(300.0)}, env_id="Cart-v9", seed=1)
    path = tmp_path / "one"
    assert cli.main(["report", runs[0], str(alone), "--format", "png", "-o", str(path)]) == 0
    assert not (path / "profile.png").exists()
    made = read_report({Path(run).name: Path(run) for run in [*runs, alone]})
    (drawing,) = [each for each in made.drawings() if each.name == "profile"]
    steps = [line for ax in drawing.figure.axes for line in ax.lines]
    assert len(steps) == 1  # the three seeds


def test_json_has_the_fixed_names(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", *runs, "--json", "--threshold", "-1.5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"runs", "sets", "methods"} and found["methods"] == []
    first = found["runs"][0]
    assert (first["name"], first["final_return"], first["threshold"]) == ("ring-1", 450.5, -1.5)
    assert {"steps_per_s", "epsilon_ratio_max", "deaths", "mixes", "bytes_sent"} <= set(first)
    assert found["sets"][0]["runs"] == ["ring-1", "ring-2", "ring-3"]
    assert len(found["sets"][0]["final_return"]) == 3


def test_markdown_names_figures_that_are_there(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out" / "my report.md"
    assert cli.main(["report", *runs, "-o", str(output)]) == 0
    text = output.read_text()
    named = re.findall(r"\(<([^>]+)>\)", text)
    assert {Path(name).stem for name in named} == {
        "learning", "ratio", "distance", "throughput", "profile",
    }  # fmt: skip
    for name in named:
        content = (output.parent / name).read_bytes()
        assert content.startswith(b"\x89PNG" if name.endswith("png") else b"<?xml")
    assert r"al\<o\>ne" in text and "| 2 of 3 |" in text
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("written: ")


def test_pdf_has_a_page_of_tables_and_one_a_figure(runs: list[str], tmp_path: Path) -> None:
    output = tmp_path / "r.pdf"
    assert cli.main(["report", *runs, "-o", str(output)]) == 0
    content = output.read_bytes()
    assert content.startswith(b"%PDF") and content.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type /Page\b", content)) == 6
    assert b"/Subtype /Image" not in content  # vectors only


def test_png_is_a_folder_of_figures(runs: list[str], tmp_path: Path) -> None:
    assert cli.main(["report", runs[0], "--format", "png", "-o", str(tmp_path / "f")]) == 0
    names = {path.name for path in (tmp_path / "f").iterdir()}
    assert names == {"learning.png", "ratio.png", "distance.png", "throughput.png"}


def test_a_run_without_games_or_ball_has_speed_alone(write_run: Write, tmp_path: Path) -> None:
    run = write_run("bare", {0: [{}, {}]}, env_id="Mine-v0")
    assert cli.main(["report", str(run), "-o", str(tmp_path / "f"), "--format", "png"]) == 0
    assert {path.name for path in (tmp_path / "f").iterdir()} == {"throughput.png"}


# -- html


class Tags(HTMLParser):
    """Every start tag, its attributes and the balance of tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_needs_neither_styles_nor_scripts(runs: list[str]) -> None:
    text = summary_html(read_report({Path(run).name: Path(run) for run in runs}))
    tags = Tags(text)
    assert tags.open == []
    names = [name for name, _ in tags.seen]
    assert names.count("svg") == names.count("figure") == 5 and names.count("table") == 3
    assert not {"script", "style", "foreignobject", "image", "o"} & set(names)
    for name, attributes in tags.seen:
        assert "style" not in attributes and not any(key.startswith("on") for key in attributes)
        assert ":" not in name and not any("xlink" in key for key in attributes)
    ids = [attributes["id"] for _, attributes in tags.seen if "id" in attributes]
    assert len(ids) == len(set(ids)) > 100
    used = {a["href"] for name, a in tags.seen if name == "use"}
    used |= {f"#{m}" for m in re.findall(r"url\(#([^)]+)\)", text)}
    assert used and used <= {f"#{each}" for each in ids}
    assert "al&lt;o&gt;ne" in text


def test_html_is_the_frozen_page_with_the_summary(runs: list[str], tmp_path: Path) -> None:
    assert cli.main(["report", *runs, "-o", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text()
    assert page.startswith("<!doctype html>") and "ring-3" in page
    assert "<caption>Sets of seeds</caption>" in page and 'id="figure-profile-figure_1"' in page
    assert not re.search(r"(src|href)=[\"']?http", page)  # it needs nobody else
    assert len(page) < 5e6


# -- tables


def test_a_table_in_markdown_and_html() -> None:
    table = Table("T", ("run", "n"), (("a|b", "1"), ("<i>", "2")), note="x < y")
    assert table.markdown() == (
        "## T\n\n| run | n |\n| --- | ---: |\n| a\\|b | 1 |\n| \\<i\\> | 2 |\n\nx < y"
    )
    assert '<th scope="row">&lt;i&gt;</th><td>2</td>' in table.html()
    assert "<p>x &lt; y</p>" in table.html()


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (286221920, "286 MB"), (7e15, "7e+03 TB")],
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


# -- mistakes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["RUN/../nowhere"], "nowhere: no such run folder"),
        (["RUN/logs"], "logs: holds no records"),
        (["RUN/../rotten"], "rotten: has no readable record"),
        (["RUN", "-o", "r.doc"], "r.doc: no format is named 'doc' (known: md, pdf, png, html)"),
        (["RUN", "--format", "pfd"], "--format: no format is named 'pfd' (did you mean 'pdf'?)"),
        (
            ["RUN", "-o", "r.md", "--format", "pdf"],
            "r.md: the suffix does not say pdf (e.g. x.pdf)",
        ),
        (["RUN", "-o", "r", "--format", "pdf"], "r: the suffix does not say pdf"),
        (["RUN", "-o", "RUN/meta.json/r.md"], "cannot be written"),
        (["RUN", "--threshold", "high"], "--threshold: must be a number, got 'high'"),
        ([], "the following arguments are required: run"),
    ],
)
def test_mistakes(
    arguments: list[str], words: str, runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (Path(runs[0]) / "logs").mkdir()
    rotten = Path(runs[0]).parent / "rotten" / "rank_00"
    rotten.mkdir(parents=True)
    (rotten / "metrics.jsonl").write_bytes(b"\xff\xff\n{}\n")
    assert cli.main(["report", *(each.replace("RUN", runs[0]) for each in arguments)]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_a_missing_extra_is_named(
    runs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cli.main(["report", runs[0], "--format", "pdf"]) == 2
    message = f"gala: error: plots need matplotlib ({commands.install('plots')})\n"
    assert capsys.readouterr().err == message


def test_nothing_heavy_is_loaded(runs: list[str], tmp_path: Path) -> None:
    script = (
        "import sys\nfrom gala import cli\nassert cli.main(sys.argv[1:]) == 0\n"
        "heavy = {'torch', 'gymnasium', 'scipy', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    command = [sys.executable, "-c", script, "report", runs[0], "-o", str(tmp_path / "r.pdf")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
