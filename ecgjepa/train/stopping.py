"""How a run is asked to stop: by a signal, after the step that is running."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# SIGUSR1 is what a scheduler sends some minutes before it ends a job.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


# One request can arrive more than once: `torchrun` and `timeout` send on what the whole group was sent already.
ECHO_SECONDS = 3.0


@contextmanager
def stop_signal() -> Iterator[list[int]]:
    """A list that is empty until SIGINT, SIGTERM or SIGUSR1 arrives; a later SIGINT or SIGTERM interrupts at once."""
    received: list[int] = []
    first = 0.0

    def receive(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if not received:
            received.append(number)
            first = time.monotonic()
        elif number != signal.SIGUSR1 and time.monotonic() - first > ECHO_SECONDS:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield received  # signals can be caught in the main thread only
        return
    before = {number: signal.signal(number, receive) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
