"""A worker: steps environments for an agent that acts in them, and imports no torch for that.

``python -m gala.actors.worker FD PARENT`` is the one that an agent starts on its own machine.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

from gala.envs.remote import serve
from gala.envs.wire import Gone, Kind, Link
from gala.errors import EXIT_CRASH, EXIT_OK, UserError
from gala.launch.processes import die_with_parent
from gala.launch.signals import STOPPING


def work(link: Link) -> None:
    """Wait for orders, and step environments, or act in them, until the agent is done.

    Whatever goes wrong is told to the agent, and raised.

    Args:
        link: to an agent that was shown to be one.

    Raises:
        Gone: the agent has ended without a word.
        UserError: the environments cannot be made, or the agent wants others.
    """
    try:
        frame = link.receive()
        if frame.kind == Kind.REFUSED:
            raise UserError(frame.text)
        if frame.kind == Kind.ORDERS:
            serve(link, frame.text)
        elif frame.kind == Kind.PART:
            from gala.actors.remote_actor import act_for  # torch, and all that a policy needs

            act_for(link, frame.text)
    except Gone:
        raise
    except Exception as error:
        mistake = isinstance(error, UserError)
        told = str(error) if mistake else f"{type(error).__name__}: {error}"
        with suppress(Gone):
            link.send(Kind.REFUSED, told.encode()[:2000])
        raise


def main(arguments: Sequence[str]) -> int:
    """Work for the agent that has started this process; returns the exit code."""
    fd, parent = map(int, arguments)
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        return EXIT_CRASH
    os.set_inheritable(fd, False)
    link = Link(socket.socket(fileno=fd))
    link.trust()
    try:
        work(link)
    except Gone:
        return EXIT_OK
    except UserError:
        return EXIT_CRASH
    except Exception:
        traceback.print_exc()
        return EXIT_CRASH
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
