"""The run as a whole for TensorBoard: the run ``aggregate`` beside those of the agents.

Its x axis is the steps of all agents. It also holds what is said once: hyper-parameters, topology
and opening block as text, and a layout of custom scalars that draws distances within their bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as layout_plugin
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.util.tensor_util import make_tensor_proto

from gala.telemetry.console import Record, progress_of
from gala.telemetry.tensorboard import TensorBoardSink

MAX_CHARTED = 16
"""Agents whose distances share a chart."""

ZERO, TOTAL, EPSILON = "divergence/zero", "divergence/total", "divergence/epsilon"


class AggregateSink:
    """Sums up the newest records of all agents; written by one agent of the run.

    Args:
        folder: ``tensorboard/aggregate`` of the run folder.
        hyperparameters: the resolved configuration and what else tells runs apart.
        session: names the run among others with the same hyper-parameters.
        texts: shown as they are, in a fixed width; by name.
    """

    def __init__(
        self,
        folder: Path,
        *,
        hyperparameters: Mapping[str, Any],
        session: str,
        texts: Mapping[str, Sequence[str]],
    ) -> None:
        self._sink = TensorBoardSink(folder)
        self._has_layout = False
        self._sink.add(hparams_pb(flat(hyperparameters), trial_id=session), step=0)
        for name, lines in texts.items():
            self._sink.text(name, "\n".join(f"    {line}" for line in lines))

    def record(self, latest: Mapping[int, Record]) -> None:
        """One point of each metric of the run.

        Args:
            latest: newest values by rank.
        """
        run = progress_of(latest, 1, since_steps=0, seconds=0.0)
        epsilon = _largest(latest, EPSILON)
        values: dict[str, float | None] = {
            "charts/episodic_return": run.episodic_return,
            "charts/SPS": sum(run.sps.values()),
            "gossip/staleness_max": run.staleness,
            "gossip/messages_refused": run.refused,
            TOTAL: run.divergence,
            EPSILON: epsilon,
            "divergence/epsilon_ratio": run.epsilon_ratio,
        }
        if epsilon is not None:
            values[ZERO] = 0.0
            values |= {
                to_mean(rank): latest[rank].get("divergence/to_mean") for rank in _charted(latest)
            }
            if not self._has_layout:
                self._sink.add(layout(_charted(latest)), step=run.steps)
                self._has_layout = True
        self._sink.record(values, step=run.steps)

    def close(self) -> None:
        """Write what is pending."""
        self._sink.close()


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """The leaves of nested mappings by dotted name; None is left out, lists become text."""
    leaves: dict[str, bool | int | float | str] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, bool | int | float | str):
            leaves[prefix + name] = value
        elif value is not None:
            leaves[prefix + name] = str(value)
    return leaves


def to_mean(rank: int) -> str:
    """Tag of the distance of one agent from the mean."""
    return f"divergence/to_mean/agent_{rank:02d}"


def layout(ranks: Sequence[int]) -> Summary:
    """Charts of distances between 0 and the bound, for the custom scalars of TensorBoard."""

    def chart(title: str, tags: Sequence[str]) -> layout_pb2.Chart:
        series = [
            layout_pb2.MarginChartContent.Series(value=tag, lower=ZERO, upper=EPSILON)
            for tag in tags
        ]
        return layout_pb2.Chart(title=title, margin=layout_pb2.MarginChartContent(series=series))

    charts = [
        chart("all agents from their mean, within the bound", [TOTAL]),
        chart("each agent from the mean, within the bound", [to_mean(rank) for rank in ranks]),
    ]
    content = layout_pb2.Layout(category=[layout_pb2.Category(title="epsilon-ball", chart=charts)])
    value = Summary.Value(
        tag=layout_plugin.CONFIG_SUMMARY_TAG,
        metadata=layout_plugin.create_summary_metadata(),
        tensor=make_tensor_proto(content.SerializeToString()),
    )
    return Summary(value=[value])


def _charted(latest: Mapping[int, Record]) -> list[int]:
    return sorted(latest)[:MAX_CHARTED]


def _largest(latest: Mapping[int, Record], name: str) -> float | None:
    found = (record.get(name) for record in latest.values())
    return max((value for value in found if value is not None), default=None)
