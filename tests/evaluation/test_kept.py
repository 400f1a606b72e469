"""Evaluations of a run folder, also of a damaged one."""

import json
from pathlib import Path

from gala.evaluation.kept import FILE, kept_results


def test_results_come_with_their_evaluation_and_damage_is_passed_over(tmp_path: Path) -> None:
    assert list(kept_results(tmp_path)) == []
    lines = [{"seed": 1, "results": [{"agent": 0}, 7]}, {"results": 7}, {}, [],
             {"seed": 2, "results": [{"agent": 1}]}]  # fmt: skip
    text = "\n".join(["{", *map(json.dumps, lines)]) + '\n{"results": [{"agent": 2}]}'
    (tmp_path / FILE).write_text(text)
    found = [(evaluation["seed"], result["agent"]) for evaluation, result in kept_results(tmp_path)]
    assert found == [(1, 0), (2, 1)]
