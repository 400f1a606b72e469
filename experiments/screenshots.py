"""Pictures of the dashboard for the documentation.

    python experiments/screenshots.py runs

Writes docs/images/dashboard-{light,dark,phone,runs}.png. Needs playwright and Chromium (Debian:
chromium). A folder of several seeds shows most.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from gala.launch.processes import bound_to

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
VIEWS = {
    "light": ("theme=light&x=steps", 1500, 1180),
    "dark": ("theme=dark&x=steps&smooth=0.6", 1500, 1180),
    "phone": ("theme=light&x=steps", 390, 1400),
    "runs": ("theme=light&x=steps&groups=1&sort=-return", 1500, 700),
}
"""By name: what the address asks for, width, height; that of runs is scrolled to them."""


def main() -> None:
    """Serve the runs, open them in several ways, and save what is seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="run folder, or a folder of some")
    parser.add_argument("--run", default="", help="which of them is looked into: the newest")
    options = parser.parse_args()
    command = [sys.executable, "-m", "gala", "dashboard", str(options.runs), "--port", "0"]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, preexec_fn=bound_to(os.getpid())
    )
    assert server.stdout is not None
    server.stdout.readline()
    address = server.stdout.readline().strip()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            for name, (asked, width, height) in VIEWS.items():
                page = browser.new_page(viewport={"width": width, "height": height})
                page.goto(f"{address}#run={options.run}&{asked}")
                page.wait_for_selector("body[data-ready][data-drawn]")
                page.wait_for_timeout(3_000)  # events, distances and other runs come later
                if name == "runs":
                    page.evaluate("document.getElementById('compare').scrollIntoView()")
                    page.evaluate("scrollBy(0, -60)")  # below the line that stays
                page.screenshot(path=IMAGES / f"dashboard-{name}.png")
                print(f"wrote {IMAGES / f'dashboard-{name}.png'}")
                page.close()
            browser.close()
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
