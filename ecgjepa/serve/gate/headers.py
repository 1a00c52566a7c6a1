"""What every answer tells a browser: take nothing from elsewhere, be framed by nobody, keep nothing."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ecgjepa.serve.gate.who import OPEN_PREFIX

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    b"content-security-policy": CONTENT_SECURITY_POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}


def headers_of(path: str) -> dict[bytes, bytes]:
    """The headers of an answer; files of the page are kept, and asked after every time."""
    kept = path == "/" or path.startswith(OPEN_PREFIX)
    return {**HEADERS, b"cache-control": b"no-cache" if kept else b"no-store"}


class SetHeaders:
    """Sets them, whoever answers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        own = headers_of(scope["path"])

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                others = [(key, value) for key, value in message.get("headers", []) if key.lower() not in own]
                message = {**message, "headers": [*others, *own.items()]}
            await send(message)

        await self.app(scope, receive, send_with_headers)
