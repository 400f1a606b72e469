"""What tests of the page have in common: a visit by a real browser, and looks at what it shows."""

import io
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from made_run import MadeRun
from PIL import Image
from playwright.sync_api import Browser, Page

Serve = Callable[..., str]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="NO BROWSER: the page is untested (Debian: apt-get install chromium)"
)

CHARTS = (
    "return", "divergence", "ratio", "policies", "agreeing", "speed", "split", "waiting", "cores",
    "memory", "staleness", "messages", "bytes", "lag", "loss-policy_loss", "loss-value_loss",
    "loss-entropy",
)  # fmt: skip

PATIENCE_S = 20.0


def wait(page: Page, expression: str) -> None:
    """Until a JavaScript expression is true; from outside, as the page's policy forbids eval."""
    end = time.monotonic() + PATIENCE_S
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(20)


class Visit:
    """A page, with everything that went wrong on it."""

    def __init__(self, browser: Browser, width: int = 1400, height: int = 900) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": height})
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(1e3 * PATIENCE_S)
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on(
            "console",
            lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None,
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def open(self, address: str) -> Page:
        self.page.goto(address)
        self.page.wait_for_selector("body[data-ready][data-drawn]")
        return self.page

    def drawn(self) -> int:
        return int(self.page.get_attribute("body", "data-drawn") or 0)

    def settle(self) -> None:
        """Wait until everything that was asked for is drawn."""
        before = self.drawn()
        self.page.evaluate("Gala.page.redrawSoon()")
        wait(self.page, f"Number(document.body.dataset.drawn) > {before}")


def colours(page: Page, selector: str) -> int:
    """Different colours in a part of the page."""
    data = page.locator(selector).first.screenshot()
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).reshape(-1, 3)
    return len(np.unique(pixels, axis=0))


def value(page: Page, chart: str, agent: int) -> float | None:
    """The newest value of an agent in a chart."""
    return page.evaluate(
        """([chart, agent]) => {
            const built = Gala.page.charts.find((c) => c.spec.id === chart).built;
            return built.series.find((s) => s.agent === agent).values.at(-1);
        }""",
        [chart, agent],
    )


@contextmanager
def alive(made: MadeRun, every: float = 0.3) -> Iterator[None]:
    """All agents of a run go on recording."""
    over = threading.Event()

    def go_on() -> None:
        k = 1_000
        while not over.wait(every):
            k += 1
            for rank in range(made.agents):
                made.append(rank, made.line(rank, k, t=time.time()))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
