"""Who may ask: by which name the server is called, from which page, with which token.

A page of anybody's can make a browser send requests to this machine, also under a name of its own that leads here (DNS
rebinding). So names that are not ours are refused, and so is what comes from other pages.
"""

import re
import secrets
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from ecgjepa.serve.gate.refusal import Refusal, header, refuse

ANY_HOST = "*"
# Asked by those who watch over the server, by whatever address; they say nothing but whether it is there.
HEALTH_PATHS = ("/healthz", "/readyz")
OPEN_PATHS = ("/", *HEALTH_PATHS)
OPEN_PREFIX = "/static/"
_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[^\s:/@\[\]]{1,253})(?::\d{1,5})?")


def host_of(text: str) -> str | None:
    """The name of a `Host` header, small, without the port; None for what is none."""
    match = _HOST.fullmatch(text.strip().lower())
    return None if match is None else match[1]


class CheckHost:
    """Refuses names that are not the server's, and requests that other sites' pages make, with 403.

    Args:
        hosts: names without ports; `*` is any.

    Raises:
        ValueError: a name that none is.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self.app = app
        self._hosts = set()
        for host in hosts:
            bare = f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host
            if (name := host_of(bare)) is None:
                raise ValueError(f"hosts: {host!r}, expected a name or an address, such as ecg.example.org or 10.0.0.5")
            self._hosts.add(name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http" or (refusal := self._refusal(scope)) is None:
            await self.app(scope, receive, send)
        else:
            await refuse(receive, send, refusal)

    def _refusal(self, scope: Scope) -> Refusal | None:
        if scope["path"] in HEALTH_PATHS:
            return None
        host = header(scope, b"host") or ""
        name = host_of(host)
        if ANY_HOST not in self._hosts and (name is None or name not in self._hosts):
            found = f"the server is not called {host[:80]!r}; it is told its names when it is started"
            return Refusal(403, "unknown_host", found)
        if scope["method"] in ("GET", "HEAD") and not scope["path"].startswith("/api/"):
            return None  # the page may be linked to
        origin, site = header(scope, b"origin"), header(scope, b"sec-fetch-site")
        is_own = origin is None or origin.lower().partition("://")[2] == host.strip().lower()
        if not is_own or (site is not None and site.lower() not in ("same-origin", "none")):
            return Refusal(403, "other_site", "a page of another site asks, expected one of this server's own")
        return None


class CheckToken:
    """Refuses requests that do not bear the token with 401.

    Args:
        token: None asks for none.

    Raises:
        ValueError: a token that no header can hold.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        if token is not None and not re.fullmatch(r"[!-~]+", token):
            raise ValueError("token: expected one or more letters, digits or signs of ASCII, no blanks")
        self.app, self._token = app, None if token is None else token.encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or self._token is None or self._is_open(scope) or self._bears(scope):
            await self.app(scope, receive, send)
            return
        told = ((b"www-authenticate", b"Bearer"),)
        found = "expected the header `Authorization: Bearer TOKEN` with the token that the server was started with"
        await refuse(receive, send, Refusal(401, "token", found, told))

    @staticmethod
    def _is_open(scope: Scope) -> bool:
        path = scope["path"]
        return scope["method"] in ("GET", "HEAD") and (path in OPEN_PATHS or path.startswith(OPEN_PREFIX))

    def _bears(self, scope: Scope) -> bool:
        assert self._token is not None, "asked only if there is one"
        scheme, _, given = (header(scope, b"authorization") or "").partition(" ")
        found = given.strip().encode("latin-1")
        return scheme.lower() == "bearer" and secrets.compare_digest(found, self._token)
