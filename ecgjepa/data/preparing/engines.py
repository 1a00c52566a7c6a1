"""Where work on numbered pieces is done: in this process, or in processes of this machine.

An engine takes work, numbers and a count of workers, and gives (number, result) as they are done, in any order. What
a piece needs and leaves lies in files; only numbers and small results cross process borders.
"""

import functools
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from threadpoolctl import threadpool_limits

from ecgjepa.errors import PrepareError

Work = Callable[[int], Any]
Engine = Callable[[Work, Iterable[int], int], Iterator[tuple[int, Any]]]

# Pieces per worker that are handed out before results come back.
AHEAD = 3


def local(work: Work, numbers: Iterable[int], workers: int) -> Iterator[tuple[int, Any]]:
    """Processes of this machine; with one worker, this process.

    Raises:
        PrepareError: a process was ended from outside.
    """
    if workers <= 1:
        with threadpool_limits(1):  # as in a worker
            yield from ((number, work(number)) for number in numbers)
        return
    # Spawned, not forked: the parent may hold threads (torch, h5py) that a fork would cut off.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, functools.partial(_begin, os.getpid())) as pool:
        waiting, running = iter(numbers), set[Future[tuple[int, Any]]]()
        try:
            while True:
                more = itertools.islice(waiting, AHEAD * workers - len(running))
                running |= {pool.submit(_numbered, work, number) for number in more}
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BrokenProcessPool as error:
            raise PrepareError(
                "a worker process was ended from outside (out of memory?), or could not start (a script that starts "
                "workers needs `if __name__ == '__main__':`); what is done is kept: run it again, perhaps with one"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _numbered(work: Work, number: int) -> tuple[int, Any]:
    return number, work(number)


def _begin(parent: int) -> None:
    begin_worker(parent)
    import numpy  # noqa: F401  its threads can be limited when it is there

    threadpool_limits(1)  # one worker, one core


def begin_worker(parent: int, _number: int = 0) -> None:
    """Ctrl-C is the parent's to handle; a worker whose parent was killed ends by itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
