"""The Grafana board and the alert rules name what there is, and fire when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

import gala
from gala.telemetry.prometheus import FAMILIES

FOLDER = Path(gala.__file__).resolve().parents[1] / "experiments" / "grafana"
RULES, CONFIG, BOARD = FOLDER / "alerts.yaml", FOLDER / "prometheus.yml", FOLDER / "gala.json"

if not FOLDER.is_dir():
    pytest.skip("gala is installed, this is not a checkout", allow_module_level=True)


@pytest.fixture(scope="module")
def board() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(BOARD.read_text())
    return content


def rules() -> list[dict[str, Any]]:
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


def expressions(board: dict[str, Any]) -> list[str]:
    targets = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return targets + [mark["expr"] for mark in board["annotations"]["list"]]


def test_every_metric_that_is_asked_for_exists(board: dict[str, Any]) -> None:
    known = {metric.name for metric in FAMILIES}
    texts = [*expressions(board), *(rule["expr"] for rule in rules())]
    texts.append(board["templating"]["list"][1]["query"]["query"])
    texts.append((FOLDER.parents[1] / "docs" / "tools.md").read_text())
    for text in texts:
        asked = set(re.findall(r"\bgala_\w*[a-z]", text)) - {"gala_divergence"}
        assert asked and asked <= known, text


def test_rates_are_of_counters_alone(board: dict[str, Any]) -> None:
    counters = {metric.name for metric in FAMILIES if metric.kind == "counter"}
    rated = re.findall(r"(?:rate|increase)\((\w+)", " ".join(expressions(board)))
    assert rated and set(rated) <= counters


def test_the_board_has_what_people_look_for(board: dict[str, Any]) -> None:
    asked = " ".join(expressions(board))
    wanted = "episodic_return divergence_frobenius divergence_epsilon staleness_max_updates "
    wanted += "steps_per_second heartbeat_age_seconds messages_refused_total phase_seconds"
    for name in wanted.split():
        assert f"gala_{name}{{" in asked


def test_the_board_is_one_that_grafana_takes(board: dict[str, Any]) -> None:
    panels = board["panels"]
    assert board["schemaVersion"] >= 36 and board["title"] == "gala" and "id" not in board
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {each["name"]: each for each in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource" and variables["run"]["multi"]
    for panel in panels:
        assert panel["type"] in {"stat", "timeseries"} and panel["title"] and panel["description"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"
            assert 'run=~"$run"' in target["expr"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)


def test_panels_fill_the_grid_without_overlap(board: dict[str, Any]) -> None:
    boxes = [panel["gridPos"] for panel in board["panels"]]
    assert all(box["x"] >= 0 and box["x"] + box["w"] <= 24 for box in boxes)
    for a, b in combinations(boxes, 2):
        apart_x = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        apart_y = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert apart_x or apart_y, (a, b)


def test_the_rules_are_those_that_the_docs_name() -> None:
    found = {rule["alert"]: rule for rule in rules()}
    assert list(found) == ["GalaLeftTheBall", "GalaAgentDead", "GalaStalenessHigh"]
    for rule in found.values():
        assert rule["for"] and rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]


# -- with promtool, which comes with Prometheus

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="PROMTOOL IS NOT INSTALLED, alert rules go unchecked: apt-get install prometheus",
)


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_takes_rules_and_configuration() -> None:
    promtool("check", "rules", RULES)
    promtool("check", "config", CONFIG)


WELL = {"up": "1x40", "finished": "0x40", "heartbeat_age_seconds": "1x40",
        "divergence_epsilon_ratio": "0.02x40", "staleness_max_updates": "1x40"}  # fmt: skip


@needs_promtool
@pytest.mark.parametrize(
    ("changes", "firing"),
    [
        ({}, set()),
        ({"divergence_epsilon_ratio": "1.5x40"}, {"GalaLeftTheBall"}),
        ({"divergence_epsilon_ratio": "1.5 1.5 0.9x40"}, set()),  # not for long
        ({"divergence_epsilon_ratio": None}, set()),  # no bound applies
        ({"divergence_epsilon_ratio": "1.5x40", "finished": "1x40"}, set()),
        ({"up": "0x40", "heartbeat_age_seconds": "20+5x40"}, {"GalaAgentDead"}),
        ({"up": "0x40", "heartbeat_age_seconds": None}, {"GalaAgentDead"}),  # it never wrote
        ({"up": "0x40", "finished": "1x40"}, set()),  # it was stopped
        ({"up": "0x40", "heartbeat_age_seconds": "90000+5x40"}, set()),  # yesterday's news
        ({"up": "0x40", "divergence_epsilon_ratio": "9x40"}, {"GalaAgentDead"}),
        ({"staleness_max_updates": "0+10x40"}, {"GalaStalenessHigh"}),
        ({"staleness_max_updates": "0+10x40", "finished": "1x40"}, set()),
    ],
)
def test_alerts(tmp_path: Path, changes: dict[str, str | None], firing: set[str]) -> None:
    """After 2 minutes of samples each 5 s, as the file stands with its waiting times."""
    values = {name: value for name, value in (WELL | changes).items() if value is not None}
    series = [
        {"series": f'gala_{name}{{run="pong", rank="2", job="gala"}}', "values": value}
        for name, value in values.items()
    ]
    expected = []
    for rule in rules():
        labels = {"run": "pong", "severity": rule["labels"]["severity"]}
        if rule["alert"] != "GalaLeftTheBall":
            labels |= {"rank": "2", "job": "gala"}
        alerts = [{"exp_labels": labels}] if rule["alert"] in firing else []
        expected.append({"eval_time": "2m", "alertname": rule["alert"], "exp_alerts": alerts})
    test = {"interval": "5s", "input_series": series, "alert_rule_test": expected}
    # annotations are texts for people: left out of the comparison
    groups = yaml.safe_load(RULES.read_text())
    for group in groups["groups"]:
        for rule in group["rules"]:
            del rule["annotations"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(groups))
    content = {"rule_files": ["rules.yaml"], "evaluation_interval": "5s", "tests": [test]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(content))
    promtool("test", "rules", tmp_path / "test.yaml")
