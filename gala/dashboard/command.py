"""``gala dashboard``: serves the page until it is interrupted."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from gala.config.arguments import Parser, whole
from gala.dashboard.run_index import require_runs
from gala.dashboard.security import check_control, check_host
from gala.dashboard.webhook import Webhook, check_webhook
from gala.errors import EXIT_OK, UserError, printable
from gala.files import commands

HIGHEST_PORT = 2**16 - 1


def main(arguments: Sequence[str]) -> int:
    """Run ``gala dashboard``; returns its exit code."""
    parser = Parser(prog="gala dashboard", description="Show runs in the browser, live.")
    add = parser.add_argument
    add("folder", type=Path, nargs="?", default=Path("runs"),
        help="run folder, or a folder of some (%(default)s)")  # fmt: skip
    add("--port", type=whole, default=7777, help="0 takes any that is free (%(default)s)")
    add("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    add("--token", help="what visitors must know; needed where others can reach the address")
    add("--allow-control", action="store_true",
        help="let who knows the token ask runs to stop and to save")  # fmt: skip
    add("--webhook", metavar="URL",
        help="post alarms, deaths, errors and refusals there, as JSON")  # fmt: skip
    return serve(**vars(parser.parse_args(arguments)))


def serve(
    folder: Path,
    *,
    host: str,
    port: int,
    token: str | None,
    allow_control: bool = False,
    webhook: str | None = None,
) -> int:
    """Serve the runs of ``folder``; returns the exit code.

    Raises:
        UserError: no run there, an open address without a token, a port that is taken, a webhook
            that is no address, or the packages of the page are not installed.
    """
    check_webhook(webhook)
    check_host(host, token)
    check_control(allow_control, token)
    if port > HIGHEST_PORT:
        raise UserError(f"must be at most {HIGHEST_PORT}, got {port}", field="--port")
    runs = require_runs(folder)
    try:
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise UserError(
            f"the dashboard needs {error.name}", hint=commands.install("dashboard")
        ) from None
    from gala.dashboard.server import create_app

    with closing(_bind(host, port)) as listener:
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listener.getsockname()[1]}/"
        names = ", ".join(list(runs)[:3]) + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")
        print(
            f"gala dashboard: {printable(names)}\n  {address}{'?token=...' if token else ''}",
            flush=True,
        )
        if webhook is not None:
            Webhook(webhook, folder).start()
        config = uvicorn.Config(
            create_app(folder, host=host, token=token, control=allow_control),
            log_level="critical",  # an open page at the end is no error
            access_log=False,
            timeout_graceful_shutdown=1,
            lifespan="off",
        )
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            pass
    return EXIT_OK


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # who reads the address may come before the server does
    except OSError as error:
        raise UserError(
            f"cannot listen at {host}:{port}: {error.strerror or error}",
            field="--port",
            hint="--port 0 takes any that is free",
        ) from None
    return listener
