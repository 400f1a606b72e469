"""Leaving: ``os._exit`` in the middle of training is no good end, whatever code it is given.

Simulators call it when their window is closed. A supervisor believes an agent's word and no exit
code; where nobody stands above an agent, its own code is all that there is.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import NoReturn

from gala.errors import EXIT_CRASH, EXIT_OK


@contextlib.contextmanager
def leaves_by_word() -> Iterator[Callable[[int], None]]:
    """As long as this lasts, ``os._exit`` ends this process with what was said, not with 0.

    Before a word was said, 0 becomes ``EXIT_CRASH``, with a line; other codes stay. What a native
    library does by itself is seen by a supervisor alone.

    Yields:
        Says the exit code; to be called when all is done.
    """
    here, leave, said = os.getpid(), os._exit, list[int]()

    def leave_by_word(status: int) -> NoReturn:
        if os.getpid() == here:  # no child that an environment has forked
            if said:
                status = said[0]
            elif status == EXIT_OK:
                line = b"gala: error: os._exit(0) was called in the middle of training\n"
                with contextlib.suppress(OSError):
                    os.write(2, line)
                status = EXIT_CRASH
        leave(status)

    os._exit = leave_by_word
    try:
        yield said.append
    finally:
        os._exit = leave
