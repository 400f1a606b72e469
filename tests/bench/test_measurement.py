"""A real run, measured."""

import os
from unittest import mock

import pytest

from gala.bench import measurement
from gala.bench.measurement import CASES, QUICK, Case, measure, peak_mb
from gala.errors import UserError
from gala.telemetry.phases import PHASES


def test_a_run_is_measured_and_leaves_nothing_running() -> None:
    seen: list[int] = []
    case = Case(
        name="small",
        agents=2,
        arguments=("cartpole", "--log.every-s", 0.1),
        prepare=lambda run: seen.extend(run.pid(rank) for rank in range(2)),
    )
    with mock.patch.object(measurement, "WARM_UP_S", 0.2):
        found = measure(case, 1.0)
    assert found.case == "small" and len(set(seen)) == 2
    assert found.steps_per_second > 100
    assert set(found.phases_ms) == set(PHASES) and all(v >= 0 for v in found.phases_ms.values())
    assert found.phases_ms["learn"] > 0 and 0 < found.overhead < 1
    assert found.memory_mb is None or 50 < found.memory_mb < 5000
    assert 0.1 < found.start_s < 100


def test_a_run_that_cannot_start_is_one_line() -> None:
    with pytest.raises(UserError, match="wrong: .*no experiment|wrong: .*nowhere"):
        measure(Case(name="wrong", agents=1, arguments=("nowhere.yaml",)), 1.0)


def test_memory_of_processes() -> None:
    own = peak_mb(os.getpid())
    assert own is None or own > 10
    assert peak_mb(2**22 + 1) is None


def test_cases_have_names_of_their_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert set(QUICK) < set(CASES)


@pytest.mark.parametrize("case", [case for case in CASES if case.name.startswith("Pong")])
def test_a_case_is_what_its_name_says(case: Case) -> None:
    words = list(case.arguments)
    envs = words[words.index("--env.num-envs") + 1]
    agents = f"{case.agents} agent{'s' if case.agents > 1 else ''}"
    assert case.name == f"Pong, {agents} x {envs}"
