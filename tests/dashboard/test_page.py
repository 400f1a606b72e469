"""The page in a real browser: what is drawn, what reacts, what it asks of whom."""

import json
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from browsing import CHARTS, Serve, Visit, colours, needs_browser, value, wait
from made_run import MadeRun
from PIL import Image
from playwright.sync_api import Browser

from gala.dashboard.frozen import freeze

pytestmark = needs_browser


@pytest.mark.parametrize("agents", [pytest.param(1, marks=pytest.mark.long), 4, 64])
def test_every_view_is_drawn_with_data(
    tmp_path: Path, serve: Serve, visit: Visit, agents: int
) -> None:
    MadeRun(tmp_path / "run", agents=agents, records=40)
    address = serve(tmp_path)
    page = visit.open(address)
    wait(page, "Gala.page.distances !== null")
    visit.settle()
    assert page.locator(".node").count() == agents
    assert page.locator(".edge").count() == {1: 0, 4: 8, 64: 128}[agents]
    empty = {"policies", "agreeing"} if agents == 1 else set()
    for chart in CHARTS:
        assert page.locator(f"#{chart}").is_hidden() == (chart in empty)
        if chart not in empty:
            assert colours(page, f"#{chart} .plot canvas") > 10, chart
            readout = page.locator(f"#{chart} .readout").inner_text()
            assert any(character.isdigit() for character in readout)
    if agents > 1:
        assert colours(page, "#heat canvas") > 5 and colours(page, "#agreement canvas") > 5
        assert "ball intact: 0.05 of the bound" in page.locator("#verdict").inner_text()
    assert page.locator("#eventlog tbody tr").count() == agents
    assert {urlsplit(each).netloc for each in visit.asked} == {urlsplit(address).netloc}


def test_a_record_is_shown_within_two_seconds(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    made = MadeRun(tmp_path / "run", agents=2, records=10)
    page = visit.open(serve(tmp_path))
    wait(page, "Gala.page.distances !== null")
    delays = []
    for k in range(10, 13):
        written = time.monotonic()
        for rank in range(2):
            made.append(rank, made.line(rank, k, t=made.now + k, **{"charts/SPS": 7000.0 + k}))
        wait(
            page,
            "Gala.page.charts.find((c) => c.spec.id === 'speed')"
            f".built.series[1].values.at(-1) === {7000 + k}",
        )
        delays.append(time.monotonic() - written)
    assert np.median(delays) < 2.0


def test_a_death_and_the_next_life_are_shown(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    made = MadeRun(tmp_path / "run", agents=4, records=10, now=time.time() + 60)
    page = visit.open(serve(tmp_path))
    page.wait_for_selector('.node[data-rank="1"][data-status="active"]')
    now = made.now
    made.append(2, made.event_line(2, now, "dead", "agent 1 is dead"))
    made.append(2, made.line(2, 10, t=now + 0.1, **{"gossip/in/1/state": 3}))
    page.wait_for_selector('.node[data-rank="1"][data-status="dead"]')
    page.wait_for_selector('.edge[data-edge="1-2"][data-kind="down"]')
    assert "dead: 1" in page.locator("#verdict").inner_text()
    assert "† dead" in str(page.locator('.node[data-rank="1"]').text_content())
    assert page.locator("tr.loud", has_text="agent 1 is dead").count() == 1
    made.append(1, made.event_line(1, now + 1, "start", "update 9"))
    made.append(2, made.line(2, 11, t=now + 1.2))
    page.wait_for_selector('.node[data-rank="1"][data-status="joining"]')
    made.append(1, made.line(1, 11, t=now + 1.5, incarnation=1))
    page.wait_for_selector('.node[data-rank="1"][data-status="active"]')
    assert "dead" not in page.locator("#verdict").inner_text()


def test_drag_zooms_all_charts_and_double_click_ends_it(
    tmp_path: Path, serve: Serve, visit: Visit
) -> None:
    MadeRun(tmp_path / "run", agents=2, records=100)
    page = visit.open(serve(tmp_path))
    page.locator("#return .u-over").scroll_into_view_if_needed()
    box = page.locator("#return .u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60, steps=5)
    page.mouse.up()
    wait(page, "location.hash.includes('from=')")
    visit.settle()
    ranges = page.evaluate(
        "Gala.page.charts.filter((c) => c.plot)"
        ".map((c) => [c.plot.scales.x.min, c.plot.scales.x.max])"
    )
    assert {tuple(each) for each in ranges} == {tuple(ranges[0])}
    assert 20 < ranges[0][0] < 30 and 45 < ranges[0][1] < 56
    page.locator("#return .u-over").dblclick(position={"x": 40, "y": 40})
    wait(page, "!location.hash.includes('from=')")
    visit.settle()
    low, high = page.evaluate(
        "(() => { const s = Gala.page.charts[0].plot.scales.x; return [s.min, s.max] })()"
    )
    assert low < 5 and high > 90


def test_a_zoom_reads_what_was_thinned(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    made = MadeRun(tmp_path / "run", agents=2, records=6_000)
    page = visit.open(serve(tmp_path))
    assert "th record is shown" in page.locator("#verdict").inner_text()
    page.evaluate("Gala.page.zoom(3000, 3100)")
    wait(page, "Gala.page.reading.shown.share === 1")
    times = page.evaluate("Gala.page.reading.shown.agents.get(0).t")
    assert len(times) == pytest.approx(100, abs=3)
    assert times[0] == pytest.approx(made.start + 2999, abs=2)


def test_a_click_shows_one_agent_alone(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    MadeRun(tmp_path / "run", agents=4, records=20)
    page = visit.open(serve(tmp_path))
    page.locator('.node[data-rank="2"]').click()
    wait(page, "location.hash.includes('agents=2')")
    visit.settle()
    labels = "Gala.page.charts.find((c) => c.spec.id === 'speed').built.series.map((s) => s.label)"
    assert page.evaluate(labels) == ["agent 2", "total"]
    assert page.locator('.chip[data-rank="0"]').get_attribute("aria-pressed") == "false"
    page.keyboard.press("Escape")
    visit.settle()
    assert len(page.evaluate(labels)) == 5


def test_hovering_an_agent_tells_all(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    MadeRun(tmp_path / "run", agents=4, records=20, now=time.time() + 60)
    page = visit.open(serve(tmp_path))
    page.wait_for_selector('.node[data-status="active"]')
    page.locator('.node[data-rank="3"]').focus()  # by keyboard, too
    tip = page.locator("#tip").inner_text()
    for part in (
        "agent 3: active",
        "update 190",
        "1003 steps/s",
        "of the bound",
        "in-neighbours",
        "2: active",
    ):
        assert part in tip
    page.locator('.edge[data-edge="0-1"]').dispatch_event(
        "pointermove", {"clientX": 5, "clientY": 5}
    )
    assert "0 -> 1" in page.locator("#tip").inner_text()


SAVED = (*CHARTS, "heat", "agreement")


@pytest.mark.parametrize("charts", [SAVED[k : k + 4] for k in range(0, len(SAVED), 4)])
def test_charts_are_saved_as_tables_and_pictures(
    tmp_path: Path, serve: Serve, visit: Visit, charts: tuple[str, ...]
) -> None:
    """A few at a time: of a page that no hand clicks on Chromium accepts ten files at once."""
    MadeRun(tmp_path / "run", agents=2, records=20)
    page = visit.open(serve(tmp_path))
    wait(page, "Gala.page.distances !== null")
    visit.settle()
    for chart in charts:
        with page.expect_download() as saved:
            page.locator(f'#{chart} [data-tool="csv"]').click()
        assert saved.value.suggested_filename.endswith(".csv")
        header, *rows = Path(saved.value.path()).read_text().splitlines()
        assert len(rows) == (2 if chart in ("heat", "agreement") else 20)
        assert all(row.count(",") == header.count(",") for row in rows)
        if chart == "speed":
            assert header == "seconds,agent 0,agent 1,total"
            assert [float(v) for v in rows[-1].split(",")[1:]] == [1000.0, 1001.0, 2001.0]
        with page.expect_download() as saved:
            page.locator(f'#{chart} [data-tool="png"]').click()
        picture = np.asarray(Image.open(saved.value.path()).convert("RGB"))
        assert picture.shape[0] > 150 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 5


def test_dark_and_light(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    MadeRun(tmp_path / "run", agents=2, records=20)
    address = serve(tmp_path)
    page = visit.open(f"{address}#theme=light")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    stroke = "Gala.page.charts[0].plot.axes[0].stroke()"
    ink = page.evaluate(stroke)
    page.keyboard.press("d")
    visit.settle()
    assert page.evaluate(paper) != light and page.evaluate(stroke) != ink
    assert "theme=dark" in page.url


def test_axes_steps_frames_and_logarithms(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    MadeRun(tmp_path / "run", agents=2, records=21)
    page = visit.open(serve(tmp_path))
    last = "Gala.page.xs.at(-1)"
    assert page.evaluate(last) == pytest.approx(21, abs=0.5)  # seconds since meta's start
    page.keyboard.press("x")
    visit.settle()
    assert page.evaluate(last) == 2 * 250 * 20
    page.keyboard.press("x")
    visit.settle()
    assert page.evaluate(last) == 4 * 2 * 250 * 20
    distr = "Gala.page.charts.find((c) => c.spec.id === 'divergence').plot.scales.y.distr"
    assert page.evaluate(distr) == 3
    page.keyboard.press("l")
    visit.settle()
    assert page.evaluate(distr) == 1


def test_the_address_restores_the_view(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    for name in ("a", "b"):
        MadeRun(tmp_path / name, agents=4, records=50)
    page = visit.open(f"{serve(tmp_path)}#run=a&x=steps&from=8000&to=20000&agents=1,3&paused=1")
    assert page.input_value("#run") == "a" and page.input_value("#x") == "steps"
    state = page.evaluate(
        "[Gala.page.window(), [...Gala.page.state.agents], Gala.page.state.paused]"
    )
    assert state == [[8000, 20000], [1, 3], True]
    page.locator("#link").click()
    address = page.url
    assert "from=8000" in address and "agents=1%2C3" in address and "paused=1" in address
    other = visit.context.new_page()
    other.goto(address)
    other.wait_for_selector("body[data-drawn]")
    assert other.evaluate("Gala.page.window()") == [8000, 20000]


def test_pause_holds_what_is_new_until_it_is_wanted(
    tmp_path: Path, serve: Serve, visit: Visit
) -> None:
    made = MadeRun(tmp_path / "run", agents=1, records=10)
    page = visit.open(serve(tmp_path))
    wait(page, "Gala.page.distances !== null")
    page.keyboard.press("p")
    assert page.locator("#pause").inner_text() == "pause"  # until it is drawn
    made.append(0, made.line(0, 10, t=made.now + 1, **{"charts/SPS": 9999.0}))
    wait(page, "Gala.page.held?.rows?.length === 1")
    assert page.locator("#state").inner_text() == "paused"
    assert value(page, "speed", 0) == 1000
    page.keyboard.press("p")
    wait(page, "Gala.page.held === null")
    visit.settle()
    assert value(page, "speed", 0) == 9999


def test_runs_side_by_side(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    for seed, name in enumerate(("gossip", "allreduce", "none")):
        MadeRun(tmp_path / name, agents=2, records=30, seed=seed, coupling=name)
    page = visit.open(serve(tmp_path))
    wait(page, "Gala.page.compared.charts[0].built?.series.length === 3")
    assert colours(page, "#compare-return .plot canvas") > 5
    page.locator("#runs .chip", has_text="none").click()
    wait(page, "Gala.page.compared.charts[0].built.series.length === 2")
    page.select_option("#run", "none")
    wait(page, "Gala.page.series.info.name === 'none'")
    wait(page, "document.getElementById('facts').textContent.includes('none')")


def test_damage_is_reported_on_the_page(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    made = MadeRun(tmp_path / "run", agents=2, records=10)
    made.append(0, "nonsense\n")
    (made.path / "topology.json").write_text("{")
    page = visit.open(serve(tmp_path))
    page.wait_for_selector("#problems:not([hidden])")
    text = page.locator("#problems").inner_text()
    assert "topology.json cannot be read" in text and "1 damaged line skipped" in text


def test_names_and_messages_are_text_never_markup(
    tmp_path: Path, serve: Serve, visit: Visit
) -> None:
    made = MadeRun(tmp_path / "run", agents=1, records=5)
    evil = "<img src=x onerror=alert(1)>"
    made.meta(env_id=evil)
    made.append(
        0, made.event_line(0, made.now, "error", evil), made.event_line(0, made.now, evil, evil)
    )
    page = visit.open(serve(tmp_path))
    wait(page, "document.querySelectorAll('#eventlog tbody tr').length === 3")
    assert page.locator("img").count() == 0
    assert evil in page.locator("#facts").inner_text()


def test_events_are_filtered_by_kind(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    made = MadeRun(tmp_path / "run", agents=2, records=10)
    made.append(0, made.event_line(0, made.now - 3, "checkpoint", "update_1.pt"))
    page = visit.open(serve(tmp_path))
    wait(page, "document.querySelectorAll('#eventlog tbody tr').length === 3")
    assert page.evaluate("Gala.page.charts[0].marks.length") == 3
    page.locator('[data-kind="start"]').click()
    visit.settle()
    assert page.locator("#eventlog tbody tr").count() == 1
    assert page.evaluate("Gala.page.charts[0].marks.map(([, e]) => e.event)") == ["checkpoint"]


@pytest.mark.parametrize("width", [360, 800])
def test_narrow_screens(tmp_path: Path, serve: Serve, browser: Browser, width: int) -> None:
    MadeRun(tmp_path / "run", agents=8, records=10)
    visit = Visit(browser, width=width, height=700)
    page = visit.open(serve(tmp_path))
    visit.settle()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("Gala.page.charts[0].plot.width") < width
    visit.context.close()
    assert visit.complaints == []


def test_no_bound_is_said_not_drawn(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    MadeRun(tmp_path / "run", agents=2, records=10, ratio=None, now=time.time() + 60)
    page = visit.open(serve(tmp_path))
    page.wait_for_selector('.node[data-status="active"]')
    visit.settle()
    assert "no bound applies" in page.locator("#verdict").inner_text()
    drawn = page.evaluate(
        "Gala.page.charts.find((c) => c.spec.id === 'divergence').built.series.map((s) => s.label)"
    )
    assert "bound ε" not in drawn and "all ‖X − X̄‖" in drawn
    assert page.locator("#peers .legend").is_hidden()


def test_outside_the_ball_is_loud(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    MadeRun(tmp_path / "run", agents=2, records=10, ratio=1.5)
    page = visit.open(serve(tmp_path))
    page.wait_for_selector("#verdict .bad")
    assert "outside the ball: 1.5 times the bound" in page.locator("#verdict .bad").inner_text()


def test_the_frozen_page_needs_no_server(tmp_path: Path, visit: Visit) -> None:
    runs = [MadeRun(tmp_path / name, agents=3, records=20, ended=True).path for name in ("a", "b")]
    report = tmp_path / "report.html"
    report.write_text(freeze(runs, summary_html="<table><tr><td>summed up</td></tr></table>"))
    page = visit.open(report.as_uri())
    visit.settle()
    assert page.locator("#state").inner_text() == "frozen"
    assert "summed up" in page.locator("#summary").inner_text()
    for chart in CHARTS:
        assert colours(page, f"#{chart} .plot canvas") > 10, chart
    assert page.locator('.node[data-status="done"]').count() == 3
    page.select_option("#run", "a")
    wait(page, "Gala.page.series.info.name === 'a'")
    assert [urlsplit(each).scheme for each in visit.asked] == ["file"]


def test_the_page_says_when_the_server_is_gone(
    tmp_path: Path, browser: Browser, serve: Serve
) -> None:
    MadeRun(tmp_path / "run", agents=2, records=10)
    visit = Visit(browser)
    page = visit.open(serve(tmp_path))
    wait(page, "document.getElementById('state').textContent === 'live'")
    visit.context.set_offline(True)
    page.evaluate("Gala.page.hear('connection', false)")
    wait(page, "document.getElementById('state').textContent.includes('server gone')")
    assert json.loads(json.dumps(page.locator("#state").get_attribute("class"))) == "bad"
    visit.context.close()


def test_a_pause_of_hours_is_a_gap_not_a_line(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    made = MadeRun(tmp_path / "run", agents=1, records=60, now=time.time() - 7 * 3600)
    made.append(0, *(made.line(0, k, t=time.time() - 120 + k) for k in range(60, 120)))
    page = visit.open(serve(tmp_path))
    visit.settle()
    assert len(page.evaluate("Gala.page.breaks")) == 1
    gaps = "Gala.page.charts[0].plot.series[1]._paths.gaps.map(([a, b]) => b - a)"
    (width,) = page.evaluate(gaps)
    assert width > 0.9 * page.evaluate("Gala.page.charts[0].plot.bbox.width")


def test_a_flood_of_events_leaves_the_values_visible(
    tmp_path: Path, serve: Serve, visit: Visit
) -> None:
    made = MadeRun(tmp_path / "run", agents=2, records=60)
    made.append(0, *(made.event_line(0, made.start + k / 50, "suspect", "x") for k in range(3_000)))
    page = visit.open(serve(tmp_path))
    wait(page, "Gala.page.events.length > 3000")
    visit.settle()
    ink = page.evaluate("Gala.ink('warn')")
    pixels = """ink => {
        const { ctx, bbox } = Gala.page.charts.find((c) => c.spec.id === 'speed').plot;
        const [top, height] = [bbox.top + bbox.height / 2, 3];
        const data = ctx.getImageData(bbox.left, top, bbox.width, height).data;
        const want = [1, 3, 5].map((k) => parseInt(ink.slice(k, k + 2), 16));
        let found = 0;
        for (let k = 0; k < data.length; k += 4)
            if (data[k + 3] > 100 && want.every((v, i) => Math.abs(data[k + i] - v) < 40)) found++;
        return found / (data.length / 4);
    }"""
    assert page.evaluate(pixels, ink) < 0.2


def test_what_the_dead_heard_last_is_old(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    MadeRun(tmp_path / "run", agents=2, records=60, now=time.time() - 60)
    page = visit.open(serve(tmp_path))
    page.wait_for_selector('.node[data-status="dead"]')
    assert page.locator('.edge[data-kind="old"]').count() == 2
    assert "no record for 1:0" in page.locator("#verdict").inner_text()


def test_a_run_that_has_not_begun(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "meta.json").write_text('{"agents": 2, "env_id": "CartPole-v1"}')
    page = visit.open(serve(tmp_path))
    wait(page, "document.getElementById('state').textContent === 'waiting for agents'")
    assert page.locator('.node[data-status="absent"]').count() == 2
