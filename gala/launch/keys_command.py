"""``gala keys``: who belongs to a run, when its agents live on several hosts."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from gala.config.arguments import Parser, at_least_one
from gala.errors import EXIT_OK, UserError
from gala.launch.secret import write_new


def main(arguments: Sequence[str]) -> int:
    """Run ``gala keys``; returns its exit code."""
    parser = Parser(
        prog="gala keys",
        description="Make what agents on several hosts know one another by; see docs/security.md.",
    )
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)
    new = commands.add_parser(
        "new", help="an authority for a run, and a certificate for each agent"
    )
    new.add_argument("folder", type=Path, help="a new folder")
    new.add_argument("--agents", type=at_least_one, required=True, help="agents of the run")
    secret = commands.add_parser("secret", help="a secret that all agents share")
    secret.add_argument("file", type=Path, help="a new file")
    options = parser.parse_args(arguments)
    if options.command == "new":
        _new(options.folder, options.agents)
    else:
        _secret(options.file)
    return EXIT_OK


def _new(folder: Path, agents: int) -> None:
    from gala.launch.authority import AUTHORITY, AUTHORITY_KEY, file_of, write

    write(folder, agents)
    print(f"wrote {folder / AUTHORITY} and {agents} keys, {folder / file_of(0)} and so on.")
    print(f"Copy {AUTHORITY} and the key of each agent to its host: --keys {folder}")
    print(f"{AUTHORITY_KEY} is needed by nobody: keep it apart, or delete it.")


def _secret(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_new(file, secrets.token_urlsafe(32).encode() + b"\n", 0o600)
    except FileExistsError:
        raise UserError("is there already", file=file, hint="another name") from None
    except OSError as error:
        rule = f"cannot be written: {os.strerror(error.errno or 0)}"
        raise UserError(rule, file=file) from None
    print(f"wrote {file}. Copy it to each host, readable for you alone: --secret-file {file}")
