"""Everything that a request passes before a route sees it.

Headers of every answer, then the names of the server and the pages that ask, the token, the time, the body, and how
much is done at once. Each refuses with the body of `ecgjepa.serve.schemas.Refused`.
"""

from collections.abc import Sequence

from fastapi import FastAPI

from ecgjepa.serve.gate.body import LimitBody
from ecgjepa.serve.gate.headers import SetHeaders
from ecgjepa.serve.gate.who import CheckHost, CheckToken
from ecgjepa.serve.gate.work import LimitAtOnce, LimitTime
from ecgjepa.serve.limits import Limits

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")


def add_gate(app: FastAPI, limits: Limits, *, token: str | None = None, hosts: Sequence[str] = LOOPBACK_HOSTS) -> None:
    """Put the gate before an app, outside of what was added to it before.

    Args:
        token: that every request must bear, but those for the page and for health; None asks for none.
        hosts: names and addresses that the server answers by, without ports; `*` is any. Health is told to everybody.

    Raises:
        ValueError: a token that no header can hold, or a name that none is.
    """
    CheckToken(app, token), CheckHost(app, hosts)  # refused now, not when the app starts
    app.add_middleware(LimitAtOnce, limits=limits)
    app.add_middleware(LimitBody, limits=limits)
    app.add_middleware(LimitTime, limits=limits)
    app.add_middleware(CheckToken, token=token)
    app.add_middleware(CheckHost, hosts=hosts)
    app.add_middleware(SetHeaders)
