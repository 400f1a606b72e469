"""The run as a whole for TensorBoard: the run ``aggregate`` beside those of the agents.

Its x axis is the steps of all agents. It also holds what is written once: hyper-parameters,
topology and opening block as text, and a layout of custom scalars: one chart with the distance of
each run (of each agent from the mean, of all together) within the bound.
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
from gala.telemetry.standing import Standing
from gala.telemetry.tensorboard import BALL, TensorBoardSink, within


class AggregateSink:
    """Sums up the newest records of all agents; written by one agent of the run.

    Args:
        folder: ``tensorboard/aggregate`` of the run folder.
        name: of the event file, see :class:`~gala.telemetry.tensorboard.TensorBoardSink`.
        hyperparameters: the resolved configuration and what else tells runs apart.
        session: names the run among others with the same hyper-parameters.
        independent: the agents never gossip, and have no mean.
        texts: shown as they are, in a fixed width; by name.
    """

    def __init__(
        self,
        folder: Path,
        name: str | None = None,
        *,
        hyperparameters: Mapping[str, Any],
        session: str,
        independent: bool = False,
        texts: Mapping[str, Sequence[str]],
    ) -> None:
        self._sink = TensorBoardSink(folder, name)
        self._has_layout, self._independent = False, independent
        self._sink.add(hparams_pb(flat(hyperparameters), trial_id=session), step=0)
        for name, lines in texts.items():
            self._sink.text(name, "\n".join(f"    {line}" for line in lines))

    def record(self, latest: Mapping[int, Record], standing: Standing | None = None) -> None:
        """One point of each metric of the run.

        Args:
            latest: newest values by rank.
            standing: of the agents; None: all of them count.
        """
        run = progress_of(
            latest, 1, since_steps=0, seconds=0.0, standing=standing,
            independent=self._independent,
        )  # fmt: skip
        bounds = (record.get("divergence/epsilon") for record in latest.values())
        epsilon = max((bound for bound in bounds if bound is not None), default=None)
        values: dict[str, float | None] = {
            "charts/episodic_return": run.episodic_return,
            "charts/SPS": sum(run.sps.values()),
            "gossip/staleness_max": run.staleness,
            "gossip/messages_refused": run.refused,
            "divergence/total": run.divergence,
            "divergence/epsilon": epsilon,
            "divergence/epsilon_ratio": run.epsilon_ratio,
            **(ball := within(run.divergence, epsilon)),
        }
        if ball and not self._has_layout:
            self._sink.add(layout(), step=run.steps)
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


def layout() -> Summary:
    """A chart of distances between 0 and the bound, for the custom scalars of TensorBoard."""
    value, lower, upper = BALL
    margin = layout_pb2.MarginChartContent(
        series=[layout_pb2.MarginChartContent.Series(value=value, lower=lower, upper=upper)]
    )
    chart = layout_pb2.Chart(title="distance from the mean, within its bound", margin=margin)
    content = layout_pb2.Layout(category=[layout_pb2.Category(title="epsilon-ball", chart=[chart])])
    summary = Summary.Value(
        tag=layout_plugin.CONFIG_SUMMARY_TAG,
        metadata=layout_plugin.create_summary_metadata(),
        tensor=make_tensor_proto(content.SerializeToString()),
    )
    return Summary(value=[summary])
