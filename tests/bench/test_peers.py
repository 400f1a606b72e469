"""The comparison with others: environments, turns, ratios, and peers that fail. No real peers."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "bench"))
import peers

STEADY = """
import json, sys, time
print("loading libraries", flush=True)
for n in range(10**6):
    print(json.dumps({"t": 1000.0 + n, "steps": 50 * n}), flush=True)
    time.sleep(0.02)
"""


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for drivers of a test; the clock of their lines is the test's own business."""
    monkeypatch.setattr(peers, "DRIVERS", tmp_path)
    monkeypatch.setattr(peers, "WARM_UP_S", 0.1)
    return tmp_path


def test_the_speed_is_that_of_the_window(driver: Path) -> None:
    source = STEADY.replace("1000.0 + n", "time.time()").replace(
        "50 * n", "int(1000 * time.time())"
    )
    (driver / "steady.py").write_text(source)
    python = Path(sys.executable)
    assert peers.peer_run(python, "steady", ("pong", 32), 0.5).speed == pytest.approx(
        1000.0, rel=0.05
    )


def test_the_bare_loop_trains() -> None:
    peer = peers.PEERS[peers.BARE]
    python = peers.environment(peers.BARE, peer, [])
    assert python == Path(sys.executable) and set(peers.versions(python, peer.report)) > {"torch"}
    assert peers.peer_run(python, peer.driver, (2, 1), 0.5).speed > 0


def test_rate_is_between_first_and_last() -> None:
    points = [{"t": 10.0, "steps": 500.0}, {"t": 11.0, "steps": 501.0}, {"t": 14.0, "steps": 900.0}]
    assert peers.rate(points) == 100.0


def test_a_peer_and_its_workers_are_gone_afterwards(driver: Path) -> None:
    note = driver / "pids"
    (driver / "workers.py").write_text(
        "import os, subprocess, sys, signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(note)!r}, 'w').write(f'{{os.getpid()}} {{worker.pid}}')\n"
        + STEADY.replace("1000.0 + n", "time.time()")
    )
    peers.peer_run(Path(sys.executable), "workers", (), 0.2)
    deadline = time.monotonic() + 20
    for pid in map(int, note.read_text().split()):
        while alive(pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_peer_that_dies_says_its_last_words(driver: Path) -> None:
    (driver / "broken.py").write_text("raise SystemExit('no such game: pong')")
    with pytest.raises(RuntimeError, match="ended with code 1: no such game: pong"):
        peers.peer_run(Path(sys.executable), "broken", ("pong",), 1.0)


FOUND = {
    f"Pong; {peers.SB3}; one": [100.0, 200.0],
    f"Pong; {peers.SB3}; two": [120.0, None],
    "Pong; gala; preset": [360.0, 500.0],
    f"CartPole; {peers.SB3}; one": [None, 1000.0],
    "CartPole; gala; preset": [9.0, 3000.0],
}


def test_ratios_are_to_the_faster_way_of_the_same_round() -> None:
    assert peers.ratios(FOUND, "Pong; gala; preset", peers.SB3) == [3.0, 2.5]
    assert peers.ratios(FOUND, f"Pong; {peers.SB3}; one", peers.SB3) == [100 / 120, 1.0]
    assert peers.ratios(FOUND, "CartPole; gala; preset", peers.SB3) == [3.0]
    assert peers.ratios(FOUND, "Pong; gala; preset", peers.BARE) == []


def test_what_failed_and_what_was_not_installed_is_in_the_text() -> None:
    options = argparse.Namespace(agents=2, simulators=16, rounds=2, seconds=3.0)
    facts = {peers.SB3: {"versions": {"torch": "2"}}, "Other": {"problem": "It could not."}}
    found = FOUND | {"Pong; Other; x": [None, None]}
    text = peers.text_of(found, dict.fromkeys(found, peers.SB3), facts, options)
    assert f"| Pong | gala | preset | 430 | 360 - 500 | 2.75 of {peers.SB3} | 2.50 - 3.00 |" in text
    assert "| Pong | Other | x | - | - | - | - |" in text
    assert "Other: NOT MEASURED. It could not." in text and "torch 2" in text


def test_everybody_gets_the_same_number_of_environments_as_what_it_is_held_against() -> None:
    rows = peers.rows(agents=2, envs=16)
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        arguments = list(row.arguments)
        if row.program == "gala":
            each = arguments[arguments.index("--env.num-envs") + 1]
            assert each == 16 and row.agents == (1 if row.alone else 2)
        else:
            assert arguments[0 if row.alone else 1] == (16 if row.alone else 32)
            assert row.program in peers.PEERS
    assert any(row.program == peers.BARE for row in rows if row.alone)
    for peer in peers.PEERS.values():
        assert (peers.DRIVERS / f"{peer.driver}.py").is_file()


# -- environments


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that would build environments; ``venv`` makes the interpreter's file."""
    run: list[list[str]] = []

    def fake(command: list[str], **_: object) -> None:
        run.append(command)
        if "venv" in command:
            python = Path(command[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", fake)
    return run


def test_an_environment_is_built_once_and_again_when_its_pins_change(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    peer = peers.PEERS[peers.SAMPLE_FACTORY]
    python = peers.environment("x", peer, ["--no-index"])
    assert python.is_relative_to(tmp_path / "gala" / "peers")
    venv, pip = commands
    assert "--clear" in venv and {"--no-index", "sample-factory", "torch", "-c"} <= set(pip)
    constraints = Path(pip[pip.index("-c") + 1]).read_text().splitlines()
    assert len(constraints) == 1 and constraints[0].startswith("torch==")
    assert peers.environment("x", peer, []) == python and len(commands) == 2
    monkeypatch.setattr(peers, "pins", lambda peer: ["torch==9"])
    peers.environment("x", peer, [])
    assert len(commands) == 4


def test_a_failed_build_is_tried_again(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, fake = peers.PEERS[peers.SB3], subprocess.run

    def failing(command: list[str], **options: object) -> object:
        if "pip" in command:
            raise subprocess.CalledProcessError(1, command)
        return fake(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", failing)
    with pytest.raises(subprocess.CalledProcessError):
        peers.environment("x", peer, [])
    monkeypatch.setattr(subprocess, "run", fake)
    peers.environment("x", peer, [])
    assert sum("pip" in each for each in commands) == 1


def test_a_peer_that_cannot_be_installed_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(name: str, peer: peers.Peer, pip_args: list[str]) -> Path:
        if name == peers.SAMPLE_FACTORY:
            raise subprocess.CalledProcessError(1, ["pip"])
        return Path(sys.executable)

    written: dict[str, object] = {}
    monkeypatch.setattr(peers, "environment", build)
    monkeypatch.setattr(peers, "versions", lambda *_: {"torch": "2"})
    monkeypatch.setattr(peers, "gala_rate", lambda *_: 3000.0)
    monkeypatch.setattr(peers, "peer_run", lambda *_: peers.Run(1000.0, 2.0))
    monkeypatch.setattr(
        peers, "write", lambda name, data, text: written.update(name=name, data=data, text=text)
    )
    monkeypatch.setattr(sys, "argv", ["peers.py", "--rounds", "2", "--seconds", "1"])
    peers.main()
    assert "WARNING: Sample Factory APPO is left out" in capsys.readouterr().err
    data = json.loads(json.dumps(written["data"]))
    assert not any(peers.SAMPLE_FACTORY in name for name in data["steps_per_second"])
    assert data["ratio"]["Pong; gala; 32 filters, as in the paper"] == [3.0, 3.0]
    assert "NOT MEASURED" in str(written["text"]) and written["name"] == "peers"
    written.clear()
    monkeypatch.setattr(sys, "argv", ["peers.py", "--rounds", "1", "--games", "CartPole"])
    peers.main()
    assert not written and "| CartPole | gala |" in capsys.readouterr().out
