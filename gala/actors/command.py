"""``gala env-worker``: hold environments of this machine for an agent on another one."""

from __future__ import annotations

import socket
import sys
import time
import traceback
from collections.abc import Sequence

from gala.actors.remote_workers import tuned
from gala.actors.restarts import MAX_FALSE_STARTS
from gala.actors.worker import work
from gala.config.arguments import Parser, not_negative
from gala.envs.handshake import introduce
from gala.envs.wire import Gone, Link
from gala.errors import EXIT_OK, UserError
from gala.launch.token import read_address, read_token

RETRY_S = 0.2
"""Seconds between two attempts to reach the agent."""
SETTLED_S = 60.0
"""Whoever has worked for so long may crash again."""


def main(arguments: Sequence[str]) -> int:
    """Work until the agent is done; returns the exit code.

    Raises:
        UserError: nobody answers, one side refuses the other, or the environments cannot be made.
    """
    parser = Parser(
        prog="gala env-worker",
        description="Hold environments for an agent on another machine, which was started with "
        "--actors.listen. What they are it says itself.",
    )
    add = parser.add_argument
    add("--connect", required=True, metavar="HOST:PORT", help="where the agent listens")
    add("--token-file", help="file with the token that the agent has, too; else GALA_TOKEN")
    add("--wait-s", type=not_negative, default=60.0, help="how long to wait for an agent (60)")
    given = parser.parse_args(arguments)
    address = read_address(given.connect, field="--connect")
    token = read_token(given.token_file, field="--token-file")
    crashes = 0
    while True:
        link = _reach(address, token, given.wait_s)
        began = time.monotonic()
        try:
            _say(f"works for the agent at {given.connect}")
            work(link)
        except Gone:
            _say(f"the agent at {given.connect} is gone; waits {given.wait_s:g} s for another")
        except UserError:
            raise
        except Exception:  # of an environment: it may do better another time
            traceback.print_exc()
            crashes = crashes + 1 if time.monotonic() - began < SETTLED_S else 1
            if crashes >= MAX_FALSE_STARTS:
                raise
        else:
            _say(f"the agent at {given.connect} is done")
            return EXIT_OK
        finally:
            link.close()


def _reach(address: tuple[str, int], token: bytes, wait_s: float) -> Link:
    """A link to an agent that has shown to be one.

    Raises:
        UserError: nobody answers, or one side refuses the other.
    """
    deadline = time.monotonic() + wait_s
    while True:
        why = "nobody speaks there"
        try:
            link = Link(tuned(socket.create_connection(address, timeout=max(wait_s, 1.0))))
        except OSError as error:
            why = error.strerror or str(error)
        else:
            try:
                introduce(link, token)
                return link
            except Gone:  # one that is just ending, or starting
                link.close()
            except UserError:
                link.close()
                raise
        if time.monotonic() >= deadline:
            rule = f"no agent answers at {address[0]}:{address[1]}: {why}"
            raise UserError(rule, field="--connect", hint="gala train --actors.listen HOST:PORT")
        time.sleep(RETRY_S)


def _say(text: str) -> None:
    print(f"gala: {text}", file=sys.stderr, flush=True)
