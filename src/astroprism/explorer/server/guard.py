"""Who may use the server, and the headers of every answer: checked before anything else sees a request."""

from __future__ import annotations

import hmac
import ipaddress
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.exceptions import HTTPException

from .answers import as_json

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LONGEST_TARGET = 32_768  # bytes of path and query
METHODS = ("GET", "HEAD", "POST")
# what a notebook on this machine has; a page elsewhere must not draw the explorer in a frame and guide clicks
NOTEBOOKS = "'self' http://127.0.0.1:* http://localhost:*"


@dataclass(frozen=True)
class Guard:
    """What is let in.

    port    of the server
    host    the address it listens on; on loopback its names are let in, else its own, the machine's, numbers
    token   that every request must carry; None on loopback
    inline  whether notebooks of this machine may show it in a frame
    upload  bytes that a request may bring
    """

    port: int
    host: str = "127.0.0.1"
    token: str | None = None
    inline: bool = False
    upload: int = 64 << 20

    @property
    def cookie(self) -> str:
        """Name of the cookie: one per port, since cookies are shared by the ports of a host."""
        return f"astroprism-{self.port}"

    def host_allowed(self, given: str) -> bool:
        """Whether Host names this server."""
        name, port = _name_and_port(given)
        if name is None or port != self.port:
            return False
        if name in ("127.0.0.1", "localhost", "::1"):
            return True
        if is_loopback(self.host):
            return name == self.host.lower()
        return name in _own_names(self.host) or _is_address(name)

    def origin_allowed(self, origin: str, host: str) -> bool:
        """Whether the request comes from a page of this server."""
        return origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")

    def token_given(self, headers: dict[str, str], query: str) -> str:
        """Where the token came from: '' (none, or a wrong one), header, cookie or address."""
        given = next((value for name, value in parse_qsl(query) if name == "token"), "")
        if given and self._equal(given):
            return "address"
        given = headers.get("authorization", "")
        if given.startswith("Bearer ") and self._equal(given.removeprefix("Bearer ")):
            return "header"
        try:
            jar = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            jar = SimpleCookie()
        return "cookie" if self.cookie in jar and self._equal(jar[self.cookie].value) else ""

    def _equal(self, given: str) -> bool:
        assert self.token is not None
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What every answer carries."""
        ancestors = NOTEBOOKS if self.inline else "'none'"
        policy = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
            "font-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
            f"frame-ancestors {ancestors}"
        )
        headers = {
            "content-security-policy": policy,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cross-origin-resource-policy": "same-origin",
            "cross-origin-opener-policy": "same-origin",
            "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        }
        if not self.inline:
            headers["x-frame-options"] = "DENY"
        return [(name.encode(), value.encode()) for name, value in headers.items()]


class Guarded:
    """The application behind its guard (ASGI)."""

    def __init__(self, app: App, guard: Guard) -> None:
        self.app, self.guard = app, guard
        self.ready = threading.Event()  # set once the first view need not wait
        self._always = guard.headers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await self._answer(send, *refusal)
            return
        body = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal body
            message = await receive()
            body += len(message.get("body", b""))
            if body > self.guard.upload:
                raise TooLarge(self.guard.upload)
            return message

        async def marked(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": self._with(message.get("headers", ()))}
            await send(message)

        await self.app(scope, counted, marked)

    def _refusal(self, scope: Scope) -> tuple[int, str] | tuple[int, str, list[tuple[bytes, bytes]]] | None:
        guard = self.guard
        pairs = [
            (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]
        ]
        headers = dict(pairs)
        names = [name for name, _ in pairs]
        if names.count("host") != 1 or not guard.host_allowed(headers["host"]):
            return 403, "this server does not answer to that Host; use the address that it printed"
        if "origin" in headers and not guard.origin_allowed(headers["origin"], headers["host"]):
            return 403, "requests from a page of another Origin are refused"
        query = scope.get("query_string", b"").decode("latin-1")
        if guard.token is not None:
            came = guard.token_given(headers, query)
            if not came:
                return (
                    403,
                    "a token is needed; use the whole address that was printed when the server started",
                )
            if came == "address" and scope["method"] in ("GET", "HEAD"):
                return 303, "", self._redirect(scope, query)
        # navigations from elsewhere carry no Origin, scripts' requests from elsewhere say so here
        site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode", "navigate")
        if site in ("cross-site", "same-site") and mode != "navigate":
            return 403, "requests from a page of another Origin are refused"
        if scope["method"] not in METHODS:
            return 405, f"{', '.join(METHODS)} are answered here"
        if len(query) + len(scope.get("raw_path") or b"") > LONGEST_TARGET:
            return 400, f"the address is longer than {LONGEST_TARGET:,} characters"
        length = headers.get("content-length", "0")
        if not length.isdigit() or len(length) > 15 or int(length) > guard.upload:
            return 413, _too_large(guard.upload)
        return None

    def _redirect(self, scope: Scope, query: str) -> list[tuple[bytes, bytes]]:
        """To the same address without the token, which goes into a cookie."""
        rest = urlencode([(name, value) for name, value in parse_qsl(query) if name != "token"])
        path = "/" if scope["path"] == "/" else ""
        where = f"{path or '/'}{'?' + rest if rest else ''}"
        cookie = f"{self.guard.cookie}={self.guard.token}; HttpOnly; SameSite=Strict; Path=/"
        return [(b"location", where.encode("latin-1", "replace")), (b"set-cookie", cookie.encode())]

    def _with(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        own = list(headers)
        if not any(name.lower() == b"cache-control" for name, _ in own):
            own.append((b"cache-control", b"no-store"))
        return [*own, *self._always]

    async def _answer(
        self, send: Send, status: int, message: str, more: list[tuple[bytes, bytes]] | None = None
    ) -> None:
        body = b"" if status == 303 else as_json({"error": message})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        # the unread rest of a body must not be taken for the next request
        headers += [(b"connection", b"close")] if status in (403, 405, 413) else []
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": self._with([*headers, *(more or [])]),
            }
        )
        await send({"type": "http.response.body", "body": body})


class TooLarge(HTTPException):
    """More bytes than a request may bring; the rest of them must not be taken for the next request."""

    def __init__(self, most: int) -> None:
        super().__init__(413, _too_large(most), headers={"connection": "close"})


def _too_large(most: int) -> str:
    return f"more than {most / 2**20:,.0f} MB; larger files are for the command line: astroprism apply"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _own_names(host: str) -> set[str]:
    return {host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}


def _name_and_port(given: str) -> tuple[str | None, int]:
    """Name in small letters and port of a Host header, (None, 0) where it is none."""
    text = given.strip().lower()
    if text.startswith("["):
        name, bracket, rest = text[1:].partition("]")
        if not bracket:
            return None, 0
    else:
        name, colon, rest = text.partition(":")
        rest = colon + rest
    if rest and not (rest[0] == ":" and rest[1:].isascii() and rest[1:].isdigit() and len(rest) < 8):
        return None, 0
    return name, int(rest[1:]) if rest else 80
