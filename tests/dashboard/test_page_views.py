"""Each view by itself: that it can be read, restored from a link, and contradicts no other."""

import time
from pathlib import Path

import numpy as np
import pytest
from browsing import CHARTS, Serve, Visit, needs_browser, wait
from made_run import MadeRun
from playwright.sync_api import Browser, Page

from gala.dashboard.frozen import freeze
from gala.report.gantt import COLOUR_OF

pytestmark = needs_browser

# What is written on a canvas from now on: [text, left, right, y, width of the canvas]; and dashes.
LISTEN = """() => {
    const canvas = CanvasRenderingContext2D.prototype;
    const { fillText: write, setLineDash: dash } = canvas;
    Object.assign(window, { written: [], dashes: [] });
    canvas.fillText = function (text, x, y) {
        const wide = this.measureText(text).width;
        const left = x - ({ center: wide / 2, right: wide }[this.textAlign] || 0);
        window.written.push([text, left, left + wide, y, this.canvas.width]);
        write.call(this, text, x, y);
    };
    canvas.setLineDash = function (dashes) {
        window.dashes.push(dashes.join());
        dash.call(this, dashes);
    };
}"""

DISCS = """() => [...document.querySelectorAll('.node .halo')].map((c) => {
    const { x, y, width, height } = c.getBoundingClientRect();
    return [x + width / 2, y + height / 2, width / 2 + c.getAttribute('stroke-width') / 2];
})"""

INSIDE = """() => {
    const box = document.querySelector('#peers svg').getBoundingClientRect();
    const nodes = [...document.querySelectorAll('.node')].map((n) => n.getBoundingClientRect());
    return nodes.every((b) => b.left >= box.left && b.right <= box.right)
        && nodes.every((b) => b.top >= box.top && b.bottom <= box.bottom);
}"""

PIXELS = """(colour) => {
    const { ctx } = Gala.page.compared.charts[0].plot, { width, height } = ctx.canvas;
    const { data } = ctx.getImageData(0, 0, width, height);
    const want = [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));
    let found = 0;
    for (let k = 0; k < data.length; k += 4)
        found += want.every((v, i) => Math.abs(data[k + i] - v) < 12);
    return found;
}"""


def drag(page: Page, chart: str, begin: float, end: float) -> None:
    box = page.locator(f"#{chart} .u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * begin, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end, box["y"] + 60, steps=5)
    page.mouse.up()


def scale(page: Page, charts: str) -> list[list[float]]:
    drawn = f"{charts}.filter((c) => c.plot)"  # those of a GPU are not, where there is none
    return page.evaluate(f"{drawn}.map((c) => [c.plot.scales.x.min, c.plot.scales.x.max])")


@pytest.mark.parametrize(("width", "agents"), [(375, 4), (375, 64), (1500, 2), (1500, 64)])
def test_arrows_have_room_between_discs(
    tmp_path: Path, serve: Serve, browser: Browser, width: int, agents: int
) -> None:
    MadeRun(tmp_path / "run", agents=agents, records=5, ended=True)
    visit = Visit(browser, width=width)
    page = visit.open(serve(tmp_path))
    visit.settle()
    discs = page.evaluate(DISCS)
    places, radii = np.array(discs)[:, :2], np.array(discs)[:, 2]
    apart = np.linalg.norm(places[:, None] - places, axis=-1)
    np.fill_diagonal(apart, np.inf)
    assert (apart - radii[:, None] - radii > 4).all()
    if agents > 2:  # evenly
        assert apart.min(axis=0).max() < 1.3 * apart.min(axis=0).min()
    shown = page.locator(".node .rank:not([display])").count()
    assert shown == agents if width > 400 or agents < 10 else shown > agents / 4
    assert page.evaluate(INSIDE)
    visit.context.close()
    assert visit.complaints == []


@pytest.mark.parametrize(("ratio", "outside"), [(1.5, True), (0.9, False)])
def test_the_graph_says_what_the_verdict_says(
    tmp_path: Path, serve: Serve, visit: Visit, ratio: float, outside: bool
) -> None:
    made = MadeRun(tmp_path / "run", agents=4, records=10, ratio=ratio, ended=True)
    far = {"divergence/to_mean": 0.9 * 0.3 / ratio}  # of one agent, nearly the whole of the bound
    made.append(3, made.line(3, 9, t=made.now - 0.1, **far))
    page = visit.open(serve(tmp_path))
    wait(page, "document.querySelector('.node[data-status=done]') !== null")
    assert ("outside" in page.locator("#verdict").inner_text()) == outside
    marked = page.locator(".node[data-outside]")
    assert marked.evaluate_all("all => all.map((n) => n.dataset.rank)") == (
        ["3"] if outside else []
    )
    fill = page.get_attribute('.node[data-rank="3"] .fill', "fill")
    assert fill == page.evaluate("Gala.OUTSIDE" if outside else "Gala.ramp(1)")
    assert ("left the ball" in str(page.locator(".node .badge").all_text_contents())) == outside


@pytest.mark.parametrize("frozen", [False, True])
def test_a_range_ends_with_the_newest_record(
    tmp_path: Path, serve: Serve, visit: Visit, frozen: bool
) -> None:
    made = MadeRun(tmp_path / "run", agents=2, records=200, ended=True, now=time.time() - 9_000)
    if frozen:
        (tmp_path / "report.html").write_text(freeze([made.path]))
        page = visit.open((tmp_path / "report.html").as_uri() + "#range=60")
    else:
        page = visit.open(serve(tmp_path) + "#range=60")
    visit.settle()
    for chart in CHARTS:
        assert "empty" not in str(page.get_attribute(f"#{chart}", "class")), chart
    xs = page.evaluate("Gala.page.xs")
    assert xs[0] == pytest.approx(140, abs=3) and xs[-1] == pytest.approx(200, abs=3)


def test_a_link_with_a_zoom_opens_in_full_detail(
    tmp_path: Path, serve: Serve, visit: Visit
) -> None:
    MadeRun(tmp_path / "run", agents=2, records=6_000, ended=True)
    for x, begin, end in (("time", 3000, 3100), ("steps", 1_500_000, 1_550_000)):
        page = visit.context.new_page()
        page.goto(f"{serve(tmp_path)}#x={x}&from={begin}&to={end}")
        page.wait_for_selector("body[data-ready][data-drawn]")
        wait(page, "Gala.page.reading.shown.share === 1")
        assert len(page.evaluate("Gala.page.reading.shown.agents.get(0).t")) == pytest.approx(
            100, abs=5
        )
        assert "th record" not in page.locator("#verdict").inner_text()
        page.close()


def test_runs_side_by_side_have_a_zoom_and_axes_of_their_own(
    tmp_path: Path, serve: Serve, visit: Visit
) -> None:
    for name in ("a", "b"):
        MadeRun(tmp_path / name, agents=2, records=200, ended=True)
    page = visit.open(serve(tmp_path))
    compared = "Gala.page.compared.charts"
    wait(page, f"{compared}.every((c) => c.plot && c.built.series.length === 2)")
    page.locator("#compare-return").scroll_into_view_if_needed()
    before = scale(page, "Gala.page.charts")
    drag(page, "compare-return", 0.25, 0.5)
    wait(page, "location.hash.includes('runs-from=')")
    visit.settle()
    assert scale(page, "Gala.page.charts") == before
    zoomed = scale(page, compared)
    assert zoomed[0] == zoomed[1] == zoomed[2]
    assert zoomed[0] == pytest.approx([50, 100], abs=5)
    page.locator('#compare-return [data-tool="log"]').click()
    wait(page, "location.hash.includes('log=compare-return')")
    other = visit.context.new_page()
    other.goto(page.url)
    other.wait_for_selector("body[data-ready][data-drawn]")
    wait(other, f"{compared}[0].plot !== null")
    assert scale(other, compared)[0] == pytest.approx(zoomed[0])
    assert other.evaluate(f"{compared}[0].plot.scales.y.distr") == 3
    page.locator("#compare-return .u-over").dblclick(position={"x": 40, "y": 40})
    wait(page, "!location.hash.includes('runs-from=')")


def test_runs_side_by_side_have_marks_and_short_runs_are_seen(
    tmp_path: Path, serve: Serve, visit: Visit
) -> None:
    end = time.time() - 60
    long = MadeRun(tmp_path / "long", agents=2, records=3_000, ended=True, now=end)
    MadeRun(tmp_path / "short", agents=2, records=4, ended=True, now=end)
    long.append(1, long.event_line(1, long.start + 1500, "alarm", "far apart"))
    address = serve(tmp_path)
    page = visit.open(address)
    chart = "Gala.page.compared.charts[0]"
    wait(page, f"{chart}.built?.series.length === 2 && {chart}.marks.length === 5")
    marks = page.evaluate(f"{chart}.marks.map(([, m]) => [m.event, Math.round(m.x)])")
    assert ["alarm", 1501] in marks and [kind for kind, _ in marks].count("start") == 4
    row = page.evaluate(f"{chart}.built.series.find((s) => s.label === 'short').values")
    known = [each for each in row if each is not None]
    assert len(known) == 4 and known[-1] == pytest.approx(6.5)
    dots = page.evaluate(f"{chart}.dots({chart}.plot, 2).length")
    assert dots == 1
    page.locator("#compare-return .u-over").hover(position={"x": 200, "y": 40})
    assert "short 6.5" in page.locator("#compare-return .readout").inner_text()
    assert page.evaluate(PIXELS, page.evaluate("Gala.colour(1, 2)")) > 8


def test_the_key_of_a_picture_is_whole(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    MadeRun(tmp_path / "run", agents=8, records=20, ended=True)
    page = visit.open(serve(tmp_path))
    page.evaluate(LISTEN)
    with page.expect_download():
        page.locator('#divergence [data-tool="png"]').click()
    written = {text: rest for text, *rest in page.evaluate("window.written")}
    labels = ["all ‖X − X̄‖", "bound ε", "expected", *(f"agent {rank}" for rank in range(8))]
    for label in labels:
        left, right, _, width = written[label]
        assert 0 <= left and right <= width, label
    assert len({written[label][2] for label in labels}) > 1  # lines of the key
    assert {"8,4", "2,3", "7,3"} <= set(page.evaluate("window.dashes"))


def test_a_frozen_page_promises_no_more_than_it_has(tmp_path: Path, visit: Visit) -> None:
    made = MadeRun(tmp_path / "run", agents=2, records=3_000, ended=True)
    (tmp_path / "report.html").write_text(freeze([made.path]))
    page = visit.open((tmp_path / "report.html").as_uri())
    text = page.locator("#verdict").inner_text()
    assert "th record is shown" in text and "zoom" not in text


@pytest.mark.parametrize("width", [375, 1500])
def test_readouts_are_the_key_of_the_colours(
    tmp_path: Path, serve: Serve, browser: Browser, width: int
) -> None:
    MadeRun(tmp_path / "run", agents=4, records=20, ended=True)
    visit = Visit(browser, width=width)
    page = visit.open(serve(tmp_path))
    visit.settle()
    texts = [t.strip() for t in page.locator("#divergence .readout > *").all_inner_texts()]
    names = ["newest", "all", "bound", "expected", "agent 0", "agent 1", "agent 2", "agent 3"]
    assert all(text.startswith(name) for text, name in zip(texts, names, strict=True)), texts
    assert texts[2].endswith("6") and texts[3].endswith("0.5")
    for chart in CHARTS:
        readout = page.locator(f"#{chart} .readout")
        assert readout.evaluate("r => r.scrollWidth <= r.clientWidth"), chart
        assert readout.evaluate("r => r.scrollHeight <= r.clientHeight + 1"), chart
        built = page.evaluate(
            f"Gala.page.charts.find((c) => c.spec.id === '{chart}').built.series"
            ".filter((s) => !s.silent).map((s) => s.colour)"
        )
        lines = readout.locator("line")
        strokes = lines.evaluate_all("all => all.map((line) => line.getAttribute('stroke'))")
        assert sorted(strokes) == sorted(built), chart
    visit.context.close()
    assert visit.complaints == []


def test_the_page_and_the_figures_have_one_palette(
    tmp_path: Path, serve: Serve, visit: Visit
) -> None:
    MadeRun(tmp_path / "run", agents=1, records=5)
    page = visit.open(serve(tmp_path))
    assert page.evaluate("Gala.PHASES") == {name: c.lower() for name, c in COLOUR_OF.items()}
    fills = page.evaluate(
        "Object.fromEntries(Gala.page.charts.find((c) => c.spec.id === 'split').built.series"
        ".map((s) => [s.label, s.fill]))"
    )
    assert fills == page.evaluate("Gala.PHASES")


def test_a_total_counts_agents_between_their_records(
    tmp_path: Path, serve: Serve, visit: Visit
) -> None:
    made = MadeRun(tmp_path / "run", agents=2, records=90, ended=True)
    lines = made.metrics(1).read_text().splitlines(keepends=True)
    made.metrics(1).write_text("".join([lines[0], *lines[1::2]]))  # at half the pace
    page = visit.open(serve(tmp_path))
    chart = "Gala.page.charts.find((c) => c.spec.id === 'speed').built.series.at(-1)"
    assert page.evaluate(f"{chart}.label") == "total"
    assert set(page.evaluate(f"{chart}.values")) == {2001}


def test_marks_stay_within_the_axes(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    MadeRun(tmp_path / "run", agents=2, records=30, ended=True)
    page = visit.open(serve(tmp_path))
    wait(page, "Gala.page.charts[0].marks.length === 4")
    page.evaluate(LISTEN)
    page.evaluate("Gala.page.charts[0].plot.redraw()")
    wait(page, "window.written.some(([text]) => text === '▷')")
    box = page.evaluate("Gala.page.charts[0].plot.bbox")
    for text, begin, end, *_ in page.evaluate("window.written"):
        if text in "▷■":
            assert box["left"] <= begin and end <= box["left"] + box["width"], text


def test_cards_of_a_row_are_filled(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    MadeRun(tmp_path / "run", agents=4, records=30, ended=True)
    visit.page.set_viewport_size({"width": 1500, "height": 1000})
    page = visit.open(serve(tmp_path))
    visit.settle()
    for card in ("divergence", "policies"):
        bottom, drawn = page.evaluate(
            f"[document.querySelector('#{card}'), document.querySelector('#{card} canvas')]"
            ".map((e) => e.getBoundingClientRect().bottom)"
        )
        assert 0 < bottom - drawn < 15, card


@pytest.mark.parametrize("width", [375, 1500])
def test_all_chips_are_in_view(tmp_path: Path, serve: Serve, browser: Browser, width: int) -> None:
    MadeRun(tmp_path / "run", agents=64, records=5, ended=True)
    visit = Visit(browser, width=width)
    page = visit.open(serve(tmp_path))
    chips = page.locator("#chips")
    assert chips.evaluate("c => c.scrollHeight <= c.clientHeight")
    rights = chips.locator(".chip").evaluate_all(
        "all => all.map((chip) => chip.getBoundingClientRect().right)"
    )
    assert len(rights) == 64 and max(rights) <= width
    assert chips.evaluate("c => c.clientHeight") < (80 if width == 1500 else 200)
    visit.context.close()


def test_agreement_of_updates_is_a_map_beside_that_of_distances(
    tmp_path: Path, serve: Serve, visit: Visit
) -> None:
    MadeRun(tmp_path / "run", agents=4, records=30, ended=True)
    visit.page.set_viewport_size({"width": 1900, "height": 1000})
    page = visit.open(serve(tmp_path))
    wait(page, "Gala.page.agreement !== null")
    visit.settle()
    heat, agreement = (page.locator(f"#{card}").bounding_box() for card in ("heat", "agreement"))
    assert heat and agreement and heat["y"] == agreement["y"]
    assert agreement["x"] == pytest.approx(heat["x"] + heat["width"], abs=20)
    page.evaluate(LISTEN)
    page.evaluate("Gala.page.maps.find((map) => map.spec.id === 'agreement').draw()")
    texts = [text for text, *_ in page.evaluate("window.written")]
    assert {"0.866", "0.5", "0", "1", "−1"} <= {"0" if "e−" in str(t) else str(t) for t in texts}
    assert "mean 0.6;" in page.locator("#agreement .hint").inner_text()
    page.locator("#agreement canvas").focus()
    for key in ("ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert page.locator("#tip").inner_text() == "agents 0 and 1\ncosine 0.866"
    assert "updates agree: 0.5" in page.locator("#verdict").inner_text()
    for chart, label, value in (
        ("ratio", "divergence / expected", "0.6"),
        ("agreeing", "cosine", "0.5"),
        ("agreeing", "drift of the mean", "0.25"),
        ("policies", "before and after a mix", "0.002"),
    ):
        told = page.locator(f"#{chart} .readout").inner_text().replace("\n", " ")
        assert f"{label} {value}" in told, told
