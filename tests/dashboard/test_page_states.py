"""The page when there is little to show: while it loads, when all is over, when much is damaged."""

from pathlib import Path

from browsing import Serve, Visit, needs_browser, wait
from made_run import MadeRun
from playwright.sync_api import Route

pytestmark = needs_browser


def test_it_says_that_it_is_loading(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    MadeRun(tmp_path / "run", agents=1, records=5)
    held: list[Route] = []
    visit.page.route("**/api/history/**", lambda route: held.append(route))
    visit.page.goto(serve(tmp_path))
    wait(visit.page, "document.querySelector('#run option') !== null")
    assert visit.page.locator("#blank").inner_text() == "reading the runs …"
    while not held:
        visit.page.wait_for_timeout(10)
    held[0].continue_()
    visit.page.wait_for_selector("#blank", state="hidden")
    assert visit.page.locator("#return").is_visible()


def test_a_run_that_is_over_says_how_long_it_took(
    tmp_path: Path, serve: Serve, visit: Visit
) -> None:
    MadeRun(tmp_path / "run", agents=2, records=62, ended=True)
    page = visit.open(serve(tmp_path))
    wait(page, "document.getElementById('state').textContent === 'ended'")
    verdict = page.locator("#verdict").inner_text()
    assert "ended after 1:02" in verdict and "steps/s" not in verdict


def test_much_damage_leaves_room_for_the_rest(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    made = MadeRun(tmp_path / "run", agents=30, records=5)
    for rank in range(30):
        made.append(rank, "nonsense\n")
    page = visit.open(serve(tmp_path))
    wait(page, "document.querySelectorAll('#problems li').length === 30")
    box = page.locator("#problems").bounding_box()
    assert box is not None and box["height"] < 150
    assert page.locator("#problems").evaluate("p => p.scrollHeight > p.clientHeight")


def test_no_run_is_left(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    made = MadeRun(tmp_path / "run", agents=1, records=1)
    address = serve(tmp_path)
    made.path.rename(tmp_path / ".gone")
    visit.page.goto(address)
    wait(visit.page, "document.getElementById('blank').textContent.startsWith('there is no run')")
