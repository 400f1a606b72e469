"""Runs as a table and as arms: sorted, filtered, explained, compared, and summed up over seeds."""

import time
from pathlib import Path

import pytest
from browsing import Serve, Visit, needs_browser, wait
from made_run import MadeRun

from gala.dashboard.frozen import freeze

pytestmark = needs_browser

NAMES = "[...document.querySelectorAll('#runs tr')].map((row) => row.dataset.run)"


def seeds(folder: Path, count: int = 3) -> list[MadeRun]:
    """Runs of one arm: seed k has a return that is k times as large."""
    end = time.time() - 60
    made = []
    for k in range(1, count + 1):
        run = MadeRun(folder / f"pong-seed{k}", agents=1, records=1, seed=k, ended=True, now=end)
        lines = [
            run.line(0, i, t=run.start + i, **{"charts/episodic_return": 10.0 * k})
            for i in range(40)
        ]
        run.metrics(0).write_text("".join([*lines, run.event_line(0, end + 60, "done", "")]))
        made.append(run)
    return made


@pytest.mark.parametrize("frozen", [False, True])
def test_seeds_of_a_configuration_are_a_mean_with_its_interval(
    tmp_path: Path, serve: Serve, visit: Visit, frozen: bool
) -> None:
    made = seeds(tmp_path)
    other = MadeRun(tmp_path / "x", agents=1, records=5, ended=True, options={"a2c": {"lr": 1}})
    if frozen:
        (tmp_path / "report.html").write_text(freeze([*(run.path for run in made), other.path]))
        page = visit.open((tmp_path / "report.html").as_uri() + "#run=pong-seed2&groups=1")
    else:
        page = visit.open(serve(tmp_path) + "#run=pong-seed2&groups=1")
    page.wait_for_selector("#seeds:visible")
    wait(page, "Gala.page.compared.charts[0].built?.series.length === 4")
    wait(page, "Gala.page.compared.seeds.built?.hint.startsWith('mean of 3 runs')")
    first = page.locator("main > .card:visible h2").first.inner_text()
    assert first.startswith("1 Return over seeds")
    built = page.evaluate(
        "Gala.page.compared.seeds.built.series.map((s) => [s.label, s.values[100]])"
    )
    half = 4.303 * 10 / 3**0.5  # Student's t of two degrees of freedom; deviation 10
    assert [label for label, _ in built][0] == "pong, 3 seeds"
    assert [at for _, at in built] == pytest.approx([20, 20 + half, 20 - half])
    labels = page.evaluate("Gala.page.compared.charts[0].built.series.map((s) => s.label)")
    assert {"pong, 3 seeds", "x"} <= set(labels)
    page.locator("#grouped").click()
    wait(page, "!location.hash.includes('groups')")
    wait(page, "Gala.page.compared.charts[0].built.series.every((s) => !s.silent)")
    assert page.evaluate("Gala.page.compared.charts[0].built.series.length") == 4


def test_a_run_without_siblings_has_no_chart_of_seeds(
    tmp_path: Path, serve: Serve, visit: Visit
) -> None:
    for k in range(2):
        MadeRun(tmp_path / f"r{k}", agents=1, records=5, ended=True, options={"a2c": {"lr": k}})
    page = visit.open(serve(tmp_path))
    wait(page, "Gala.page.compared.charts[0].built?.series.length === 2")
    visit.settle()
    assert page.locator("#seeds").is_hidden()


def test_intervals_and_curves(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    MadeRun(tmp_path / "run", agents=1, records=2)
    page = visit.open(serve(tmp_path))
    assert page.evaluate("Gala.interval([1, 3])") == {"mean": 2, "low": 1, "high": 3}
    found = page.evaluate("Gala.interval([...Array(31).keys()])")  # t of 30: 2.042
    assert found["high"] - 15 == pytest.approx(2.042 * 9.0921 / 31**0.5, rel=0.01)
    assert page.evaluate("Gala.factors([1, 100]).mean") == pytest.approx(10)
    curves = "[{ xs: [0, 2], values: [0, 4] }, { xs: [1, 2, 3], values: [4, null, 8] }]"
    mean = page.evaluate(f"Gala.together({curves}, [0, 1, 2, 3]).mean")
    assert mean == [None, 3, 5, None]  # where both are known, across what is not
    names = "new Map([['a', ['s1', 's2']], ['b', ['s3', 's4']], ['c', ['lone']]])"
    labels = page.evaluate(f"[...Gala.armLabels({names}).values()]")
    assert labels == ["s1, 2 seeds", "s3, 2 seeds", "lone"]  # "s" would be two of them


def test_the_table_is_sorted_and_filtered(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    for k, name in enumerate(("b", "a", "c")):
        made = MadeRun(tmp_path / name, agents=1, records=10 * (k + 1), ended=True, seed=k)
    (made.path / "notes.txt").write_text("kept for the paper #best")
    waiting = tmp_path / "waiting"
    waiting.mkdir()
    (waiting / "meta.json").write_text('{"agents": 2}')
    page = visit.open(serve(tmp_path))
    wait(page, f"{NAMES}.length === 4")
    page.locator('[data-column="return"] button').click()
    wait(page, f"{NAMES}.join() === 'c,a,b,waiting'")  # the largest first, the unknown last
    page.locator('[data-column="return"] button').click()
    wait(page, f"{NAMES}.join() === 'b,a,c,waiting'")
    assert page.get_attribute('[data-column="return"]', "aria-sort") == "ascending"
    other = visit.context.new_page()
    other.goto(page.url)
    wait(other, f"{NAMES}.join() === 'b,a,c,waiting'")
    page.locator("#runs-filter").fill("cartpole SEED=2 #best")
    wait(page, f"{NAMES}.join() === 'c'")
    assert page.locator("#runs-count").inner_text() == "1 of 4 runs"
    page.locator("#runs-filter").press("p")  # a letter, not the key for a pause
    assert not page.evaluate("Gala.page.state.paused")


def test_details_and_differences(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    evil = "<img src=x onerror=alert(1)>"
    for k, name in enumerate(("one", "two")):
        options = {"a2c": {"lr": 0.1 * (k + 1), "same": 5}}
        MadeRun(tmp_path / name, agents=1, records=5, seed=k, ended=True, options=options)
    (tmp_path / "two" / "notes.txt").write_text(evil)
    page = visit.open(serve(tmp_path) + "#run=one")
    page.wait_for_selector("#differences:visible")
    wait(page, "document.getElementById('differences').textContent.startsWith('1 options differ')")
    page.locator("#differences summary").click()
    cells = page.locator("#differences tbody td").all_inner_texts()
    assert cells == ["a2c.lr", "0.1", "0.2"]
    page.locator('#runs tr[data-run="two"] button', has_text="details").click()
    detail = page.locator('.detail[data-run="two"]')
    detail.locator("summary").click()
    text = detail.inner_text()
    for part in ("gala train", "0a1b2c3d4e5f", "2.13.0", evil, "a2c.same"):
        assert part in text, part
    assert page.locator("img").count() == 0
    detail.get_by_text("show this run").click()
    wait(page, "Gala.page.series.info.name === 'two'")
    detail.get_by_text("close").click()
    wait(page, "document.querySelector('.detail') === null")
