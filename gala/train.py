"""``python -m gala.train``: one agent of a training run, alone or as a worker of torchrun.

torchrun --standalone --nproc-per-node=4 -m gala.train experiments/pong.yaml

As a worker of torchrun this process supervises the agent, which is its child (``--no-supervisor``
is torchrun's own way: one crash ends all). What a supervisor does not need is imported late.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from gala.errors import EXIT_ALARM, EXIT_BAD_INPUT, EXIT_OK, UserError
from gala.launch.environment import ALARM_VARIABLE, keep_freed_memory, share_cores
from gala.launch.supervisor import STANDBY_VARIABLE, stand_by, supervise, supervises


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one agent, or supervise it; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if supervises(arguments, os.environ):
        return supervise(arguments)
    share_cores(os.environ)
    keep_freed_memory(os.environ)
    from gala.config.options import print_help
    from gala.launch.environment import rank_from_environment
    from gala.run.config import config_type
    from gala.run.request import read_request

    if "--help" in arguments or "-h" in arguments:
        print_help(config_type(), "gala train")
        return EXIT_OK
    rank, agents = rank_from_environment()
    try:
        request = read_request(arguments, agents)
    except UserError as error:  # all agents read the same: one of them says it
        return _complain(error) if rank == 0 else EXIT_BAD_INPUT
    from gala.agent.training import train

    if STANDBY_VARIABLE in os.environ:
        stand_by()
    try:
        code = train(request)
    except UserError as error:
        return _complain(error)
    note = os.environ.get(ALARM_VARIABLE)
    if code == EXIT_ALARM and note is not None:
        Path(note).touch()  # `gala train` ends with this code; torchrun would call it a crash
        code = EXIT_OK
    if threading.active_count() > 1:
        # A thread that hangs in gloo, because its neighbour does, would abort the interpreter's
        # own way out. Everything is saved and closed: leave without it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _complain(error: UserError) -> int:
    print(f"gala: error: {error}", file=sys.stderr)
    return EXIT_BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
