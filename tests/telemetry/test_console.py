"""What the person sees: numbers added up by hand, and text that fits."""

import json
from pathlib import Path

import pytest

from gala.files import commands
from gala.telemetry.console import Console, clock, next_commands, plain_line, progress_of
from gala.telemetry.reader import RunReader

LATEST = {
    0: {"step": 300, "charts/SPS": 30.0, "charts/episodic_return": 10.0, "gossip/staleness_max": 2,
        "divergence/total": 0.5, "divergence/epsilon_ratio": 0.25, "gossip/messages_refused": 1},
    1: {"step": 100, "charts/SPS": 10.0, "charts/episodic_return": None, "gossip/staleness_max": 7,
        "divergence/total": 0.4, "divergence/epsilon_ratio": None},
}  # fmt: skip


def test_sums_and_extremes() -> None:
    p = progress_of(LATEST, 1000, since_steps=200, seconds=10.0)
    assert (p.steps, p.percent) == (400, 40.0)
    assert p.seconds_left == 600 * 10 / 200
    assert p.sps == {0: 30.0, 1: 10.0} and p.episodic_return == 10.0
    assert (p.staleness, p.divergence, p.epsilon_ratio, p.refused) == (7, 0.5, 0.25, 1)


def test_the_plain_line() -> None:
    line = plain_line(progress_of(LATEST, 1000, since_steps=200, seconds=10.0))
    assert line == (
        " 40.0 %  400 steps | 0:30 left | 40 steps/s (30 10) | return 10.00 | staleness <= 7 | "
        "divergence 0.5 = 0.25 x bound | 1 messages refused"
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"divergence/agents": 2, "divergence/epsilon_ratio": 0.3}, "divergence 1 = 0.3 x bound"),
        (
            {"divergence/agents": 1, "divergence/epsilon_ratio": 0.3, "divergence/beta": 0.5},
            "divergence 1 = 0.3 x bound of 1 agents, beta 0.500",
        ),
        (
            {
                "divergence/agents": 2,
                "divergence/epsilon_ratio": 0.3,
                "divergence/proven": 0.0,
                "divergence/sketch_error": 0.0442,
            },
            "divergence 1 +- 4.4 % = 0.3 x model bound",
        ),
        (
            {"divergence/agents": 2, "divergence/epsilon_ratio": None},
            "divergence 1 (no bound applies)",
        ),
    ],
)
def test_the_bound_says_for_whom_it_is(values: dict, words: str) -> None:
    records = {rank: {"step": 1, "divergence/total": 1.0, **values} for rank in (0, 1)}
    line = plain_line(progress_of(records, 10, since_steps=0, seconds=1.0))
    assert line.split(" | ")[-1] == words


@pytest.mark.parametrize(
    ("learner", "actors", "words"),
    [
        (0.62, 0.1, "learner waits 62% for actors"),
        (0.3, 0.9, "actors wait 90% for the learner"),
        (0.1, 0.15, "policy lag 1.5"),
    ],
)
def test_it_says_which_side_starves(learner: float, actors: float, words: str) -> None:
    record = {"step": 1, "actors/alive": 2, "actors/learner_idle": learner, "actors/idle": actors}
    records = {0: record | {"policy/lag": 1.0}, 1: record | {"policy/lag": 2.0}}
    line = plain_line(progress_of(records, 10, since_steps=0, seconds=1.0))
    assert line.split(" | ")[-1] == words and "policy lag 1.5" in line


def test_before_the_first_record() -> None:
    line = plain_line(progress_of({}, 1000, since_steps=0, seconds=0.0))
    assert line == "  0.0 %  0 steps | -:-- left | 0 steps/s | return -"


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-:--"), (5, "0:05"), (65.9, "1:05"), (3661, "1:01:01")]
)
def test_clock(seconds: float | None, text: str) -> None:
    assert clock(seconds) == text


def test_next_commands_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_program", lambda: "gala")
    assert next_commands(Path("runs/a"), 4, None)[1] == (
        "go on:     gala train --resume runs/a --agents 4"
    )
    assert next_commands(Path("my runs/a"), 1, 300)[1] == (
        "go on:     gala train --resume 'my runs/a' --total-steps 600"
    )


def test_a_run_from_start_to_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rank in (0, 1):
        (tmp_path / f"rank_{rank:02d}").mkdir()
    reader = RunReader(tmp_path)
    console = Console(
        reader, run_dir=tmp_path, opening=["hello [not markup]"], agents=2, total_steps=1000,
        every_s=0.0,
    )  # fmt: skip
    console.start()
    for rank, record in LATEST.items():
        path = tmp_path / f"rank_{rank:02d}" / "metrics.jsonl"
        stamp = {"v": 1, "t": 5.0, "rank": rank, "incarnation": 0, "update": 1}
        done = stamp | {"event": "done", "message": "done", "step": record["step"]}
        path.write_text(json.dumps(stamp | record) + "\n" + json.dumps(done) + "\n")
    reader.poll()
    console.say("alarm: all is lost")
    console.show()
    console.finish(stopped=False)
    shown = capsys.readouterr().out
    assert "alarm: all is lost" in shown
    assert "hello [not markup]" in shown and " 40.0 %  400 steps" in shown
    assert "finished after" in shown and "400 of 1,000 steps" in shown
    assert f"gala eval {tmp_path} --episodes 30" in shown
