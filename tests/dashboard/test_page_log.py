"""What agents said, as text on the page: as it grows, and as nothing but text."""

from pathlib import Path

import pytest
from browsing import Serve, Visit, needs_browser, wait
from made_run import MadeRun

from gala.dashboard.frozen import freeze

pytestmark = needs_browser

TEXT = "document.querySelector('#textlog pre').textContent"


def write(made: MadeRun, rank: int, text: str) -> None:
    (made.path / "logs").mkdir(exist_ok=True)
    with open(made.path / "logs" / f"rank_{rank:02d}.log", "a") as file:
        file.write(text)


def test_the_log_of_an_agent_grows(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    made = MadeRun(tmp_path / "run", agents=3, records=5)
    write(made, 0, "".join(f"line {k}\n" for k in range(100)))
    write(made, 2, "<b>of two</b>\n")
    page = visit.open(serve(tmp_path))
    wait(page, f"{TEXT}.endsWith('line 99\\n')")
    page.evaluate("Gala.LOG_S = 0.1")
    write(made, 0, "Traceback\n")
    page.evaluate("Gala.page.redrawSoon()")
    wait(page, f"{TEXT}.endsWith('Traceback\\n')")
    place = page.locator("#textlog pre")
    assert place.evaluate("p => p.scrollHeight - p.scrollTop - p.clientHeight < 8")
    assert page.locator("#textlog option").all_inner_texts() == ["agent 0", "agent 2"]
    page.locator("#textlog select").select_option("2")
    wait(page, f"{TEXT} === '<b>of two</b>\\n'")
    assert place.locator("b").count() == 0


@pytest.mark.parametrize("logs", [True, False])
def test_a_frozen_page_has_the_end_of_it(tmp_path: Path, visit: Visit, logs: bool) -> None:
    made = MadeRun(tmp_path / "run", agents=1, records=5, ended=True)
    if logs:
        write(made, 0, "first\n" + "x" * 5_000 + "\n</script> last\n")
    (tmp_path / "report.html").write_text(freeze([made.path]))
    page = visit.open((tmp_path / "report.html").as_uri())
    assert page.locator("#textlog").is_visible() == logs
    if logs:
        wait(page, f"{TEXT} === '</script> last\\n'")
