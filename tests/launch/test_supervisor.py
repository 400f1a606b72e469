"""The supervisor with small programs as agents."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gala.errors import EXIT_CRASH
from gala.launch.processes import bound_to, children
from gala.launch.supervisor import (
    LAST_WORDS,
    MAX_ASKED,
    MAX_DEATHS,
    MAX_FALSE_STARTS,
    SETTLED_S,
    WINDOW_S,
    Record,
    supervises,
)

PRELUDE = """
import os, signal, sys, time
from gala.launch.supervisor import tell
incarnation = int(os.environ["GALA_INCARNATION"])
note = open(os.environ["NOTE"], "a", buffering=1)
note.write(f"{incarnation} {os.getpid()} {os.environ.get('GALA_LAST_DEATH', '-')}\\n")
"""


def start(tmp_path: Path, agent: str, *, standby: bool = False) -> subprocess.Popen[str]:
    """A supervisor of an agent that runs ``agent``."""
    program = PRELUDE + textwrap.dedent(agent)
    code = (
        "import sys; from gala.launch import supervisor; "
        f"command = [sys.executable, '-c', {program!r}]; "
        f"sys.exit(supervisor.Supervisor(command, rank=7, standby={standby}).run())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"NOTE": str(tmp_path / "note")},
        start_new_session=True,
        preexec_fn=bound_to(os.getpid()),
    )


def test_one_whose_torchrun_has_gone_starts_no_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALA_EXIT_NOTES", str(tmp_path))  # not in what pytest was started with
    code, _ = end(start(tmp_path, "raise SystemExit"))
    assert code == EXIT_CRASH and not incarnations(tmp_path)


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        _, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, errors


def incarnations(tmp_path: Path) -> list[list[str]]:
    note = tmp_path / "note"
    return [line.split(" ", 2) for line in note.read_text().splitlines()] if note.exists() else []


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)


@pytest.mark.parametrize("code", [2, 3])
def test_ends_that_are_final(tmp_path: Path, code: int) -> None:
    assert end(start(tmp_path, f"sys.exit({code})")) == (code, "")
    assert len(incarnations(tmp_path)) == 1


@pytest.mark.parametrize("said", [0, 3, 74, 143])
@pytest.mark.parametrize("code", [0, 1, 75])
def test_who_has_said_done_is_believed(tmp_path: Path, said: int, code: int) -> None:
    assert end(start(tmp_path, f"tell('done {said}'); sys.exit({code})")) == (said, "")
    assert len(incarnations(tmp_path)) == 1


@pytest.mark.parametrize(
    "leave", ["os._exit(0)", pytest.param("sys.exit(0)", marks=pytest.mark.long)]
)
def test_who_leaves_with_0_and_without_a_word_has_failed(tmp_path: Path, leave: str) -> None:
    code, errors = end(start(tmp_path, f"if incarnation == 0: {leave}\ntell('done 0')"))
    assert code == 0 and len(incarnations(tmp_path)) == 2
    assert "died (exit code 0, without a word that it is done)" in errors
    (tmp_path / "note").unlink()
    code, errors = end(start(tmp_path, leave))
    assert code == 1 and len(incarnations(tmp_path)) == MAX_FALSE_STARTS
    assert end(start(tmp_path, f"tell('mortal'); {leave}"))[0] == 1


def test_input_that_was_good_may_be_good_again(tmp_path: Path) -> None:
    agent = """
        if incarnation != 1:
            tell("training")
        if incarnation == 2:
            tell("done 0")
        sys.exit([1, 2, 0][incarnation])
    """
    assert end(start(tmp_path, agent))[0] == 0
    assert [(incarnation, death) for incarnation, _, death in incarnations(tmp_path)] == [
        ("0", "-"), ("1", "exit code 1"), ("2", "exit code 2"),
    ]  # fmt: skip


def test_bad_input_that_is_met_while_training_is_final(tmp_path: Path) -> None:
    assert end(start(tmp_path, "tell('training'); sys.exit(2 - (incarnation == 0))"))[0] == 2
    assert len(incarnations(tmp_path)) == 2


def test_a_crash_begins_another_life_that_knows_why(tmp_path: Path) -> None:
    body = "if incarnation == 0: os.kill(os.getpid(), signal.SIGSEGV)\ntell('done 0')"
    code, errors = end(start(tmp_path, body))
    assert code == 0 and "agent 7 died (SIGSEGV); incarnation 1 begins in 0.1 s" in errors
    assert [(incarnation, death) for incarnation, _, death in incarnations(tmp_path)] == [
        ("0", "-"),
        ("1", "SIGSEGV"),
    ]


def test_start_me_again_is_no_crash(tmp_path: Path) -> None:
    code, errors = end(
        start(tmp_path, f"if incarnation < {MAX_FALSE_STARTS + 3}: sys.exit(75)\ntell('done 0')")
    )
    assert (code, errors) == (0, "") and len(incarnations(tmp_path)) == MAX_FALSE_STARTS + 4


def test_who_asks_again_and_again_without_getting_going_is_given_up(tmp_path: Path) -> None:
    code, errors = end(start(tmp_path, "print('no store', file=sys.stderr)\nsys.exit(75)"))
    assert code == 75 and len(incarnations(tmp_path)) == MAX_ASKED
    assert f"is given up: it asked {MAX_ASKED} times in a row to be started again" in errors
    assert errors.rstrip().endswith("no store")


def test_a_crash_loop_ends_with_the_last_words(tmp_path: Path, monkeypatch: object) -> None:
    body = "print('the disk is on fire', file=sys.stderr)\nsys.exit(5)"
    code, errors = end(start(tmp_path, body))
    assert code == 5 and len(incarnations(tmp_path)) == MAX_FALSE_STARTS
    assert "is given up: it died 5 times in a row without getting going" in errors
    assert errors.rstrip().endswith("the disk is on fire")


def test_a_mortal_agent_is_not_started_again(tmp_path: Path) -> None:
    body = "tell('mortal')\nos.kill(os.getpid(), signal.SIGKILL)"
    code, _ = end(start(tmp_path, body))
    assert code == 128 + signal.SIGKILL and len(incarnations(tmp_path)) == 1


def test_a_crash_on_the_way_out_is_forgiven(tmp_path: Path) -> None:
    code, _ = end(start(tmp_path, "tell('done 0')\nos.kill(os.getpid(), signal.SIGABRT)"))
    assert code == 0 and len(incarnations(tmp_path)) == 1


def test_what_a_killed_agent_left_behind_is_removed(tmp_path: Path) -> None:
    leftover = tmp_path / "shm" / "00007"
    leftover.parent.mkdir()
    body = f"open({str(leftover)!r}, 'w').close()\ntell('remove {leftover}')\nsys.exit(2)"
    assert end(start(tmp_path, body))[0] == 2
    assert not leftover.parent.exists()


WAIT = """
got = []
signal.signal(signal.SIGTERM, lambda *a: got.append(1))
note.write("0 ready -\\n")
while not got: time.sleep(0.01)
time.sleep(0.2)
note.write(f"0 got{len(got)} -\\n")
tell("done 0")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_group_reaches_the_agent_once(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = start(tmp_path, WAIT)
    wait_for(lambda: any(line[1] == "ready" for line in incarnations(tmp_path)))
    os.killpg(process.pid, number)
    assert end(process)[0] == 0
    assert incarnations(tmp_path)[-1][1] == "got1"


@pytest.mark.parametrize("leave", ["", "signal.signal(15, lambda *a: os._exit(0))"])
def test_an_agent_that_was_asked_to_stop_and_has_not_saved(tmp_path: Path, leave: str) -> None:
    process = start(tmp_path, f"{leave}\nnote.write('0 ready -\\n')\ntime.sleep(60)")
    wait_for(lambda: any(line[1] == "ready" for line in incarnations(tmp_path)))
    process.send_signal(signal.SIGTERM)
    assert end(process)[0] == 143 and len(incarnations(tmp_path)) == 2


def test_many_signals_are_passed_on_and_end_nobody(tmp_path: Path) -> None:
    process = start(tmp_path, WAIT)
    wait_for(lambda: any(line[1] == "ready" for line in incarnations(tmp_path)))
    for _ in range(20):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            process.send_signal(number)
    assert end(process)[0] == 0


def test_a_full_standard_error_does_not_end_a_supervisor(tmp_path: Path) -> None:
    body = "print('x' * 10000, file=sys.stderr)\nif incarnation < 2: os._exit(1)\ntell('done 0')"
    program = f"exec 2> /dev/full; exec '{sys.executable}' -c \"$0\""
    code = (
        "import sys; from gala.launch import supervisor; "
        f"command = [sys.executable, '-c', {PRELUDE + body!r}]; "
        "sys.exit(supervisor.Supervisor(command, rank=7).run())"
    )
    done = subprocess.run(
        ["bash", "-c", program, code], env=os.environ | {"NOTE": str(tmp_path / "note")}, timeout=60
    )
    assert done.returncode == 0 and len(incarnations(tmp_path)) == 3


def test_no_orphan_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    process = start(tmp_path, "note.write('0 ready -\\n')\ntime.sleep(60)")
    wait_for(lambda: any(line[1] == "ready" for line in incarnations(tmp_path)))
    (agent,) = children(process.pid)
    process.kill()
    process.communicate()
    wait_for(lambda: not Path(f"/proc/{agent}").exists() or _zombie(agent))


IN_WAITING = """
from gala.launch.supervisor import stand_by
if "GALA_STANDBY" in os.environ:
    note.write(f"{incarnation} waits -\\n")
    stand_by()
    note.write(f"{incarnation} woke {os.environ['GALA_LAST_DEATH']}\\n")
tell("training")
note.write(f"{incarnation} trains -\\n")
while True: time.sleep(0.01)
"""


def test_the_next_life_is_in_waiting(tmp_path: Path) -> None:
    process = start(tmp_path, IN_WAITING, standby=True)
    for incarnation in range(3):
        wait_for(lambda k=incarnation: [str(k + 1), "waits", "-"] in incarnations(tmp_path))
        pids = {line[0]: int(line[1]) for line in incarnations(tmp_path) if line[1].isdigit()}
        os.kill(pids[str(incarnation)], signal.SIGKILL)
        wait_for(lambda k=incarnation: [str(k + 1), "woke", "SIGKILL"] in incarnations(tmp_path))
    process.send_signal(signal.SIGTERM)
    assert end(process)[0] == 143
    left = {line[1] for line in incarnations(tmp_path) if line[1].isdigit()}
    wait_for(lambda: all(_zombie(int(pid)) for pid in left))


def test_one_in_waiting_that_dies_is_replaced(tmp_path: Path) -> None:
    process = start(tmp_path, IN_WAITING, standby=True)
    wait_for(lambda: ["1", "waits", "-"] in incarnations(tmp_path))
    first, waiting = (int(line[1]) for line in incarnations(tmp_path) if line[1].isdigit())
    os.kill(waiting, signal.SIGKILL)
    wait_for(lambda: _zombie(waiting))
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: ["1", "trains", "-"] in incarnations(tmp_path))
    process.send_signal(signal.SIGTERM)
    assert end(process)[0] == 143


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_who_supervises() -> None:
    under = {"WORLD_SIZE": "4"}
    assert supervises(["pong"], under)
    assert not supervises(["pong"], {}) and not supervises(["pong"], {"WORLD_SIZE": "1"})
    assert not supervises(["pong", "--no-supervisor"], under)
    assert not supervises(["pong", "--supervisor", "false"], under)
    assert not supervises(["pong"], under | {"GALA_INCARNATION": "0"})
    assert not supervises(["--help"], under)


def test_pauses_grow_and_a_good_start_is_a_new_beginning() -> None:
    record, pauses = Record(), []
    for k in range(MAX_FALSE_STARTS - 1):
        record.die(now=float(k), trained_s=0.0)
        pauses.append(record.pause_s)
        assert record.verdict is None
    assert pauses == [0.1, 0.4, 1.6, 6.4]
    record.die(now=9.0, trained_s=SETTLED_S)
    assert record.false_starts == 0 and record.pause_s == 0.1


def test_a_good_start_ends_the_count_of_wishes_to_begin_again() -> None:
    record = Record()
    for trained_s in (0.0,) * (MAX_ASKED - 1) + (SETTLED_S,) + (0.0,) * (MAX_ASKED - 1):
        record.ask(trained_s)
        assert record.verdict is None
    record.ask(0.0)
    assert record.verdict is not None


def test_too_many_deaths_within_the_window() -> None:
    record = Record()
    for k in range(MAX_DEATHS):
        record.die(now=float(k), trained_s=60.0)
        assert record.verdict is None
    record.die(now=float(MAX_DEATHS), trained_s=60.0)
    assert record.verdict is not None and "within 300 s" in record.verdict
    record.die(now=2 * WINDOW_S, trained_s=60.0)
    assert record.verdict is None, "long ago does not count"


def test_the_supervisor_is_small() -> None:
    code = (
        "import sys; import gala.train; heavy = {'torch', 'numpy', 'gymnasium', 'pydantic'}; "
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]" and LAST_WORDS > 5


HANGS = """
from gala.launch.heartbeat import Heartbeat
heart = Heartbeat()
signal.signal(signal.SIGTERM, lambda *_: note.write("0 got -\\n"))
tell("limits {first_s} {acting_s}")
for _ in range(2 if incarnation == 0 else 0):
    heart.act()
    time.sleep(0.5)
    heart.rest()
note.write("0 ready -\\n")
if incarnation:
    tell("done 0")
    sys.exit(0)
"""


def hanging(first_s: float, acting_s: float) -> str:
    return HANGS.format(first_s=first_s, acting_s=acting_s)


ENVIRONMENT = """
import subprocess
simulator = subprocess.Popen(["sleep", "1000"])
note.write(f"simulator {simulator.pid} -\\n")
heart.act()
while True: time.sleep(1)
"""


def test_an_agent_that_hangs_is_killed_with_its_environments_and_begins_again(
    tmp_path: Path,
) -> None:
    process = start(tmp_path, hanging(60, 0.2) + ENVIRONMENT)
    code, errors = end(process)
    assert code == 0
    assert re.search(r"agent 7 has not come back from its environments for \d+ s: it is", errors)
    lines = incarnations(tmp_path)
    assert lines[-2][0] == "1" and "has not come back from its environments" in lines[-2][2]
    (simulator,) = (int(line[1]) for line in lines if line[0] == "simulator")
    wait_for(lambda: _zombie(simulator))


@pytest.mark.parametrize("sign", ["kill", "stop", "wake"])
def test_an_agent_that_is_stopped_or_waits_for_ever_is_started_again(
    tmp_path: Path, sign: str
) -> None:
    agent = {
        "kill": "os.kill(os.getpid(), signal.SIGSTOP)",
        "stop": "while True: time.sleep(1)",
        "wake": "import threading; threading.Event().wait()",
    }[sign]
    code, errors = end(start(tmp_path, hanging(1, 60) + agent))
    assert code == 0 and "agent 7 has made no update for" in errors


def test_one_signal_ends_an_agent_that_hangs(tmp_path: Path) -> None:
    process = start(tmp_path, hanging(60, 60) + ENVIRONMENT)
    wait_for(lambda: any(line[0] == "simulator" for line in incarnations(tmp_path)))
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code, errors = end(process)
    assert code == 128 + signal.SIGTERM and "come back from its environments" in errors
    assert time.monotonic() - began < 20 and len(children(process.pid)) == 0


def test_one_that_hangs_as_it_leaves_has_done_nothing(tmp_path: Path) -> None:
    """Killed on its way out it was done; killed for hanging before it was not."""
    body = "signal.signal(signal.SIGTERM, lambda *_: (tell('done'), os._exit(0)))"
    code, _ = end(start(tmp_path, hanging(60, 0.2) + body + ENVIRONMENT))
    assert code == 0 and [line[0] for line in incarnations(tmp_path)].count("1") == 1


GIVES_UP = """
import sys
from gala.launch.supervisor import Supervisor
sys.exit(Supervisor([sys.executable, "-c", "raise SystemExit(1)"], 3).run())
"""


@pytest.mark.parametrize("run_id", ["4711", pytest.param(None, marks=pytest.mark.long)])
def test_giving_up_waits_for_the_own_launch_only(tmp_path: Path, run_id: str | None) -> None:
    """A shell, or torchrun, has another child, which has one, too."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TORCHELASTIC")}
    supervisor = [sys.executable, "-c", GIVES_UP]
    mine = environment if run_id is None else environment | {"TORCHELASTIC_RUN_ID": run_id}
    stranger = ["sh", "-c", "sleep 1000; true"]
    with subprocess.Popen(stranger, env=environment, start_new_session=True) as other:
        wait_for(lambda: bool(children(other.pid)))
        sibling = subprocess.Popen(["sh", "-c", "sleep 14; true"], env=mine) if run_id else None
        process = subprocess.Popen(supervisor, env=mine, stderr=subprocess.PIPE, text=True)
        code, errors = end(process)
        os.killpg(other.pid, signal.SIGKILL)
        assert code == 1 and "is given up" in errors
        assert sibling is None or sibling.poll() == 0, "it was waited for"
