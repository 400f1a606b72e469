"""The model card of an exported policy, made of what its run has recorded."""

from __future__ import annotations

import json
import re
from typing import Any

import gala
from gala.config.tasks import name_of, text_of
from gala.errors import UserError
from gala.evaluation.kept import kept_results
from gala.export.programs import names_of
from gala.policy.policy import Policy
from gala.policy.trained_run import Snapshot, TrainedRun, last_return
from gala.telemetry.reader import number

ABOUT = {
    "policy.safetensors": "parameters and statistics by name, Float32",
    "config.yaml": "the resolved configuration of the run; `gala train config.yaml` runs it again",
    "policy.pt": "a TorchScript program, for `torch.jit.load`",
    "policy.onnx": "an ONNX program",
}


def card(trained: TrainedRun, snapshot: Snapshot, policy: Policy, files: list[str]) -> str:
    """Markdown with the front matter of a model hub.

    Args:
        trained: the run.
        snapshot: its policy that is exported.
        policy: the same, ready to act.
        files: names of those beside the card, but for the configuration.
    """
    env_id, algorithm = name_of(trained.config.env), trained.config.algorithm
    who = "the mean of its agents" if snapshot.agent == "mean" else f"agent {snapshot.agent}"
    front = {"library_name": "gala-rl", "tags": ["reinforcement-learning", env_id, algorithm]}
    lines = ["---", *(f"{name}: {json.dumps(value)}" for name, value in front.items()), "---"]
    lines += ["", f"# {algorithm} on {env_id}", ""]
    lines += [f"A policy trained by gala: {who}.", "", *_table(_facts(trained, snapshot)), ""]
    lines += ["## Returns", "", *_returns(trained, snapshot), "", "## Files", ""]
    lines += _table([(f"`{name}`", ABOUT[name]) for name in [*files, "config.yaml"]])
    if len(files) > 1:
        lines += ["", *_program(policy)]
    lines += ["", "## Use", "", "```python", "import gala", "", 'policy = gala.load(".")']
    lines += ["action, state = policy.predict(observation, deterministic=True)", "```"]
    return "\n".join(lines) + "\n"


def _facts(trained: TrainedRun, snapshot: Snapshot) -> list[tuple[str, str]]:
    config, meta = trained.config, _meta(trained)
    agents = f"{meta.get('agents', 1)}, coupling {config.coupling}"
    if config.coupling == "gossip":
        agents += f" over {config.topology}"
    left = [f"agent {rank} {reason}" for rank, reason in trained.left_out().items()]
    steps = f"{snapshot.step:,} of its own"
    if snapshot.agent == "mean":
        steps = f"{snapshot.step:,} of {config.total_steps:,} of all agents"
    found = [
        ("environment", name_of(config.env)),
        ("tasks", "; ".join(map(text_of, config.env.tasks))),
        ("algorithm", config.algorithm),
        ("agents", agents),
        ("left out", "; ".join(left) if snapshot.agent == "mean" else ""),
        ("updates", f"{snapshot.update:,}"),
        ("environment steps", steps),
        ("seed", str(config.seed)),
        ("command", f"`{_one_line(meta['command'])}`" if "command" in meta else ""),
        ("commit", _one_line(meta.get("commit") or "")),
        ("gala", _one_line(meta.get("gala") or "")),
        ("torch", _one_line(meta.get("torch") or "")),
        ("exported by", f"gala {gala.__version__}"),
    ]
    return [(name, value) for name, value in found if value]


def _returns(trained: TrainedRun, snapshot: Snapshot) -> list[str]:
    """Evaluations of these parameters, and what agents last had in training."""
    folder = trained.folder
    rows = []
    for each, result in kept_results(folder.path):
        same = result.get("agent") == snapshot.agent and result.get("update") == snapshot.update
        mean, error = (number(result.get(n)) for n in ("mean_return", "standard_error"))
        if same and mean is not None:
            spread = "" if error is None else f" ± {error:.2f} (standard error)"
            games = f"{each.get('episodes')} episodes, {result.get('policy')}"
            rows.append((f"`gala eval`, {games}", f"{mean:.2f}{spread}"))
    for rank in trained.snapshots:
        value = last_return(folder.metrics(rank))
        if value is not None:
            rows.append((f"agent {rank} at the end of training", f"{value:.2f}"))
    return _table(rows) if rows else ["None is recorded."]


def _program(policy: Policy) -> list[str]:
    space = policy.translation.observations.space
    taken, given = names_of(policy)
    shape = ", ".join(map(str, ["B", *(space.shape or ())]))
    lines = [
        f"The program takes {_listed(taken)} and gives {_listed(given)}. `obs` is {space.dtype}"
        f"[{shape}], what the network sees: {policy.translation.observations.text}. `action` is "
        "the most likely action, as the environment takes it; `dist` holds the parameters of the "
        "distribution."
    ]
    if policy.model.memory is not None:
        state = ", ".join(map(str, ["B", *policy.model.memory.shape]))
        lines[0] += f" `state` is float32[{state}], zeros at first, then the last `next_state`; "
        lines[0] += "`begin`, bool[B], is true where an episode begins."
    return lines


def _meta(trained: TrainedRun) -> dict[str, Any]:
    try:
        return trained.folder.read_meta()
    except UserError:  # an exported policy has none
        return {}


def _table(rows: list[tuple[str, str]]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def _one_line(text: Any) -> str:
    return re.sub(r"[`|\s]+", " ", str(text)).strip()


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
