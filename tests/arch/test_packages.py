"""The set-up of system packages for tests says what it cannot do, and never stands in the way."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FAKES = {
    "id": "echo 0",
    "apt-get": 'echo "$@" >> "$LOG"; [ "$1" = update ] || [ -z "$WORKS" ] || '
    '{ eval last=\\${$#}; echo "#!/bin/sh" > "$BIN/$last"; chmod +x "$BIN/$last"; }',
    "mktemp": 'echo "$BIN/log"',
}


class Machine:
    """A PATH on which only chosen programs are found."""

    def __init__(self, folder: Path, script: Path) -> None:
        self.bin, self.script, self.log = folder / "bin", script, folder / "calls"
        self.bin.mkdir()
        for name in ("chmod", "rm", "tail"):
            (self.bin / name).symlink_to(shutil.which(name) or "")

    def add(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def set_up(self, **environment: str) -> subprocess.CompletedProcess[str]:
        found = {"PATH": str(self.bin), "BIN": str(self.bin), "LOG": str(self.log)} | environment
        return subprocess.run(
            ["/bin/sh", str(self.script)], env=found, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path: Path, repository: Path) -> Machine:
    policy = Path("/usr/sbin/policy-rc.d")
    if not policy.exists() and os.access(policy.parent, os.W_OK):
        pytest.skip("the script would write a policy on this machine")
    return Machine(tmp_path, repository / ".ci" / "packages")


def test_silent_and_idle_when_all_is_there(machine: Machine) -> None:
    for name in ("prometheus", "chromium", "apt-get"):
        machine.add(name, FAKES.get(name, ""))
    done = machine.set_up()
    assert (done.returncode, done.stdout, done.stderr, machine.calls) == (0, "", "", [])


def test_without_apt_it_is_loud_and_goes_on(machine: Machine) -> None:
    machine.add("chromium", "")
    done = machine.set_up()
    assert done.returncode == 0 and "NOT INSTALLED: prometheus (there is no apt-get" in done.stderr
    assert "will be SKIPPED" in done.stderr and "chromium" not in done.stderr


def test_others_than_root_are_told_the_command(machine: Machine) -> None:
    machine.add("apt-get", FAKES["apt-get"])
    machine.add("id", "echo 1000")
    done = machine.set_up()
    assert done.returncode == 0 and machine.calls == []
    assert "apt-get install --no-install-recommends prometheus chromium" in done.stderr


@pytest.mark.parametrize("works", [True, False])
def test_root_installs_what_is_missing(machine: Machine, works: bool) -> None:
    for name, body in FAKES.items():
        machine.add(name, body)
    machine.add("chromium", "")
    done = machine.set_up(WORKS="1" if works else "")
    assert done.returncode == 0
    assert machine.calls == ["update -qq", "install -y -qq --no-install-recommends prometheus"]
    assert ("NOT INSTALLED: prometheus (apt-get could not" in done.stderr) == (not works)
