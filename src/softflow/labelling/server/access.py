"""Who may talk to the page's server, and how: everything is decided before any route runs.

Without a token only this machine's own names are answered, so a name that a stranger lets point at
127.0.0.1 reaches nothing. With a token every request to /api carries it, in a cookie that other
sites cannot send or as `Authorization: Bearer …`. What a page of another origin asks for is refused
either way. Traffic is not encrypted here: beyond one machine, put TLS in front (docs/labelling.md).
"""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import dataclass
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 256 * 1024
BODY_S = 20.0
"""How long a body may take to come: who drips holds a connection from somebody else."""
API = "/api/"
LOGIN = "/api/login"
_OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")
_WRITING = ("POST", "PUT", "PATCH", "DELETE")
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


@dataclass(frozen=True)
class Access:
    """What is asked of a request.

    Args:
        port: the server's.
        token: everybody must know it; "" lets every process of this machine in.
    """

    port: int
    token: str = ""

    @property
    def cookie(self) -> str:
        """Name of the cookie; browsers send cookies to all ports of a host."""
        return f"softflow_label_{self.port}"

    def knows(self, said: str) -> bool:
        """Whether somebody said the token."""
        return hmac.compare_digest(said.encode(errors="replace"), self.token.encode())

    def refusal(self, method: str, path: str, headers: Headers) -> tuple[HTTPStatus, str] | None:
        """Why a request is not answered; None if it is."""
        host = headers.get("host", "")
        if not self.token and host not in self._own_hosts():
            why = f"this page answers to http://localhost:{self.port} only"
            return HTTPStatus.MISDIRECTED_REQUEST, why
        if not _same_origin(headers, host):
            return HTTPStatus.FORBIDDEN, "asked for by a page of another origin"
        if method in _WRITING and headers.get("content-type", "") != "application/json":
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "give application/json"
        if self.token and path.startswith(API) and path != LOGIN and not self._admitted(headers):
            return HTTPStatus.UNAUTHORIZED, "a token is needed"
        return None

    def _own_hosts(self) -> set[str]:
        names = {f"{name}:{self.port}" for name in _OWN_NAMES}
        return names | set(_OWN_NAMES) if self.port == 80 else names

    def _admitted(self, headers: Headers) -> bool:
        scheme, _, said = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.knows(said):
            return True
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return False
        return morsel is not None and self.knows(morsel.value)


def _same_origin(headers: Headers, host: str) -> bool:
    """Whether a browser says that this page asks; other programs say nothing of it."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc == host
    except ValueError:  # half an address
        return False


class Guard:
    """Refuses requests by `Access`, bodies that are too long, and adds headers to every answer.

    Args:
        app: what answers the others.
        access: what is asked of them.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; websockets are closed."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._access.refusal(scope["method"], scope["path"], headers)
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        try:
            async with asyncio.timeout(BODY_S):
                body = await _body(receive)
        except TimeoutError:
            await _refuse(send, HTTPStatus.REQUEST_TIMEOUT, "the request took too long to come")
            return
        if body is None:
            why = f"at most {MAX_BODY_BYTES:,} bytes are read"
            await _refuse(send, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, why)
            return
        await self._app(scope, _replayed(body, receive), _with_headers(send))


async def _body(receive: Receive) -> bytes | None:
    """All of a request's body; None if it is too long or its sender went away."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            return None
    return body


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body once more, and then whatever comes: the end of the connection."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return pending.pop() if pending else await receive()

    return again


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return sending


async def _refuse(send: Send, status: HTTPStatus, why: str) -> None:
    content = msgspec.json.encode({"error": why})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    start: Message = {"type": "http.response.start", "status": status.value, "headers": headers}
    sending = _with_headers(send)
    await sending(start)
    await sending({"type": "http.response.body", "body": content})
