"""The page while records come in: what is used is not replaced, and nothing is late or lost."""

import json
import time
from pathlib import Path

import pytest
from browsing import Serve, Visit, alive, needs_browser, wait
from made_run import MadeRun

pytestmark = needs_browser

HELD = "document.activeElement.dataset.rank"


def drawings(visit: Visit, count: int) -> None:
    """Wait until the page was drawn so often."""
    wait(visit.page, f"Number(document.body.dataset.drawn) >= {visit.drawn() + count}")


@pytest.mark.parametrize("what", [".node", "#chips .chip"])
def test_focus_stays_while_records_come(
    tmp_path: Path, serve: Serve, visit: Visit, what: str
) -> None:
    made = MadeRun(tmp_path / "run", agents=4, records=20)
    page = visit.open(serve(tmp_path))
    with alive(made):
        page.locator(f'{what}[data-rank="3"]').focus()
        drawings(visit, 4)
        assert page.evaluate(HELD) == "3"
        page.keyboard.press("Enter")
        wait(page, "location.hash.includes('agents=3')")
        drawings(visit, 2)
        assert page.evaluate(HELD) == "3"


def test_the_tip_stays_and_is_told_anew(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    made = MadeRun(tmp_path / "run", agents=4, records=20)
    page = visit.open(serve(tmp_path))
    node = page.locator('.node[data-rank="3"]')
    with alive(made):
        node.hover()
        first = page.locator("#tip").inner_text()
        wait(page, "document.getElementById('tip').textContent.includes('update 10')")  # of 10,010
        assert page.locator("#tip").inner_text() != first
    text = page.locator("#tip").inner_text()
    wait(page, f"document.getElementById('tip').textContent !== {text!r}")  # its age grows
    page.mouse.move(2, 2)
    assert page.locator("#tip").is_hidden()
    node.focus()
    assert page.locator("#tip").is_visible()


@pytest.mark.parametrize("what", ['.node[data-rank="2"]', '#chips [data-rank="2"]'])
def test_a_slow_click_is_a_click(tmp_path: Path, serve: Serve, visit: Visit, what: str) -> None:
    made = MadeRun(tmp_path / "run", agents=4, records=20)
    page = visit.open(serve(tmp_path))
    with alive(made):
        page.locator(what).hover()
        page.mouse.down()
        drawings(visit, 3)
        page.mouse.up()
        wait(page, "location.hash.includes('agents=2')")


def test_the_readout_stays_at_the_pointer(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    made = MadeRun(tmp_path / "run", agents=2, records=200)
    page = visit.open(serve(tmp_path))
    with alive(made):
        page.locator("#speed .u-over").hover(position={"x": 60, "y": 40})
        drawings(visit, 4)
        assert page.locator("#speed .where").inner_text() != "newest"
        assert page.locator("#return .where").inner_text() != "newest"  # the pointers of all charts


def test_charts_and_the_map_by_keyboard(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    MadeRun(tmp_path / "run", agents=3, records=100, ended=True)
    page = visit.open(serve(tmp_path))
    wait(page, "Gala.page.distances !== null")
    visit.settle()
    page.locator("#speed .plot").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+ArrowRight")
    first = page.locator("#speed .where").inner_text()
    page.keyboard.press("ArrowRight")
    second = page.locator("#speed .where").inner_text()
    assert (first, second) == ("0:11", "0:12")
    assert page.locator("#return .where").inner_text() == second
    assert "agent 2" in str(page.get_attribute("#speed .plot", "aria-valuetext"))
    page.keyboard.press("+")
    wait(page, "location.hash.includes('from=')")
    low, high = page.evaluate("Gala.page.window()")
    assert high - low == pytest.approx(99 / 2, rel=0.05) and low < 12 < high
    page.keyboard.press("PageDown")
    wait(page, f"Gala.page.window()[0] > {low + 10}")
    visit.settle()
    page.keyboard.press("-")
    page.keyboard.press("r")
    wait(page, "!location.hash.includes('from=')")
    page.locator("#heat canvas").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert "agents 0 and 2" in page.locator("#tip").inner_text()
    page.keyboard.press("1")  # goes to a view, and takes the focus along
    assert page.evaluate("document.activeElement.closest('.card').id") == "return"


def test_pause_holds_the_verdict(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    made = MadeRun(tmp_path / "run", agents=2, records=10)
    page = visit.open(serve(tmp_path))
    wait(page, "document.querySelectorAll('#eventlog tbody tr').length === 2")
    page.keyboard.press("p")
    wait(page, "document.getElementById('state').textContent === 'paused'")
    before = page.locator("#verdict").inner_text()
    made.append(0, made.line(0, 400, t=made.now + 1, **{"divergence/epsilon_ratio": 3.0}))
    made.append(0, made.event_line(0, made.now + 1, "alarm", "the agents are far apart"))
    wait(page, "Gala.page.held?.rows && Gala.page.held.events")
    visit.settle()
    assert page.locator("#verdict").inner_text() == before
    assert page.locator("#eventlog tbody tr").count() == 2
    page.keyboard.press("p")
    page.wait_for_selector("#verdict .bad")
    assert "1 alarm, at 0:1" in page.locator("#verdict").inner_text()


def test_runs_and_edges_that_come_later(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    made = MadeRun(tmp_path / "first", agents=4, records=10, now=time.time() + 60)
    topology = (made.path / "topology.json").read_text()
    (made.path / "topology.json").unlink()
    page = visit.open(serve(tmp_path))
    visit.settle()
    assert page.locator(".edge").count() == 0 and page.locator("#run option").count() == 1
    (made.path / "topology.json").write_text(topology)
    MadeRun(tmp_path / "second", agents=2, records=10)
    wait(page, "document.querySelectorAll('#run option').length === 2")
    wait(page, "document.querySelectorAll('.edge').length === 8")
    wait(page, "Gala.page.compared.charts[0].built?.series.length === 2")
    assert page.input_value("#run") == "first"


def test_an_agent_that_was_away_leaves_a_gap(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    made = MadeRun(tmp_path / "run", agents=3, records=100, ended=True)

    def away(line: str) -> bool:
        return made.start + 40 < json.loads(line)["t"] < made.start + 49

    lines = made.metrics(1).read_text().splitlines(keepends=True)
    kept = [line for line in lines if not away(line)]
    again = made.event_line(1, made.start + 48.5, "start", "update 400")
    made.metrics(1).write_text("".join([*kept[:42], again, *kept[42:]]))
    page = visit.open(serve(tmp_path))
    wait(page, "Gala.page.events.length === 7")
    visit.settle()
    gaps = page.evaluate(
        """() => { const { plot, built } = Gala.page.charts.find((c) => c.spec.id === 'return');
            return built.series.slice(0, 3).map((s, k) => plot.series[k + 1]._paths.gaps
                .map((gap) => gap.map((x) => plot.posToVal(x - plot.bbox.left, 'x')))); }"""
    )
    assert gaps[0] == gaps[2] == []
    ((begin, end),) = gaps[1]
    assert begin == pytest.approx(41, abs=1.5) and end == pytest.approx(50, abs=1.5)


def test_a_short_excursion_is_not_averaged_away(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    made = MadeRun(tmp_path / "run", agents=2, records=580, ended=True)
    lines = [made.event_line(0, made.start - 0.5, "start", "")]
    for k in range(580):
        out = {"divergence/epsilon_ratio": 3.0, "gossip/staleness_max": 40} if k == 301 else {}
        lines.append(made.line(0, k, **out))
    for t in (301, 302):
        lines.append(made.event_line(0, made.start + t, "alarm", "the agents are far apart"))
    made.metrics(0).write_text("".join([*lines, made.event_line(0, made.now, "done", "")]))
    page = visit.open(serve(tmp_path))
    wait(page, "Gala.page.events.length === 6")
    visit.settle()
    peak = "Math.max(...Gala.page.charts.find((c) => c.spec.id === '{}').built.series[0].values)"
    assert page.evaluate(peak.format("ratio")) == 3.0
    assert page.evaluate(peak.format("staleness")) == 40
    verdict = page.locator("#verdict").inner_text()
    assert "ball intact: 0.05" in verdict and "2 alarms, the last at 5:0" in verdict
    page.evaluate("Gala.page.series.thin(Gala.page.series.agents.get(0))")
    assert max(page.evaluate("Gala.page.series.agents.get(0)['divergence/epsilon_ratio']")) == 3.0


def test_readouts_tell_what_the_verdict_tells(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    made = MadeRun(tmp_path / "run", agents=2, records=500)
    for rank in range(2):
        made.append(rank, made.line(rank, 500, **{"divergence/epsilon_ratio": 0.0312}))
    page = visit.open(serve(tmp_path))
    wait(page, "document.getElementById('verdict').textContent.includes('0.0312 of the bound')")
    visit.settle()
    assert "divergence / bound 0.0312" in page.locator("#ratio .readout").inner_text()
