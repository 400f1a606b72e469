"""Shell completion of all commands: ``gala --print-completion bash``.

Nothing but the parsers of the commands is asked, so that what is completed is what is accepted.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from gala.errors import UserError, did_you_mean
from gala.files import commands

SHELLS = ("bash", "zsh", "tcsh", "fish")


def script(shell: str, parsers: Mapping[str, argparse.ArgumentParser]) -> str:
    """The script that makes ``shell`` complete ``gala``; its words are those of ``parsers``.

    Args:
        shell: one of :data:`SHELLS`.
        parsers: of each command, by name.

    Raises:
        UserError: the shell is another one, or shtab is not installed.
    """
    if shell not in SHELLS:
        hint = did_you_mean(shell, SHELLS)
        raise UserError(f"no shell is named {shell!r}", field="--print-completion", hint=hint)
    try:
        import shtab
    except ImportError:
        hint = commands.install("completion")
        raise UserError("completion needs shtab", hint=hint) from None
    root = argparse.ArgumentParser(prog="gala")
    root.add_argument("--version", action="store_true")
    found = root.add_subparsers()
    for name, parser in parsers.items():
        made = found.add_parser(
            name, parents=[parser], add_help=False, conflict_handler="resolve", help=""
        )
        for action in made._actions:
            if action.nargs != 0 and action.choices is None:  # also numbers: files do no harm
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return str(shtab.complete(root, shell=shell))
