"""Put helpers within reach of the tests of this folder; serve and visit run folders as users do."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))

from browsing import CHROMIUM, Visit


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """A page on which nothing may go wrong."""
    made = Visit(browser)
    yield made
    made.context.close()
    assert made.complaints == []


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """``serve(folder, *options)`` starts ``gala dashboard`` and returns its address."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path, *options: str) -> str:
        command = [sys.executable, "-m", "gala", "dashboard", str(folder), "--port", "0", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        address = lines[1].strip().partition("?")[0]
        assert address.startswith("http://"), lines
        return address

    yield start
    for process in started:
        process.terminate()
        assert process.wait(10) in (0, -15)
        assert process.stdout is not None
        process.stdout.close()
