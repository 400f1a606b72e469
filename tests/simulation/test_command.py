"""``gala simulate``."""

import json
import time
from pathlib import Path

import pytest

from gala import cli

QUICK = ["simulate", "--topology", "ring", "--agents", "6", "--updates", "50"]


def test_json_has_the_fixed_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*QUICK, "--json", "--effects", "--latency-ms", "20"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"agents", "updates", "beta", "epsilon", "bytes_per_agent", "wall_clock_s"} <= set(found)
    assert {"mean", "max", "final"} <= set(found["divergence"])
    assert {"mean", "p50", "p99", "max"} <= set(found["staleness"])
    assert found["agents"] == 6 and found["updates"] == 50
    assert set(found["without"]) == {"no latency"}


def test_every_option_reaches_the_simulation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "sim.png"
    options = (
        "--speed lognormal:0.3 --update-ms 50 --update-jitter 0.1 --latency-ms 5 --jitter-ms 5 "
        "--loss 0.02 --churn 0.01 --restart-s 0.5 --params 1000 --bandwidth-mbit 100 "
        "--max-staleness 3 --staleness-policy skip --dimension 4 --correlation 0.1 --seed 7"
    )
    assert cli.main([*QUICK, *options.split(), "--effects", "--plot", str(picture)]) == 0
    shown = capsys.readouterr().out
    for word in ("divergence", "staleness", "wall clock", "no churn", "endless bandwidth"):
        assert word in shown
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--loss", "1"], "argument --loss: must be a number of at least 0 and below 1, got '1'"),
        (["--churn", "nan"], "argument --churn"),
        (["--bandwidth-mbit", "0"], "argument --bandwidth-mbit: must be a number above 0"),
        (["--latency-ms", "-1"], "argument --latency-ms"),
        (["--speed", "fast"], "--speed: no speeds are named 'fast'"),
        (["--dimension", "1"], "--dimension: must be at least 2"),
        (["--max-staleness", "-1"], "argument --max-staleness"),
        (["--topology", "rign"], "rign"),
        (
            ["--agents", "100000000"],
            "--agents: 100,000,000 agents are too many, the limit is 100,000 (--agents 100000)",
        ),
        (
            ["--agents", "100000", "--dimension", "5000"],
            "5,000 are too many, the limit for 100,000 agents is 4,000 (--dimension 4000)",
        ),
        (["--plot", "x.txt"], "is no picture format"),
    ],
)
def test_mistakes(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    start = time.process_time()
    assert cli.main([*QUICK, *options]) == 2
    assert time.process_time() - start < 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and words in captured.err and captured.out == ""


def test_one_is_no_many(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main("simulate --topology ring --agents 1 --updates 1".split()) == 0
    assert capsys.readouterr().out.startswith("ring, 1 agent x 1 update")


@pytest.mark.long
def test_the_size_of_the_internet(capsys: pytest.CaptureFixture[str]) -> None:
    options = (
        "simulate --topology exponential --agents 10000 --updates 2000 --speed lognormal:0.3 "
        "--latency-ms 50 --loss 0.02 --churn 0.001 --params 866439 --bandwidth-mbit 100 --json"
    )
    assert cli.main(options.split()) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agents"] == 10_000 and found["deaths"] > 10_000
