"""Runs in the text format of Prometheus (0.0.4), for whoever serves it under ``/metrics``.

Names carry their unit, counters end in ``_total``. Every sample has the labels ``run`` and, unless
it is of the run as a whole, ``rank``. What an agent does not know is absent, never 0.

Source: Prometheus, "Exposition formats", section "Text-based format".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gala.telemetry.reader import RunReader, number

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of the response that carries :func:`exposition`."""

UP_S = 15.0
"""An agent whose newest record is younger than this is up."""

KINDS = (
    *("start", "checkpoint", "stop", "done", "error", "alarm", "bound"),
    *("join", "suspect", "dead", "alive", "leave", "refused"),
)
"""Kinds of events that are counted from 0, so that the first one is seen as an increase."""

NEIGHBOUR_STATES = ("joining", "active", "suspect", "down", "left")


@dataclass(frozen=True)
class Metric:
    """One metric family.

    Attributes:
        name: with unit.
        kind: ``counter`` or ``gauge``.
        meaning: the HELP text.
        source: name in the records; ``<label>`` stands for a part that becomes a label. Empty: it
            is not one number of a record.
        scale: times the recorded number.
    """

    name: str
    kind: str
    meaning: str
    source: str = ""
    scale: float = 1.0

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches the names in records that this metric is made of."""
        text = re.sub(r"<(\w+)>", r"(?P<\1>.+)", self.source)
        return re.compile(text, re.DOTALL)


UP = Metric("gala_up", "gauge", f"1: the newest record is younger than {UP_S:g} s, or it is done.")
FINISHED = Metric("gala_finished", "gauge", "1: the agent reported that it is done or stops.")
AGE = Metric("gala_heartbeat_age_seconds", "gauge", "Age of the newest record.")
EVENTS = Metric("gala_events_total", "counter", "Events, by kind.")
ALARMS = Metric("gala_alarms_total", "counter", "Alarms: the agents left the epsilon-ball.")
STATE = Metric(
    "gala_neighbour_state", "gauge", "1: the neighbour is in this state, as this agent sees it."
)
AGENTS = Metric("gala_agents", "gauge", "Agents that the run was started with.")
TARGET = Metric("gala_target_steps", "gauge", "Environment steps of all agents to train for.")

REFUSED = Metric(
    "gala_messages_refused_total",
    "counter",
    "Messages refused, by reason; other: the record names none.",
    "gossip/refused/<reason>",
)

RECORDED = (
    Metric("gala_steps_total", "counter", "Environment steps of this agent.", "step"),
    Metric("gala_updates_total", "counter", "Updates of the parameters.", "update"),
    Metric("gala_restarts_total", "counter", "Restarts of this agent so far.", "incarnation"),
    Metric("gala_steps_per_second", "gauge", "Environment steps per second.", "charts/SPS"),
    Metric(
        "gala_episodic_return",
        "gauge",
        "Mean raw return of the last 100 games; absent before the first.",
        "charts/episodic_return",
    ),
    Metric(
        "gala_episodic_length_steps",
        "gauge",
        "Mean length of the last 100 games.",
        "charts/episodic_length",
    ),
    Metric("gala_episodes_total", "counter", "Finished games.", "charts/episodes"),
    Metric("gala_learning_rate", "gauge", "Learning rate now.", "charts/lr"),
    Metric("gala_policy_entropy_nats", "gauge", "Entropy of the policy.", "losses/entropy"),
    Metric("gala_gradient_norm", "gauge", "L2 norm before clipping.", "losses/grad_norm"),
    Metric(
        "gala_policy_lag_updates",
        "gauge",
        "Changes of the parameters between who acted and who learned, in the mean.",
        "policy/lag",
    ),
    Metric(
        "gala_policy_lag_max_updates",
        "gauge",
        "Changes of the parameters between who acted and who learned, at most.",
        "policy/lag_max",
    ),
    Metric(
        "gala_policy_kl_nats",
        "gauge",
        "KL divergence of the policy learned from the one that acted; absent but for PPO.",
        "policy/kl",
    ),
    Metric(
        "gala_policy_clip_ratio",
        "gauge",
        "Share of steps that are clipped; absent where nothing is.",
        "policy/clip_fraction",
    ),
    Metric(
        "gala_policy_rho_ratio",
        "gauge",
        "Mean weight of the current policy against the one that acted; absent but for V-trace.",
        "policy/rho",
    ),
    Metric(
        "gala_actors",
        "gauge",
        "Actors that are there now; absent without any.",
        "actors/alive",
    ),
    Metric("gala_actors_replaced_total", "counter", "Actors that ended so far.", "actors/replaced"),
    Metric("gala_actors_dropped_total", "counter", "Unrolls that were too old.", "actors/dropped"),
    Metric(
        "gala_actors_queue_fill_ratio",
        "gauge",
        "Share of the slots that are full when the learner asks.",
        "actors/queue_fill",
    ),
    Metric(
        "gala_actors_idle_ratio", "gauge", "Share of their time that actors wait.", "actors/idle"
    ),
    Metric(
        "gala_learner_idle_ratio",
        "gauge",
        "Share of its time that the learner waits for actors.",
        "actors/learner_idle",
    ),
    Metric(
        "gala_inference_batch_environments",
        "gauge",
        "Environments of a central inference, in the mean; absent without it.",
        "actors/batch",
    ),
    Metric(
        "gala_inference_batch_max_environments",
        "gauge",
        "Environments of a central inference, at most.",
        "actors/batch_max",
    ),
    Metric(
        "gala_actors_kl_nats",
        "gauge",
        "KL divergence of what acted elsewhere from the newest policy; absent but for outposts.",
        "actors/kl",
    ),
    Metric(
        "gala_actors_synced_ratio",
        "gauge",
        "Share of unrolls after which an actor elsewhere was sent parameters.",
        "actors/synced",
    ),
    Metric(
        "gala_actors_bytes_sent_total",
        "counter",
        "Bytes sent to actors with a policy elsewhere.",
        "actors/bytes_sent",
    ),
    Metric(
        "gala_actors_bytes_received_total",
        "counter",
        "Bytes that came from them.",
        "actors/bytes_received",
    ),
    Metric(
        "gala_staleness_updates", "gauge", "Updates since the last mix, now.", "gossip/staleness"
    ),
    Metric(
        "gala_staleness_max_updates",
        "gauge",
        "Most updates without a mix since the record before.",
        "gossip/staleness_max",
    ),
    Metric("gala_mixes_total", "counter", "Mixes with messages of neighbours.", "gossip/mixes"),
    Metric("gala_messages_sent_total", "counter", "Messages sent.", "gossip/messages_sent"),
    REFUSED,
    Metric("gala_bytes_sent_total", "counter", "Bytes of messages sent.", "gossip/bytes_sent"),
    Metric(
        "gala_bytes_received_total", "counter", "Bytes of messages used.", "gossip/bytes_received"
    ),
    Metric(
        "gala_wait_seconds",
        "gauge",
        "Waiting for neighbours, per update; part of the phase gossip.",
        "gossip/wait_ms",
        1e-3,
    ),
    Metric(
        "gala_message_age_seconds",
        "gauge",
        "Age of the newest message of a neighbour; absent before the first.",
        "gossip/in/<neighbour>/age_s",
    ),
    Metric(
        "gala_divergence_to_mean",
        "gauge",
        "L2 distance of this agent's parameters from the mean of all.",
        "divergence/to_mean",
    ),
    Metric(
        "gala_divergence_relative_ratio",
        "gauge",
        "Distance from the mean over the norm of the mean.",
        "divergence/relative",
    ),
    Metric(
        "gala_divergence_frobenius",
        "gauge",
        "Frobenius distance of all agents from their mean, as this agent measured it.",
        "divergence/total",
    ),
    Metric(
        "gala_divergence_total",
        "gauge",
        "The same under its old name, which is that of a counter; goes with the next release.",
        "divergence/total",
    ),
    Metric(
        "gala_divergence_epsilon",
        "gauge",
        "Certificate of gala_divergence_frobenius, or a model's bound; absent where neither is.",
        "divergence/epsilon",
    ),
    Metric(
        "gala_divergence_epsilon_ratio",
        "gauge",
        "gala_divergence_frobenius over its bound, above 1 outside; absent where no bound applies.",
        "divergence/epsilon_ratio",
    ),
    Metric(
        "gala_divergence_expected",
        "gauge",
        "gala_divergence_frobenius for unrelated updates (rms); absent like the bound.",
        "divergence/expected",
    ),
    Metric(
        "gala_divergence_expected_ratio",
        "gauge",
        "gala_divergence_frobenius over gala_divergence_expected: below 1 the updates agree.",
        "divergence/expected_ratio",
    ),
    Metric(
        "gala_divergence_mean_drift_ratio",
        "gauge",
        "Error of the weights with which updates count in the mean, over the right ones.",
        "divergence/mean_drift",
    ),
    Metric(
        "gala_divergence_step_cosine",
        "gauge",
        "Mean cosine between the newest updates of all pairs of agents.",
        "divergence/step_cosine",
    ),
    Metric(
        "gala_divergence_to_agent",
        "gauge",
        "L2 distance from another agent.",
        "divergence/to/<agent>",
    ),
    Metric(
        "gala_policy_divergence_nats",
        "gauge",
        "KL divergence of this agent's policy from a neighbour's.",
        "divergence/kl/<neighbour>",
    ),
    Metric(
        "gala_mix_divergence_nats",
        "gauge",
        "KL divergence of this agent's policy just before a mix from the one just after.",
        "divergence/mix_kl",
    ),
    Metric(
        "gala_cpu_cores",
        "gauge",
        "CPU seconds of the agent's process per second.",
        "system/cores",
    ),
    Metric(
        "gala_resident_memory_bytes",
        "gauge",
        "Resident memory of the agent's process.",
        "system/memory_mb",
        1e6,
    ),
    Metric(
        "gala_gpu_busy_ratio",
        "gauge",
        "Share of time in which any kernel ran on the agent's GPU; absent without one.",
        "system/gpu_busy",
    ),
    Metric(
        "gala_gpu_memory_bytes",
        "gauge",
        "Memory of the GPU that the agent's process holds; absent without one.",
        "system/gpu_memory_mb",
        1e6,
    ),
    Metric("gala_phase_seconds", "gauge", "Time per update, by phase.", "time/<phase>_ms", 1e-3),
)

NEIGHBOUR = re.compile(r"gossip/in/(.+)/state", re.DOTALL)

FAMILIES = (UP, FINISHED, AGE, AGENTS, TARGET, *RECORDED, STATE, EVENTS, ALARMS)

_DIRECT: dict[str, list[Metric]] = {}
for _metric in RECORDED:
    if "<" not in _metric.source:
        _DIRECT.setdefault(_metric.source, []).append(_metric)
_PATTERNS = [(metric, metric.pattern) for metric in RECORDED if "<" in metric.source]

Labels = dict[str, str]
Sample = tuple[Metric, Labels, float]


def exposition(runs: Mapping[str, RunReader], now: float) -> str:
    """Everything known about ``runs``.

    Args:
        runs: readers by the name of the run; polled by the caller.
        now: unix time in seconds that ages are measured at.

    Returns:
        The text format, version 0.0.4; valid whatever the records hold.
    """
    found: dict[str, dict[str, float]] = {metric.name: {} for metric in FAMILIES}
    for name, reader in runs.items():
        for metric, labels, value in _samples(reader, now):
            found[metric.name][_series(metric.name, {"run": name, **labels})] = float(value)
    lines = []
    for metric in FAMILIES:
        if samples := found[metric.name]:
            lines.append(f"# HELP {metric.name} {metric.meaning}")
            lines.append(f"# TYPE {metric.name} {metric.kind}")
            lines += [f"{series} {value!r}" for series, value in samples.items()]
    return "\n".join([*lines, ""])


def _samples(reader: RunReader, now: float) -> Iterator[Sample]:
    meta = reader.meta
    for metric, value in ((AGENTS, meta.get("agents")), (TARGET, meta.get("total_steps"))):
        if (known := number(value)) is not None:
            yield metric, {}, known
    kinds: dict[int, dict[str, int]] = {}
    for (rank, kind), count in reader.event_counts.items():
        kinds.setdefault(rank, {})[kind] = count
    for rank in sorted(set(reader.latest) | set(range(reader.agents))):
        own = {"rank": str(rank)}
        values = reader.latest.get(rank, {})
        last, recorded = reader.last_words.get(rank), number(values.get("t"))
        age = max(now - recorded, 0.0) if recorded is not None else math.inf
        yield UP, own, age < UP_S or last == "done"
        yield FINISHED, own, last in ("stop", "done")
        counts = dict.fromkeys(KINDS, 0) | kinds.get(rank, {})
        yield ALARMS, own, counts["alarm"]
        yield from ((EVENTS, {**own, "kind": kind}, count) for kind, count in counts.items())
        if recorded is not None:
            yield AGE, own, age
        yield from ((metric, {**own, **more}, x) for metric, more, x in _recorded(values))


def _recorded(values: Mapping[str, Any]) -> Iterator[Sample]:
    """What the newest values of one agent say."""
    refused = number(values.get("gossip/messages_refused"))
    if refused is not None:  # always there, so that the first refusal is seen as an increase
        yield REFUSED, {"reason": "other"}, max(refused - _of_a_reason(values), 0.0)
    for name, given in values.items():
        value = number(given)
        if value is None:
            continue
        if (direct := _DIRECT.get(name)) is not None:
            yield from ((metric, {}, value * metric.scale) for metric in direct)
        elif (edge := NEIGHBOUR.fullmatch(name)) is not None:
            if value in range(len(NEIGHBOUR_STATES)):
                for code, state in enumerate(NEIGHBOUR_STATES):
                    yield STATE, {"neighbour": edge[1], "state": state}, code == value
        else:
            for metric, pattern in _PATTERNS:
                if (match := pattern.fullmatch(name)) is not None:
                    yield metric, match.groupdict(), value * metric.scale


def _of_a_reason(values: Mapping[str, Any]) -> float:
    """Messages refused whose reason is on record."""
    counts = (number(each) for name, each in values.items() if REFUSED.pattern.fullmatch(name))
    return sum(count for count in counts if count is not None)


def _series(name: str, labels: Labels) -> str:
    text = ",".join(f'{label}="{_escaped(each)}"' for label, each in labels.items())
    return f"{name}{{{text}}}"


def _escaped(text: str) -> str:
    """``text`` between the quotes of a label; what is not Unicode is spelt out."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
