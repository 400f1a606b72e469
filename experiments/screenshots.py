"""Pictures of the dashboard for the documentation.

    python experiments/screenshots.py runs/pong

Writes docs/images/dashboard-{light,dark}.png. Needs playwright and Chromium (Debian: chromium).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
WIDTH, HEIGHT = 1500, 1180


def main() -> None:
    """Serve the run, open it in both themes, and save what is seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    options = parser.parse_args()
    command = [sys.executable, "-m", "gala", "dashboard", str(options.run), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    server.stdout.readline()
    address = server.stdout.readline().strip()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            for theme in ("light", "dark"):
                page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
                page.goto(f"{address}#theme={theme}&x=steps")
                page.wait_for_selector("body[data-ready][data-drawn]")
                page.wait_for_timeout(2_000)  # events and distances come with the stream
                page.screenshot(path=IMAGES / f"dashboard-{theme}.png")
                print(f"wrote {IMAGES / f'dashboard-{theme}.png'}")
                page.close()
            browser.close()
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
