"""The text format: what the records say, absent what they do not, and valid whatever they hold."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gala.telemetry.prometheus import FAMILIES, RECORDED, UP_S, exposition
from gala.telemetry.reader import MAX_AGENTS, RunReader

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
MakeRun = Callable[..., Any]


def parsed(text: str) -> Samples:
    """Every sample by name and sorted labels, read by the reference parser."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, key
            found[key] = sample.value
    return found


def reader_of(path: Path) -> RunReader:
    reader = RunReader(path)
    reader.poll()
    return reader


def scrape(*folders: Path, now: float | None = None) -> Samples:
    runs = {folder.name: reader_of(folder) for folder in folders}
    return parsed(exposition(runs, time.time() if now is None else now))


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, tuple(sorted(labels.items()))))


def test_a_run_that_is_well(make_run: MakeRun) -> None:
    samples = scrape(make_run().path)

    def of(name: str, **labels: str) -> float | None:
        return value(samples, name, run="pong", rank="1", **labels)

    assert of("gala_up") == 1 and of("gala_finished") == 0
    assert 0 <= (of("gala_heartbeat_age_seconds") or -1) < 10
    assert of("gala_steps_total") == 5000 and of("gala_updates_total") == 250
    assert of("gala_steps_per_second") == 311.4 and of("gala_episodic_return") == 17.68
    assert of("gala_staleness_updates") == 0 and of("gala_staleness_max_updates") == 2
    assert of("gala_bytes_sent_total") == 174282471972
    assert of("gala_phase_seconds", phase="collect") == pytest.approx(0.0334)
    assert of("gala_wait_seconds") == pytest.approx(0.0005)
    assert of("gala_divergence_frobenius") == 0.58 and of("gala_divergence_epsilon") == 24.6
    assert of("gala_divergence_epsilon_ratio") == 0.0236
    assert of("gala_message_age_seconds", neighbour="0") == 0.04
    assert of("gala_divergence_to_agent", agent="0") == 0.4
    assert of("gala_policy_divergence_nats", neighbour="0") == 0.02
    assert of("gala_events_total", kind="start") == 1
    assert of("gala_events_total", kind="dead") == 0  # there before the first: an increase is seen
    assert of("gala_alarms_total") == 0
    assert of("gala_messages_refused_total", reason="checksum") == 2
    assert of("gala_messages_refused_total", reason="other") == 1
    states = {"joining": 0, "active": 1, "suspect": 0, "down": 0, "left": 0}
    assert {s: of("gala_neighbour_state", neighbour="0", state=s) for s in states} == states
    assert value(samples, "gala_agents", run="pong") == 4
    assert value(samples, "gala_target_steps", run="pong") == 4_000_000


def test_every_family_has_samples_help_and_type(make_run: MakeRun) -> None:
    text = exposition({"pong": reader_of(make_run().path)}, time.time())
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for metric in FAMILIES:
        family = families[
            metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name
        ]
        assert family.samples and family.documentation == metric.meaning
        assert family.type == metric.kind
        assert metric.name.endswith("_total") == (metric.kind == "counter") or (
            metric.name == "gala_divergence_total"
        )
    assert len(families) == len(FAMILIES)


PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool (Debian: apt-get install prometheus)")
def test_the_linter_of_prometheus_has_nothing_to_say(make_run: MakeRun) -> None:
    """But of the old name that stays for a release."""
    text = exposition({"pong": reader_of(make_run().path)}, time.time())

    def lint(exposed: str) -> list[str]:
        command = [str(PROMTOOL), "check", "metrics"]
        done = subprocess.run(command, input=exposed, capture_output=True, text=True, timeout=60)
        return (done.stdout + done.stderr).splitlines()

    told = lint(text)
    assert len(told) == 1 and told[0].startswith("gala_divergence_total non-counter"), told
    assert len(lint(text.replace("gala_cpu_cores", "gala_cpu_count"))) == 2


def test_the_old_name_says_the_same(make_run: MakeRun) -> None:
    samples = scrape(make_run().path)
    old, new = (
        value(samples, f"gala_divergence_{name}", run="pong", rank="1")
        for name in ("total", "frobenius")
    )
    assert old == new == 0.58


def test_names_follow_the_conventions() -> None:
    assert len({metric.name for metric in FAMILIES}) == len(FAMILIES)
    for metric in FAMILIES:
        assert re.fullmatch(r"gala_[a-z_]+", metric.name)
        assert "\n" not in metric.meaning and "\\" not in metric.meaning
    milli = [metric for metric in RECORDED if metric.source.endswith("_ms")]
    assert milli and all(m.name.endswith("_seconds") and m.scale == 1e-3 for m in milli)


def test_what_is_not_known_is_absent(make_run: MakeRun) -> None:
    run = make_run()
    run.record(0, divergence__epsilon=None, divergence__epsilon_ratio=None, gossip__in__3__state=7)
    names = {name for name, labels in scrape(run.path) if ("rank", "0") in labels}
    assert "gala_divergence_frobenius" in names
    assert not {"gala_divergence_epsilon", "gala_divergence_epsilon_ratio"} & names
    assert "gala_neighbour_state" not in names


def test_up_is_young_or_done(make_run: MakeRun) -> None:
    run = make_run(agents=3)
    run.event(1, "done")
    run.event(2, "stop")

    def up(name: str, *, later: float) -> list[float | None]:
        samples = scrape(run.path, now=time.time() + later)
        return [value(samples, name, run="pong", rank=str(rank)) for rank in range(3)]

    assert up("gala_up", later=0.0) == [1, 1, 1]
    assert up("gala_up", later=UP_S + 1) == [0, 1, 0]
    assert up("gala_finished", later=UP_S + 1) == [0, 1, 1]
    run.event(1, "start")  # it goes on
    assert up("gala_finished", later=UP_S + 1) == [0, 0, 1]
    assert up("gala_up", later=UP_S + 1) == [0, 0, 0]


def test_an_agent_that_never_wrote_is_down(make_run: MakeRun) -> None:
    run = make_run(agents=2)
    (run.path / "rank_01" / "metrics.jsonl").unlink()
    samples = scrape(run.path)
    assert value(samples, "gala_up", run="pong", rank="1") == 0
    assert value(samples, "gala_heartbeat_age_seconds", run="pong", rank="1") is None


def test_a_clock_that_is_behind_gives_no_negative_age(make_run: MakeRun) -> None:
    samples = scrape(make_run(agents=1).path, now=time.time() - 3600)
    assert value(samples, "gala_heartbeat_age_seconds", run="pong", rank="0") == 0


def test_alarms_and_events_only_grow(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when there are more events than a reader keeps."""
    monkeypatch.setattr("gala.telemetry.reader.MAX_EVENTS", 5)
    run = make_run(agents=1)
    for _ in range(12):
        run.event(0, "alarm", "too far apart")
    samples = scrape(run.path)
    assert value(samples, "gala_alarms_total", run="pong", rank="0") == 12
    assert value(samples, "gala_events_total", run="pong", rank="0", kind="alarm") == 12


def test_runs_are_told_apart(make_run: MakeRun) -> None:
    first, second = make_run("a"), make_run("b", agents=2)
    second.record(0, step=77)
    samples = scrape(first.path, second.path)
    steps = {run: value(samples, "gala_steps_total", run=run, rank="0") for run in "ab"}
    assert steps == {"a": 5000, "b": 77}


def test_no_runs_no_samples() -> None:
    assert exposition({}, 0.0) == ""


@pytest.mark.parametrize(
    "name", ['quo"te', "back\\slash", "new\nline", "\ud800", "ü", "", "a{b}=,"]
)
def test_labels_are_escaped(make_run: MakeRun, name: str) -> None:
    text = exposition({name: reader_of(make_run(agents=1).path)}, time.time())
    text.encode("utf-8")
    (found,) = {dict(labels)["run"] for _, labels in parsed(text)}
    assert found == name.encode("utf-8", "backslashreplace").decode()


NAMES = [m.source for m in RECORDED] + ["t", "rank", "event", "gossip/messages_refused"]
FORMS = ["gossip/in/{}/age_s", "gossip/in/{}/state", "time/{}_ms", "gossip/refused/{}"]
names = st.one_of(
    st.sampled_from(NAMES),
    st.builds(lambda form, word: form.format(word), st.sampled_from(FORMS), st.text()),
)
plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(min_value=10**308), st.floats(), st.text()
)
values = st.one_of(
    plain, st.lists(plain, max_size=2), st.dictionaries(st.text(), plain, max_size=2)
)
records = st.builds(
    lambda rank, fields: {"rank": rank, **fields},
    st.one_of(st.integers(0, 3), plain),
    st.dictionaries(names, values, max_size=12),
)
metas = st.dictionaries(st.sampled_from(["agents", "total_steps"]), values.filter(
    lambda x: not isinstance(x, int) or not 100 < x <= MAX_AGENTS))  # fmt: skip


@given(st.lists(records, max_size=8), metas, st.text())
@settings(max_examples=150)
def test_whatever_is_in_the_files_parses(
    tmp_path_factory: pytest.TempPathFactory,
    content: list[dict[str, Any]],
    meta: Mapping[str, Any],
    name: str,
) -> None:
    run = tmp_path_factory.mktemp("run")
    (run / "rank_00").mkdir()
    (run / "meta.json").write_text(json.dumps(meta))
    lines = [json.dumps(record) + "\n" for record in content]
    (run / "rank_00" / "metrics.jsonl").write_text("".join(lines))
    reader = reader_of(run)
    text = exposition({name: reader}, 1.0)
    text.encode("utf-8")
    samples = parsed(text)
    ups = {dict(labels)["rank"] for each, labels in samples if each == "gala_up"}
    assert {str(rank) for rank in reader.latest} <= ups
    assert all(number == number and abs(number) != float("inf") for number in samples.values())
