"""The learner's question first: returns, losses, smoothing; and nothing that does not exist."""

import json
import time
from pathlib import Path

import pytest
from browsing import CHARTS, Serve, Visit, needs_browser, wait
from made_run import MadeRun

from gala.dashboard.frozen import freeze

pytestmark = needs_browser

CHART = "Gala.page.charts.find((c) => c.spec.id === '{}')"


def test_the_return_comes_first_then_ball_agreement_speed(
    tmp_path: Path, serve: Serve, visit: Visit
) -> None:
    MadeRun(tmp_path / "run", agents=2, records=20, ended=True)
    page = visit.open(serve(tmp_path))
    wait(page, "Gala.page.agreement !== null")
    visit.settle()
    titles = page.locator(".card:visible > h2").all_inner_texts()
    assert titles[0].startswith("1 Return")
    numbers = [title[0] for title in titles]
    assert numbers == sorted(numbers) and set(numbers) == set("12345678")
    for key, card in (("1", "return"), ("2", "peers"), ("4", "speed"), ("7", "eventlog")):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.closest('.card').id") == card


def test_each_loss_has_an_axis_of_its_own(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    """Whatever an algorithm calls its losses, also those that come later than the page."""
    made = MadeRun(tmp_path / "run", agents=2, records=10)
    for rank in range(2):
        made.append(rank, made.line(rank, 10, **{"losses/td": 0.25, "losses/skipped_updates": 0}))
    page = visit.open(serve(tmp_path) + "#log=loss-late")
    visit.settle()
    assert page.locator("#loss-td h2").inner_text().startswith("6 td")
    assert page.locator("#loss-skipped_updates").count() == 0
    series = CHART.format("loss-td") + ".built.series.filter((s) => !s.silent)"
    assert page.evaluate(f"{series}.map((s) => [s.label, s.values.at(-1)])") == [
        ["agent 0", 0.25], ["agent 1", 0.25], ["mean", 0.25]
    ]  # fmt: skip
    made.append(0, made.line(0, 11, t=made.now + 1, **{"losses/late": 3.0}))
    page.wait_for_selector("#loss-late")
    visit.settle()
    assert page.evaluate(CHART.format("loss-late") + ".log")  # what the link wanted of it
    known = page.evaluate("Gala.page.series.agents.get(0)['losses/late']")
    assert known == [None] * 11 + [3.0]


def test_each_task_has_a_card_beside_the_returns(
    tmp_path: Path, serve: Serve, visit: Visit
) -> None:
    made = MadeRun(tmp_path / "run", agents=2, records=3)
    for task, rank in ((10, 1), (2, 0)):
        values = {f"charts/task/{task}/episodic_return": 7.0 + task}
        made.append(rank, *(made.line(rank, k, **values) for k in range(3, 6)))
    page = visit.open(serve(tmp_path))
    visit.settle()
    cards = page.evaluate("Gala.page.charts.map((c) => c.spec.id).filter((id) => /task/.test(id))")
    assert cards == ["task-2", "task-10"]
    titles = page.locator("section h2, .card h2").all_inner_texts()
    at = [k for k, title in enumerate(titles) if title.startswith("1 Return of task")]
    assert len(at) == 2 and not any(title[0] == "2" for title in titles[: at[1]])
    series = CHART.format("task-10") + ".built.series.filter((s) => !s.silent)"
    assert page.evaluate(f"{series}.map((s) => [s.label, s.values.at(-1)])") == [["agent 1", 17.0]]


def test_smoothing_is_of_lines_not_of_numbers_or_bounds(
    tmp_path: Path, serve: Serve, visit: Visit
) -> None:
    made = MadeRun(tmp_path / "run", agents=1, records=1, ended=True)
    lines = [
        made.line(0, k, **{"charts/SPS": 10.0 * (k % 2), "divergence/epsilon_ratio": 0.5 + k % 2})
        for k in range(40)
    ]
    made.metrics(0).write_text("".join(lines))
    page = visit.open(serve(tmp_path) + "#smooth=0.9")
    assert page.input_value("#smooth") == "0.9"
    drawn = page.evaluate(CHART.format("speed") + ".built.series[0].values")
    assert drawn[0] == 0 and drawn[1] == pytest.approx(10 * 0.1 / 0.19)  # without a bias
    assert max(drawn[20:]) - min(drawn[20:]) < 2
    assert max(page.evaluate(CHART.format("ratio") + ".built.series[0].values")) == 1.5
    told = page.evaluate(CHART.format("speed") + ".built.series[0].told")
    assert set(told) == {0, 10}
    with page.expect_download() as saved:
        page.locator('#speed [data-tool="csv"]').click()
    header, *rows = Path(saved.value.path()).read_text().splitlines()
    assert header == "seconds,agent 0,total" and rows[-1].endswith(",10,10")
    page.locator("#smooth").fill("0")
    wait(page, "!location.hash.includes('smooth')")
    visit.settle()
    assert set(page.evaluate(CHART.format("speed") + ".built.series[0].values")) == {0, 10}


def strip(made: MadeRun, *prefixes: str) -> None:
    """Take metrics out of all records of a run, as agents that never had them."""
    for rank in range(made.agents):
        records = [json.loads(line) for line in made.metrics(rank).read_text().splitlines()]
        kept = [{k: v for k, v in r.items() if not k.startswith(prefixes)} for r in records]
        made.metrics(rank).write_text("".join(json.dumps(r) + "\n" for r in kept))
        for name in ("sketches.bin", "steps.bin"):
            (made.path / f"rank_{rank:02d}" / name).unlink()


@pytest.mark.parametrize("coupling", ["none", "allreduce", "gossip"])
def test_nothing_is_drawn_that_does_not_exist(
    tmp_path: Path, serve: Serve, visit: Visit, coupling: str
) -> None:
    """No ring, ball or gossip of agents that do not gossip, and no mean of independent ones."""
    made = MadeRun(tmp_path / "run", agents=3, records=20, ended=True, coupling=coupling)
    if coupling != "gossip":
        strip(made, "gossip/", "divergence/", "policy/", "actors/")
    page = visit.open(serve(tmp_path))
    wait(page, "document.querySelector('.node[data-status=done]') !== null")
    visit.settle()
    gone = {"divergence", "ratio", "policies", "agreeing", "staleness", "messages", "bytes"}
    gone |= {"waiting", "lag", "heat", "agreement"}
    shown = {
        card for card in (*CHARTS, "heat", "agreement") if page.locator(f"#{card}").is_visible()
    }
    everything = {*CHARTS, "heat", "agreement"}
    assert shown == (everything if coupling == "gossip" else everything - gone)
    assert page.locator(".edge").count() == (6 if coupling == "gossip" else 0)
    verdict = page.locator("#verdict").inner_text()
    assert ("bound" in verdict) == (coupling == "gossip")
    assert ("no mean" in verdict) == (coupling == "none")
    labels = page.evaluate(CHART.format("return") + ".built.series.map((s) => s.label)")
    assert ("mean" in labels) == (coupling != "none")
    hint = page.locator("#peers > .hint:last-child").inner_text()
    assert ("independent" in hint) == (coupling == "none")


@pytest.mark.parametrize(("busy", "held"), [(None, None), (None, 512.0), (0.75, 512.0)])
def test_a_gpu_has_cards_where_there_is_one(
    tmp_path: Path, serve: Serve, visit: Visit, busy: float | None, held: float | None
) -> None:
    """The driver may not say how busy it is; agents on the CPU record neither."""
    made = MadeRun(tmp_path / "run", agents=2, records=20, ended=True)
    known = {} if held is None else {"system/gpu_busy": busy, "system/gpu_memory_mb": held}
    made.append(1, made.line(1, 20, t=made.now - 0.1, **known))
    page = visit.open(serve(tmp_path))
    wait(page, "document.querySelector('.node[data-status=done]') !== null")
    visit.settle()
    assert page.locator("#gpu").is_visible() == (busy is not None)
    assert page.locator("#gpu-memory").is_visible() == (held is not None)
    if busy is not None:
        told = (page.locator(f"#{card} .readout").inner_text() for card in ("gpu", "gpu-memory"))
        assert [text.split()[-1] for text in told] == ["0.75", "512"]


@pytest.mark.parametrize("frozen", [False, True])
def test_a_run_without_records_says_what_is_waited_for(
    tmp_path: Path, serve: Serve, visit: Visit, frozen: bool
) -> None:
    made = MadeRun(tmp_path / "run", agents=2, records=0)
    if frozen:
        (tmp_path / "report.html").write_text(freeze([made.path]))
        page = visit.open((tmp_path / "report.html").as_uri())
    else:
        page = visit.open(serve(tmp_path))
    told = page.locator("#blank").inner_text()
    assert told == "nothing was recorded" if frozen else "Charts come with the first" in told
    assert page.locator(".chart:visible").count() == 0
    if not frozen:
        made.append(0, made.line(0, 1, t=made.now + 1))
        page.wait_for_selector("#return:visible")
        assert page.locator("#blank").is_hidden()


def test_who_is_far_behind_is_in_no_mean(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    made = MadeRun(tmp_path / "run", agents=3, records=20, now=time.time() + 60)
    made.append(2, made.line(2, 20, update=3, **{"charts/episodic_return": 1e6}))
    page = visit.open(serve(tmp_path))
    wait(page, "document.querySelectorAll('.node[data-status=active]').length === 3")
    visit.settle()
    verdict = page.locator("#verdict").inner_text()
    assert "return 38.5" in verdict  # of agents 0 and 1
    assert "mean without agent 2 (far behind, 3 updates of 190)" in verdict
    assert "mean 38.5" in page.locator("#return .readout").inner_text().replace("\n", " ")
