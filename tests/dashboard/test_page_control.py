"""Alerts until they were seen; buttons that ask a run for something, where that is allowed."""

from pathlib import Path

import httpx2
import pytest
from browsing import Serve, Visit, needs_browser, wait
from made_run import MadeRun
from starlette.testclient import TestClient

from gala.dashboard.server import create_app
from gala.errors import UserError
from gala.run.wishes import WISHES

TOKEN = "a long enough secret"
ASKS = {"x-gala-asks": "stop", "authorization": f"Bearer {TOKEN}"}


@needs_browser
def test_alerts_are_told_until_they_were_seen(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    made = MadeRun(tmp_path / "run", agents=2, records=10, ended=True)
    evil = "<img src=x onerror=alert(1)>"
    for rank, t in ((0, 5), (1, 6)):
        made.append(rank, made.event_line(rank, made.start + t, "alarm", f"far apart {evil}"))
    made.append(0, made.event_line(0, made.start + 7, "checkpoint", "x.pt"))
    page = visit.open(serve(tmp_path))
    alert = page.locator("#alerts li")
    alert.first.wait_for()
    assert "alarm, 2 times, the last at 0:07, agent 1: far apart <img" in alert.inner_text()
    assert page.title() == "(1) run – gala" and page.locator("img").count() == 0
    alert.locator("button").click()
    page.wait_for_selector("#alerts", state="hidden")
    page.reload()
    page.wait_for_selector("body[data-ready][data-drawn]")
    wait(page, "Gala.page.eventShare === 1 && Gala.page.events.length === 7")
    visit.settle()
    assert alert.count() == 0
    made.append(1, made.event_line(1, made.start + 8, "error", "the disk is full"))
    wait(page, "document.querySelector('#alerts li')?.dataset.kind === 'error'")


@needs_browser
def test_buttons_ask_the_run(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    made = MadeRun(tmp_path / "a run", agents=2, records=10)
    address = serve(tmp_path, "--token", TOKEN, "--allow-control")
    page = visit.open(f"{address}?token={TOKEN}")
    page.locator("#control [data-wish=checkpoint]").click()
    wait(page, "document.querySelector('[data-wish=checkpoint]').textContent === 'asked'")
    assert (made.path / "asked-checkpoint.json").is_file()
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.locator("#control [data-wish=stop]").click()
    assert not (made.path / "asked-stop.json").exists()
    page.once("dialog", lambda dialog: dialog.accept())
    page.locator("#control [data-wish=stop]").click()
    wait(page, "document.querySelector('[data-wish=stop]').textContent === 'asked'")
    assert (made.path / "asked-stop.json").is_file()


@needs_browser
def test_there_are_no_buttons_without_leave(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    MadeRun(tmp_path / "run", agents=2, records=10)
    address = serve(tmp_path, "--token", TOKEN)
    page = visit.open(f"{address}?token={TOKEN}")
    wait(page, "document.getElementById('state').textContent === 'live'")
    visit.settle()
    assert page.locator("#control button").count() == 0
    answer = httpx2.post(f"{address}api/control/stop/run", headers=ASKS)
    assert answer.status_code == 405


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    MadeRun(tmp_path / "run", agents=1, records=2)
    return TestClient(create_app(tmp_path, token=TOKEN, control=True), base_url="http://127.0.0.1")


@pytest.mark.parametrize("wish", WISHES)
def test_who_knows_the_token_may_ask(client: TestClient, tmp_path: Path, wish: str) -> None:
    assert client.post(f"/api/control/{wish}/run", headers=ASKS).status_code == 202
    assert (tmp_path / "run" / f"asked-{wish}.json").is_file()


@pytest.mark.parametrize(
    ("method", "path", "left_out", "status"),
    [
        ("POST", "/api/control/stop/run", "authorization", 401),
        ("POST", "/api/control/stop/run", "x-gala-asks", 403),  # a form of another site
        ("OPTIONS", "/api/control/stop/run", "", 405),  # a script of another site asks for leave
        ("GET", "/api/control/stop/run", "", 405),
        ("POST", "/api/control/erase/run", "", 404),
        ("POST", "/api/control/stop/..%2f..%2fetc", "", 404),
        ("POST", "/api/runs", "", 405),
        ("DELETE", "/api/control/stop/run", "", 405),
    ],
)
def test_everybody_else_is_refused(
    client: TestClient, tmp_path: Path, method: str, path: str, left_out: str, status: int
) -> None:
    headers = {name: value for name, value in ASKS.items() if name != left_out}
    assert client.request(method, path, headers=headers).status_code == status
    assert list((tmp_path / "run").glob("asked-*")) == []


def test_a_cookie_is_not_enough_without_the_header(client: TestClient) -> None:
    client.get(f"/?token={TOKEN}")  # leaves the cookie
    assert client.post("/api/control/stop/run").status_code == 403
    assert client.post("/api/control/stop/run", headers={"x-gala-asks": "1"}).status_code == 202


def test_without_a_token_there_is_no_control(tmp_path: Path) -> None:
    from gala.dashboard.command import main

    MadeRun(tmp_path / "run", agents=1, records=1)
    with pytest.raises(UserError, match="needs a token"):
        main([str(tmp_path), "--allow-control"])
    open_to_all = TestClient(create_app(tmp_path, control=True), base_url="http://127.0.0.1")
    assert open_to_all.post("/api/control/stop/run", headers=ASKS).status_code == 405
    assert open_to_all.get("/api/control").json() == []
