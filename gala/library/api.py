"""The library API: gossip around anybody's PyTorch loop, whatever the algorithm.

::

    with gala.gossip(model, optimizer, topology="ring", run_dir="runs/mine") as node:
        ...  # the loop stays as it is; parameters are averaged after every optimizer.step()
        node.log({"charts/episodic_return": 12.0, "losses/td": loss})

Under torchrun every process is an agent; alone it is a loop as before. The model keeps its own
tensors: after a step they are copied into one flat vector, published, mixed with what the
neighbours published, and copied back only after a mix.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from gala.config.loop import LoopConfig, loop_config
from gala.errors import UserError
from gala.gossip.mixing import require_mixable
from gala.launch.credentials import Security
from gala.launch.launch import Launch, from_environment
from gala.library.apart import require_apart, require_seen, synchronous_group
from gala.library.arguments import require_kinds, require_valid
from gala.library.carrying import Carried, carry
from gala.library.comparing import require_alike, tell_failure
from gala.library.gossiping import Gossiping
from gala.library.optimizers import Steps, find_optimizers
from gala.library.wiring import Loop, wire
from gala.run.request import require_steerable
from gala.topology import Topology, load_topology

_opened = itertools.count()


def gossip(
    model: nn.Module | Sequence[Any] | Mapping[str, Any],
    optimizer: Optimizer | Sequence[Optimizer],
    *,
    topology: str | Path,
    every: int = 1,
    max_staleness: int | None = None,
    transport: str = "auto",
    buffers: bool = False,
    secret_file: str | Path | None = None,
    insecure: bool = False,
    extra: Any = (),
    lagging: Sequence[tuple[nn.Module, nn.Module]] = (),
    statistics: Any = (),
    after: Optimizer | None = None,
    start: str | Mapping[str, Any] = "rank0",
    run_dir: str | Path | None = None,
    env_id: str = "own loop",
    total_steps: int | None = None,
    config: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Gossiping:
    """Average ``model`` with the neighbours' after every ``every``-th ``optimizer.step()``.

    Rank and number of agents come from torchrun's environment; without it nothing is exchanged.
    Agents compare the names and shapes of their parameters first.

    Args:
        model: a module, several (a list, or a mapping by name), or tensors; on any device; mixed in
            float32.
        optimizer: any, or several; also as Accelerate and Lightning wrap it. Its state stays local.
        topology: a topology file, the name of a family, or ``MODULE:CALLABLE``.
        every: optimizer steps (of each, where there are several) between two exchanges.
        max_staleness: exchanges without a mix before waiting; 0 lock-step; None never waits.
        transport: "auto", "shared-memory", "gloo" or "tcp"; auto chooses by neighbour.
        buffers: average floating-point buffers too; running statistics of batch norms as moments.
        secret_file: file with the secret by which agents on several hosts know one another; or
            the variable ``GALA_SECRET``.
        insecure: whether "tcp" may be used between hosts without one.
        extra: further tensors that are learned, such as ``[log_alpha]``, or a mapping by name.
        lagging: pairs (target, online) of target networks, mixed with the same weights.
        statistics: what normalises observations or rewards: Gymnasium's or Stable-Baselines3's
            wrappers, or anything with ``mean`` and ``var``; mixed as moments.
        after: of several optimizers the one after whose steps to exchange; None: when all stepped.
        start: "rank0": all begin with its parameters; "own": each with its own; or the
            ``state_dict()`` of a node: with its own, and counters and run folder go on.
        run_dir: run folder for dashboard, watch, report and TensorBoard; None: nothing is written.
        env_id: what is learned, for tables.
        total_steps: environment steps of all agents, for displays.
        config: hyper-parameters of the loop, shown beside the run; ``seed`` is the run's.
        options: of ``gala train`` by name: ``{"gossip.wire_format": "int8", "log.every_s": 5}``.

    Raises:
        TypeError: an argument is of a kind that cannot be used.
        ValueError: a value breaks its rule.
        gala.errors.UserError: agents differ, the topology or an option does not fit, the run folder
            is taken, shared memory is full, or this is within :func:`gala.alone`.
    """
    require_seen()
    require_kinds(secret_file=secret_file)
    secret = None if secret_file is None else Path(secret_file)
    launch = _launch(Security(secret_file=secret, insecure=insecure))
    name = f"gossip/{next(_opened)}"
    try:
        require_kinds(
            topology=topology, run_dir=run_dir, env_id=env_id, options=options, config=config
        )
        require_valid(every=every, transport=transport, start=start, total_steps=total_steps)
        optimizers = find_optimizers(optimizer)
        followed = _followed(after, optimizers)
        carried = carry(model, buffers=buffers, extra=extra, lagging=lagging, statistics=statistics)
        for each in optimizers:
            require_apart("optimizer", each)
        graph = load_topology(topology, launch.agents)
        settings = loop_config(
            options or {},
            config or {},
            env_id=env_id,
            topology=str(topology),
            agents=launch.agents,
            gossip__max_staleness=max_staleness,
            gossip__transport=transport,
        )
        _require_possible(settings, graph, carried)
    except (TypeError, ValueError, UserError) as error:
        tell_failure(launch, name, error)
        raise
    facts = {"layout": carried.layout, "every": every, "topology": graph.hash}
    facts |= {"run_dir": run_dir is not None, "gossip": settings.to_dict()["gossip"]}
    require_alike(launch, name, facts)
    _say(launch, optimizers, carried)
    carried.collect()
    _take_start(launch, name, carried, start)
    loop = Loop(
        launch=launch,
        name=name,
        config=settings,
        topology=graph,
        run_dir=None if run_dir is None else Path(run_dir),
        resume=isinstance(start, Mapping),
        total_steps=None if total_steps is None else int(total_steps),
    )
    node, recording = wire(loop, carried)
    if isinstance(start, Mapping):
        node.load_state_dict(start)
    elif launch.incarnation > 0 and start == "rank0":
        node.join()
    node.attach(Steps(optimizers, every, followed, node.exchange), recording)
    return node


@cache
def _launch(security: Security) -> Launch:
    """Of this process: its store is served, and its incarnation counted, once."""
    return from_environment(security=security).register()


def _followed(after: Any, optimizers: list[Optimizer]) -> Optimizer | None:
    if after is None:
        return None
    found = find_optimizers(after, "after")
    if len(found) != 1 or all(each is not found[0] for each in optimizers):
        raise ValueError("after: must be one of the optimizers")
    return found[0]


def _require_possible(config: LoopConfig, topology: Topology, carried: Carried) -> None:
    """Refuse what this loop cannot do.

    Raises:
        UserError: naming the option to change.
    """
    require_mixable(topology)
    require_steerable(config, topology)
    if config.gossip.trigger == "kl":
        rule = "compares policies, which a loop does not show"
        raise UserError(rule, field="options['gossip.trigger']", hint="drift")
    if len(carried.statistics) and config.gossip.wire_format != "float32":
        rule = "rounds target networks, buffers and statistics"
        raise UserError(rule, field="options['gossip.wire_format']", hint="float32")


def _take_start(launch: Launch, name: str, carried: Carried, start: Any) -> None:
    """Begin with the parameters of rank 0, where that was asked for: bounds hold from there on.

    Who comes back later begins with a neighbour's instead.
    """
    if launch.incarnation > 0 or launch.agents == 1:
        return
    wanted = launch.gather(f"{name}/wanted", start == "rank0")
    if any(wanted.values()) and (launch.leads or start == "rank0"):
        # once per model, so the store will do; the agents' own edges may not have formed yet
        data = launch.share_bytes(f"{name}/start", carried.data.numpy().tobytes())
        carried.data.copy_(torch.frombuffer(bytearray(data), dtype=torch.float32))
        carried.distribute()


def _say(launch: Launch, optimizers: list[Optimizer], carried: Carried) -> None:
    """What a user may not have meant, once."""
    if launch.agents == 1:
        _say_alone()
    if launch.leads and (processes := synchronous_group()) > 1:
        text = f"a group of torch.distributed joins {processes} processes: where it averages their"
        text += " gradients, nothing is left to gossip (gala.alone() hides them from a framework)"
        print(f"gala: note: {text}", file=sys.stderr)
    apart = [
        tensor
        for each in optimizers
        for group in each.param_groups
        for tensor in group["params"]
        if not carried.holds(tensor)
    ]
    if apart and launch.leads:
        sizes = ", ".join(str(list(tensor.shape)) for tensor in apart[:4])
        more = f" and {len(apart) - 4} more" if len(apart) > 4 else ""
        text = f"of the optimizer's tensors {len(apart)} stay apart, of shape {sizes}{more}"
        print(f"gala: note: {text} (extra=[...] lets them go along)", file=sys.stderr)


@cache
def _say_alone() -> None:
    how = "torchrun --standalone --nproc-per-node=N " + Path(sys.argv[0]).name
    print(f"gala: note: one agent alone exchanges nothing; several: {how}", file=sys.stderr)
