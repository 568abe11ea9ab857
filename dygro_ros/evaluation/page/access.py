"""Who may use the page: who knows its token, under an address that is ours, from a page that is ours.

Each request is judged before anything of it is read. A foreign page that sends requests through the
operator's browser fails by its origin; a foreign name bent to point here (DNS rebinding) by its host.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# A note of 2,000 characters, each of which JSON may write as \\uXXXX twice over, and what is around it.
LARGEST_BODY_BYTES = 32_768
# Who is refused may take this long to send the rest [s].
DRAIN_S = 1.0
CHANGES = {"POST", "PUT", "PATCH", "DELETE"}
CONTENT_POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
}
log = logging.getLogger(__name__)


class Access:
    """ASGI middleware in front of the page."""

    def __init__(self, app: App, token: str, cookie: str, names: frozenset[str]) -> None:
        """Guard an application.

        Args:
            app: What is guarded.
            token: Who knows it may do everything.
            cookie: Name of the cookie that keeps it.
            names: Host names that are ours; numeric addresses always are.
        """
        self._app, self._token, self._cookie, self._names = app, token, cookie, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        else:
            log.warning("refused: %s is not spoken here", scope["type"])
            await send({"type": "websocket.close", "code": 1008})

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        enters = scope["path"] == "/" and scope["method"] == "GET" and bool(given)
        refusal = self._refusal(scope["method"], headers, given if enters else "")
        if refusal:
            status, reason = refusal
            client = (scope.get("client") or ("?",))[0]
            log.warning("refused: %s %.100r from %s: %s", scope["method"][:10], scope["path"], client, reason)
            # An answer before the last byte of a request would be lost with the connection.
            with suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(_body(receive), DRAIN_S)
            await _answer(send, status, reason)
            return
        if enters:
            # The token goes from the address, where a screenshot shows it, into a cookie.
            cookie = f"{self._cookie}={self._token}; HttpOnly; SameSite=Strict; Path=/"
            await _answer(send, 303, "", {"location": "/", "set-cookie": cookie})
            return
        body = await _body(receive)
        if body is None:
            log.warning("refused: %.100r: more than %d bytes", scope["path"], LARGEST_BODY_BYTES)
            await _answer(send, 413, f"a request may have at most {LARGEST_BODY_BYTES} bytes")
            return
        await self._app(scope, _again(body, receive), _with_headers(send))

    def _refusal(self, method: str, headers: dict[str, str], given: str) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return 421, f"this page is not at {host[:100]!r}"
        if method in CHANGES and not _same_origin(headers, host):
            return 403, "requests from other pages are refused"
        if not self._knows_token(headers, given):
            return 403, "open the address that dygro-evaluate has printed: it holds the page's token"
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or int(length[:20]) > LARGEST_BODY_BYTES:
            return 413, f"a request may have at most {LARGEST_BODY_BYTES} bytes"
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _knows_token(self, headers: dict[str, str], given: str) -> bool:
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        kept = ""
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
            kept = morsel.value if morsel else ""
        except CookieError:
            pass  # no cookie of ours
        found = (given, kept, bearer if kind.lower() == "bearer" else "")
        return any(secrets.compare_digest(one.encode(), self._token.encode()) for one in found)


def _same_origin(headers: dict[str, str], host: str) -> bool:
    """Whether a request comes from our own page, or from no page at all: browsers always say which."""
    site = headers.get("sec-fetch-site", "same-origin")
    return site == "same-origin" and headers.get("origin", f"http://{host}") == f"http://{host}"


async def _body(receive: Receive) -> bytes | None:
    """Return a request's body, None where it is too large."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LARGEST_BODY_BYTES:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    read = False

    async def receive_again() -> Message:
        nonlocal read
        if read:
            return await receive()
        read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            said = {name.lower() for name, _ in message["headers"]}
            ours = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in said]
            message = {**message, "headers": [*message["headers"], *ours]}
        await send(message)

    return send_with_headers


async def _answer(send: Send, status: int, text: str, headers: dict[str, str] | None = None) -> None:
    everything = (
        {"content-type": "text/plain; charset=utf-8", "connection": "close"} | HEADERS | (headers or {})
    )
    pairs = [(name.encode(), value.encode()) for name, value in everything.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": (text + "\n").encode() if text else b""})
