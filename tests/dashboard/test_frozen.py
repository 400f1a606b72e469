"""One file that needs nothing else."""

import json
import re
from pathlib import Path

from made_run import MadeRun

from gala.dashboard.frozen import freeze


def data_of(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="frozen">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])


def test_everything_is_inside(tmp_path: Path) -> None:
    runs = [MadeRun(tmp_path / name, records=20, ended=True).path for name in ("a", "b")]
    page = freeze(runs, summary_html="<table><tr><td>summed up</td></tr></table>")
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "summed up" in page and "class extends" not in page and "uPlot" in page
    data = data_of(page)
    assert [run["name"] for run in data["runs"]] == ["a", "b"]
    assert len(data["history"]["b"]["agents"]["3"]["t"]) == 20
    assert data["peers"]["a"]["peers"]["0"]["status"] == "done"
    assert data["events"]["a"]["all"][-1]["event"] == "done"


def test_many_agents_stay_small(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "big", agents=64, records=400)
    page = freeze([run.path])
    assert len(page) < 5e6
    assert len(data_of(page)["history"]["big"]["agents"]) == 64


def test_no_message_can_break_out(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "a", agents=1, records=2)
    evil = "</script><script>alert(1)</script>"
    run.append(0, run.event_line(0, run.now, "error", evil))
    run.meta(env_id=evil)
    page = freeze([run.path])
    assert evil not in page and data_of(page)["runs"][0]["env_id"] == evil
