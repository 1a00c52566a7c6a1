"""Real processes of the command line without the seconds that Python and torch take to start.

A driver imports everything and forks for each command; what it forks are processes of their own, which can be killed.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

DRIVER = """
import json, os, signal, sys
import torch
torch.set_num_threads(1)
import torch.distributed.checkpoint.state_dict, torch.distributed.fsdp
import ecgjepa.train.evaluation, ecgjepa.train.pretrain
from ecgjepa.cli import main

def die_at_change(folder, number):
    # Of everything that is done to files below the folder, the change with this number is not reached.
    changes = [0]
    def watch(event, arguments):
        if event not in ("open", "os.rename", "os.remove", "os.mkdir"):
            return
        path = arguments[0]
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path).startswith(folder):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        changes[0] += 1
        if changes[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    return changes

def child(task):
    log = os.open(task["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.environ.update(task["environment"])
    if not task["report"]:
        ecgjepa.train.evaluation.renew_report = ecgjepa.train.pretrain.renew_report = lambda path: None
    changes = die_at_change(task["folder"], task["die_at"]) if task["folder"] else [0]
    sys.argv = ["ecgjepa", *task["arguments"]]
    try:
        main()
    except SystemExit as end:
        print("changes", changes[0], flush=True)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback
        traceback.print_exc()
        return 99

print("ready", flush=True)
for line in sys.stdin:
    task = json.loads(line)
    if "wait" in task:
        print(os.waitstatus_to_exitcode(os.waitpid(task["wait"], 0)[1]), flush=True)
        continue
    process = os.fork()
    if process == 0:
        status = child(task)
        sys.stdout.flush()
        os._exit(status)
    print(process, flush=True)
"""


class Forks:
    """Starts commands; to be used as a context."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )
        self._running: set[int] = set()

    def __enter__(self) -> "Forks":
        assert self._answer(120) == "ready"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running:
            os.kill(process, signal.SIGKILL)
        self._driver.kill()
        self._driver.communicate()

    def start(
        self,
        arguments: list[str],
        log: Path,
        *,
        environment: dict[str, str] | None = None,
        report: bool = False,
        die_at: tuple[Path, int] | None = None,
    ) -> int:
        """Begin a command; its process id.

        Args:
            log: what it says, added to the end.
            environment: further variables.
            report: let it write `report.html`, which takes most of the time of a tiny run.
            die_at: a folder and a number: it kills itself before the so manieth change of a file below it.
        """
        folder, number = (str(die_at[0]), die_at[1]) if die_at else ("", 0)
        task: dict[str, Any] = {"arguments": arguments, "log": str(log), "environment": environment or {}}
        process = int(self._ask({**task, "report": report, "folder": folder, "die_at": number}))
        self._running.add(process)
        return process

    def wait(self, process: int, seconds: float = 120) -> int:
        """Its exit status, negative for a signal; one that hangs is killed, and a TimeoutError raised."""
        try:
            status = int(self._ask({"wait": process}, seconds))
        except TimeoutError:
            os.kill(process, signal.SIGKILL)
            self._answer(60)
            raise
        finally:
            self._running.discard(process)
        return status

    def run(self, arguments: list[str], log: Path, **options: Any) -> int:
        """Start and wait."""
        return self.wait(self.start(arguments, log, **options))

    def start_several(self, count: int, arguments: list[str], log: Path, **options: Any) -> list[int]:
        """Begin processes that train one model, as `torchrun` does."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
        return [
            self.start(arguments, log, environment={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, **options)
            for rank in range(count)
        ]

    def run_several(self, count: int, arguments: list[str], log: Path, **options: Any) -> list[int]:
        """Start processes that train one model, and wait for all."""
        return [self.wait(process) for process in self.start_several(count, arguments, log, **options)]

    def _ask(self, task: dict[str, Any], seconds: float = 60) -> str:
        assert self._driver.stdin is not None
        self._driver.stdin.write(json.dumps(task) + "\n")
        self._driver.stdin.flush()
        return self._answer(seconds)

    def _answer(self, seconds: float) -> str:
        assert self._driver.stdout is not None
        end = time.monotonic() + seconds
        while not select.select([self._driver.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
            if time.monotonic() >= end:
                raise TimeoutError(f"no answer in {seconds} s")
        return self._driver.stdout.readline().strip()


def flags(settings: dict[str, Any]) -> list[str]:
    """Settings by dotted key as flags of `ecgjepa pretrain`."""
    from ecgjepa.cli.flags import FLAG_NAMES

    words: list[str] = []
    for key, value in settings.items():
        name = FLAG_NAMES.get(key, key.rpartition(".")[2].replace("_", "-"))
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            for each in value if isinstance(value, list | tuple) else [value]:
                words.append(f"--{name}={each}")
    return words
