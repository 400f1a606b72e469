"""The ``gala`` command: ``gala COMMAND ...``, each command imported only when it is asked for."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from gala import __version__
from gala.errors import EXIT_BAD_INPUT, EXIT_OK, UserError, did_you_mean

Arguments = Sequence[str]


class _Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are a line, like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and exiting."""
        raise UserError(message, hint=f"see {self.prog} --help")


def _at_least_one(text: str) -> int:
    """The type of an option that counts something there must be."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def _number(text: str, rule: str, valid: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and valid(value)):
        raise argparse.ArgumentTypeError(f"must be {rule}, got {text!r}")
    return value


def _positive(text: str) -> float:
    """The type of an option that is a number above 0."""
    return _number(text, "a number above 0", lambda value: value > 0)


def _any_number(text: str) -> float:
    """The type of an option that is a number, whatever its sign."""
    return _number(text, "a number", lambda value: True)


def _not_negative(text: str) -> float:
    """The type of an option that is a number of at least 0."""
    return _number(text, "a number of at least 0", lambda value: value >= 0)


def _probability(text: str) -> float:
    """The type of an option that is a share, all excluded."""
    return _number(text, "a number of at least 0 and below 1", lambda value: 0 <= value < 1)


def _whole(text: str) -> int:
    """The type of an option that counts from zero."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be a whole number from 0, got {text!r}")
    return int(text)


def main(arguments: Arguments | None = None) -> int:
    """Run one command; returns its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(_usage())
            return EXIT_OK
        if arguments[0] == "--version":
            print(f"gala {__version__}")
            return EXIT_OK
        name, rest = arguments[0], arguments[1:]
        if name not in COMMANDS:
            raise UserError(f"no command is named {name!r}", hint=did_you_mean(name, COMMANDS))
        return COMMANDS[name](rest)
    except UserError as error:
        print(f"gala: error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except BrokenPipeError:  # the reader of our output (head, less) has left
        sys.stderr.close()
        return EXIT_OK


def train(arguments: Arguments) -> int:
    """Train agents: gala train experiments/pong.yaml --agents 4"""
    from gala import train as agent

    rest, agents = _take_agents(arguments)
    if "--help" in rest or "-h" in rest or agents == 1:
        return agent.main(rest)
    from gala.launch.torchrun import torchrun
    from gala.run.request import read_request

    request = read_request(rest, agents=agents)  # a mistake is one line here, a page of torchrun's
    return torchrun(rest, agents // request.agents_per_process)


def launch(arguments: Arguments) -> int:
    """Run one agent of a group: gala launch --rank R --size N --store URL experiments/pong.yaml"""
    parser = _Parser(
        prog="gala launch",
        description="Run one agent with a life of its own; all other options are gala train's.",
        allow_abbrev=False,
    )
    parser.add_argument("--rank", type=_whole, required=True, help="index of this agent, from 0")
    parser.add_argument("--size", type=_at_least_one, required=True, help="agents of the group")
    parser.add_argument(
        "--store",
        required=True,
        help="where agents meet: tcp://host:port (served by rank 0) or file:///shared/file",
    )
    options, rest = parser.parse_known_args(arguments)
    if options.rank >= options.size:
        raise UserError(f"must be below --size {options.size}, got {options.rank}", field="--rank")
    from gala.launch import supervisor
    from gala.launch.environment import STORE_VARIABLE, check_store_address
    from gala.run.request import read_request

    check_store_address(options.store)
    read_request(rest, agents=options.size)  # a mistake is said before anything is started
    os.environ |= {
        "RANK": str(options.rank),
        "WORLD_SIZE": str(options.size),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        STORE_VARIABLE: options.store,
    }
    server = None
    if options.rank == 0 and options.store.startswith("tcp:"):
        server = supervisor.StoreServer(options.store)
    try:
        return supervisor.supervise(rest)
    finally:
        if server is not None:
            server.close()


def evaluate(arguments: Arguments) -> int:
    """Play real episodes with a trained run: gala eval runs/NAME --episodes 30"""
    parser = _Parser(prog="gala eval", description=evaluate.__doc__)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--episodes", type=_at_least_one, default=30, help="full games per result")
    parser.add_argument("--agent", default="mean", help="mean, best, all, or a rank")
    parser.add_argument("--policy", default="both", choices=("greedy", "stochastic", "both"))
    parser.add_argument("--video", type=Path, help="also write an mp4 of one game")
    parser.add_argument("--seed", type=int, default=0, help="seed of the games")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    from gala.evaluation import command

    command.evaluate(**vars(options))
    return EXIT_OK


def topology(arguments: Arguments) -> int:
    """Show, convert, compare or suggest graphs: gala topology ring --agents 8"""
    from gala.topology import command

    verbs = {"convert": _convert, "compare": _compare, "suggest": _suggest}
    if arguments and arguments[0] in verbs:
        return verbs[arguments[0]](arguments[1:])
    parser = _Parser(
        prog="gala topology",
        description=topology.__doc__,
        epilog="also: gala topology convert A B, compare FILE ..., suggest --agents N --degree D",
    )
    parser.add_argument("file", help="topology file, or the name of a shipped one or of a family")
    parser.add_argument(
        "--agents", type=_at_least_one, help="size; a file of fixed size needs none"
    )
    parser.add_argument("--plot", type=Path, help="also draw it into this picture")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    command.show(options.file, options.agents, json=options.json, plot=options.plot)
    return EXIT_OK


def _convert(arguments: Arguments) -> int:
    from gala.topology import command

    parser = _Parser(prog="gala topology convert", description="Rewrite a graph in another format.")
    parser.add_argument("source", help="topology file in any format that gala reads")
    parser.add_argument("target", type=Path, help="its suffix names the format")
    parser.add_argument(
        "--agents", type=_at_least_one, help="size; a file of fixed size needs none"
    )
    options = parser.parse_args(arguments)
    command.convert(options.source, options.target, options.agents)
    return EXIT_OK


def _compare(arguments: Arguments) -> int:
    from gala.topology import command

    parser = _Parser(prog="gala topology compare", description="Numbers to choose a graph by.")
    parser.add_argument("files", nargs="+", help="topology files, or names")
    parser.add_argument(
        "--agents", type=_at_least_one, nargs="+", default=[4, 8, 16, 32, 64], help="sizes"
    )
    parser.add_argument("--plot", type=Path, help="also draw them into this picture")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    command.compare(options.files, options.agents, json=options.json, plot=options.plot)
    return EXIT_OK


def _suggest(arguments: Arguments) -> int:
    from gala.topology import command

    parser = _Parser(prog="gala topology suggest", description="The best graph for a degree.")
    parser.add_argument("--agents", type=_at_least_one, required=True, help="number of agents")
    parser.add_argument(
        "--degree", type=_at_least_one, required=True, help="messages per agent and update"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    command.suggest(options.agents, options.degree, json=options.json)
    return EXIT_OK


def simulate(arguments: Arguments) -> int:
    """Predict a cluster under virtual time: gala simulate --topology ring --agents 1000"""
    parser = _Parser(prog="gala simulate", description=simulate.__doc__)
    add = parser.add_argument
    add("--topology", default="exponential", help="topology file, or name (%(default)s)")
    add("--agents", type=_at_least_one, required=True, help="number of agents")
    add("--updates", type=_at_least_one, default=1000, help="per agent (%(default)s)")
    add("--update-ms", type=_positive, default=100.0, help="mean time of one (%(default)g)")
    add("--speed", default="constant", metavar="KIND",
        help="constant, lognormal:S, uniform:A:B, straggler:K:FACTOR: "
        "how the time of an update differs between agents (%(default)s)")  # fmt: skip
    add("--update-jitter", type=_not_negative, default=0.0, metavar="S",
        help="and from update to update: deviation of its logarithm (%(default)g)")  # fmt: skip
    add("--latency-ms", type=_not_negative, default=0.0, help="of a message (%(default)g)")
    add("--jitter-ms", type=_not_negative, default=0.0, help="up to so much more (%(default)g)")
    add("--loss", type=_probability, default=0.0, help="share of messages lost (%(default)g)")
    add("--churn", type=_probability, default=0.0,
        help="probability per update that an agent dies (%(default)g)")  # fmt: skip
    add("--restart-s", type=_not_negative, default=2.0,
        help="until a joiner takes its place (%(default)g)")  # fmt: skip
    add("--params", type=_at_least_one, default=866_439, help="of the network (%(default)s)")
    add("--bandwidth-mbit", type=_positive, help="of an agent's link, Mbit/s (endless)")
    add("--max-staleness", type=_whole, help="updates without a mix before waiting (never)")
    add("--staleness-policy", choices=("wait", "skip"), default="wait", help="(%(default)s)")
    add("--dimension", type=_at_least_one, default=8, help="of the stand-ins (%(default)s)")
    add("--correlation", type=_probability, default=0.0, help="of updates (%(default)g)")
    add("--seed", type=_whole, default=1, help="(%(default)s)")
    add("--effects", action="store_true", help="also without each trouble, one at a time")
    add("--plot", type=Path, help="also draw it into this picture")
    add("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    if given.dimension < 2:
        raise UserError("must be at least 2", field="--dimension")
    from gala.simulation import command
    from gala.simulation.scenario import Scenario

    scenario = Scenario(
        updates=given.updates,
        update_s=given.update_ms / 1e3,
        speed=given.speed,
        update_jitter=given.update_jitter,
        latency_s=given.latency_ms / 1e3,
        jitter_s=given.jitter_ms / 1e3,
        loss=given.loss,
        churn=given.churn,
        restart_s=given.restart_s,
        parameters=given.params,
        bandwidth_mbit=given.bandwidth_mbit,
        max_staleness=given.max_staleness,
        policy=given.staleness_policy,
        dimension=given.dimension,
        correlation=given.correlation,
        seed=given.seed,
    )
    command.run(
        given.topology, given.agents, scenario, effects=given.effects, plot=given.plot,
        json=given.json,
    )  # fmt: skip
    return EXIT_OK


def watch(arguments: Arguments) -> int:
    """Show a run in the terminal, live: gala watch runs/NAME"""
    parser = _Parser(prog="gala watch", description=watch.__doc__)
    add = parser.add_argument
    add("run", type=Path, help="run folder")
    add("--once", action="store_true", help="draw one frame and leave")
    add("--every", type=_positive, default=1.0, help="seconds between frames (%(default)g)")
    add("--json", action="store_true", help="print one frame as a JSON object")
    given = parser.parse_args(arguments)
    from gala.watch.command import watch as show

    return show(given.run, once=given.once, every=given.every, json=given.json)


def report(arguments: Arguments) -> int:
    """Sum up and draw finished runs: gala report runs/NAME ... -o report.html"""
    parser = _Parser(prog="gala report", description=report.__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="run", help="run folder")
    parser.add_argument(
        "-o", "--output", type=Path, help="file, or folder of pictures; without it tables are shown"
    )
    parser.add_argument("--format", help="md, pdf, png or html (as the output says)")
    parser.add_argument("--threshold", type=_any_number, help="return to reach (475 in CartPole)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    from gala.report import command

    command.report(
        given.runs, output=given.output, form=given.format, threshold=given.threshold,
        json=given.json,
    )  # fmt: skip
    return EXIT_OK


def profile(arguments: Arguments) -> int:
    """Show what each agent did when, after --profile: gala profile runs/NAME -o gantt.png"""
    parser = _Parser(prog="gala profile", description=profile.__doc__)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("-o", "--output", type=Path, help="picture of all agents (png, pdf, svg)")
    parser.add_argument("--seconds", type=_positive, help="length of what it shows (12 updates)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    from gala.report import profile as showing

    showing.profile(given.run, output=given.output, seconds=given.seconds, json=given.json)
    return EXIT_OK


def export(arguments: Arguments) -> int:
    """Write the records of runs as tables: gala export runs/NAME --format parquet"""
    parser = _Parser(prog="gala export", description=export.__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="run", help="run folder")
    parser.add_argument("--format", help="csv or parquet (as the output says, else csv)")
    parser.add_argument(
        "-o", "--output", type=Path, help="folder, or file of the metrics (./export)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    from gala.report import export as exporting

    written = exporting.export(given.runs, form=given.format, output=given.output)
    exporting.tell(written, json=given.json)
    return EXIT_OK


def dashboard(arguments: Arguments) -> int:
    """Show runs in the browser, live: gala dashboard runs"""
    parser = _Parser(prog="gala dashboard", description=dashboard.__doc__)
    add = parser.add_argument
    add("folder", type=Path, nargs="?", default=Path("runs"),
        help="run folder, or a folder of some (%(default)s)")  # fmt: skip
    add("--port", type=_whole, default=7777, help="0 takes any that is free (%(default)s)")
    add("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    add("--token", help="what visitors must know; needed where others can reach the address")
    options = parser.parse_args(arguments)
    from gala.dashboard.command import serve

    return serve(**vars(options))


def bench(arguments: Arguments) -> int:
    """How fast it is on this machine, and where the time goes: gala bench --quick"""
    parser = _Parser(prog="gala bench", description=bench.__doc__)
    parser.add_argument("--quick", action="store_true", help="two cases of a few seconds")
    parser.add_argument("--seconds", type=_positive, help="of each case (20, quick: 8)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    from gala.bench import command

    command.bench(**vars(options))
    return EXIT_OK


def _take_agents(arguments: Arguments) -> tuple[list[str], int]:
    """Split ``--agents N`` off a command line."""
    rest, agents = list(arguments), 1
    for index, token in enumerate(rest):
        flag, has_value, text = token.partition("=")
        if flag != "--agents":
            continue
        if not has_value:
            if index + 1 >= len(rest):
                raise UserError("needs a value", field="--agents")
            text = rest.pop(index + 1)
        del rest[index]
        try:
            return rest, _at_least_one(text)
        except argparse.ArgumentTypeError as error:
            raise UserError(str(error), field="--agents") from None
    return rest, agents


def _usage() -> str:
    lines = ["gala: gossip-based actor-learner reinforcement learning", "", "commands:"]
    for name, command in COMMANDS.items():
        lines.append(f"  {name:10} {(command.__doc__ or '').strip()}")
    lines += ["", "gala COMMAND --help tells the options of a command"]
    return "\n".join(lines)


COMMANDS: dict[str, Callable[[Arguments], int]] = {
    "train": train,
    "launch": launch,
    "eval": evaluate,
    "topology": topology,
    "simulate": simulate,
    "dashboard": dashboard,
    "watch": watch,
    "report": report,
    "profile": profile,
    "export": export,
    "bench": bench,
}
