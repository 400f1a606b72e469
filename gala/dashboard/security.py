"""Who may look, and what the page may do: checks around every answer of the server."""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gala.errors import UserError

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy: nothing from elsewhere, nothing inline, in nobody's frame."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}

COOKIE = "gala-token"

CONTROL = "/api/control/"
"""Below it lies what changes a run."""

ASKS = "x-gala-asks"
"""Header of what asks for a change: pages of other sites, which a browser would send the cookie
along with, cannot set it."""


def is_loopback(host: str) -> bool:
    """Whether ``host`` can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_host(host: str, token: str | None) -> None:
    """A server that others can reach needs a token.

    Raises:
        UserError: it has none, or one that is easily guessed.
    """
    if token is not None and len(token) < 8:
        raise UserError("must have at least 8 characters", field="--token")
    if not is_loopback(host) and token is None:
        raise UserError(
            f"{host} can be reached by others: a token is needed",
            field="--host",
            hint="--token SECRET, then open the page with ?token=SECRET",
        )


def check_control(allowed: bool, token: str | None) -> None:
    """Who may ask agents to stop must know a token, on this machine, too.

    Raises:
        UserError: there is none.
    """
    if allowed and token is None:
        raise UserError(
            "needs a token: every program and every page on this machine can reach the dashboard",
            field="--allow-control",
            hint="--token SECRET, then open the page with ?token=SECRET",
        )


class Guard:
    """ASGI middleware: reads only, from a known host, with the token where there is one.

    Args:
        app: what is guarded.
        host: address that the server is bound to.
        token: that visitors must show, in the address (``?token=``), which a cookie then
            remembers, or as ``Authorization: Bearer``; None for nobody.
        control: let those who show it ask for what :data:`CONTROL` offers.
    """

    def __init__(
        self, app: ASGIApp, *, host: str, token: str | None, control: bool = False
    ) -> None:
        self._app, self._host, self._token = app, host, token
        self._control = control and token is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        asks = scope["method"] == "POST" and scope["path"].startswith(CONTROL)
        if scope["method"] not in ("GET", "HEAD") and not (asks and self._control):
            return PlainTextResponse("the dashboard only reads", status_code=405)
        if asks and ASKS not in Headers(scope=scope):
            return PlainTextResponse(f"say so with the header {ASKS}", status_code=403)
        name = _without_port(Headers(scope=scope).get("host", ""))
        # A page of another site may make a browser send requests here under its own name.
        if not (is_loopback(name) or (not is_loopback(self._host) and self._token)):
            return PlainTextResponse("unknown host", status_code=400)
        return None if self._token is None else self._ask_token(HTTPConnection(scope), self._token)

    @staticmethod
    def _ask_token(visit: HTTPConnection, token: str) -> Response | None:
        def fits(given: str | None) -> bool:
            return given is not None and hmac.compare_digest(given.encode(), token.encode())

        if fits(visit.cookies.get(COOKIE)):
            return None
        if fits(visit.headers.get("authorization", "").removeprefix("Bearer ")):
            return None
        if fits(visit.query_params.get("token")):
            rest = [(k, v) for k, v in parse_qsl(visit.url.query) if k != "token"]
            # out of the address bar, the history and the logs
            answer = RedirectResponse(visit.url.path + (f"?{urlencode(rest)}" if rest else ""))
            answer.set_cookie(COOKIE, token, httponly=True, samesite="lax")
            return answer
        return PlainTextResponse("open this page with ?token=SECRET", status_code=401)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
