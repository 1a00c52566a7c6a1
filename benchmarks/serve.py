"""Requests per second and their times: uploads from several clients, and batching against one window at a time.

    python benchmarks/serve.py --ckpt runs/a/best --ecgs ptbxl/records500 --requests 1000 --clients 8 --rounds 3
    python benchmarks/serve.py --ckpt runs/a/best --soak 10000

Two servers run as processes of their own on loopback: one batches windows of several requests, the other has
`--batch-size 1`. Both are started once and take turns, round by round; medians over the rounds are printed, and the
ratio is the median of the ratio within a round. Every client sends WFDB records of 12 leads and 10 s, one after the
other on one connection, and reads the whole answer; `--signal` asks for the signal as well.

`--soak N` sends N requests to the first server, and prints the resident memory of the server and its readers after each
tenth of them, the rate, and how many answers were none.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from ecgjepa.data.synthetic import write_ptbxl_archive

MOST_ECGS = 100
PARTS = 10
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Round:
    """What came of a number of requests.

    Attributes:
        seconds: of all of them together.
        times_s: of each.
        failed: those whose answer was not 200, by status.
    """

    seconds: float
    times_s: list[float]
    failed: dict[int, int]

    @property
    def per_second(self) -> float:
        """Requests answered per second."""
        return len(self.times_s) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Within which so many per cent were answered."""
        ordered = sorted(self.times_s)
        return 1000 * ordered[min(len(ordered) - 1, int(percent / 100 * len(ordered)))]


@dataclass(frozen=True)
class Started:
    """A server that runs."""

    address: str
    process: psutil.Process

    def memory_mib(self) -> tuple[float, float]:
        """Resident memory of the server, and of its readers together."""
        readers = sum(child.memory_info().rss for child in self.process.children(recursive=True))
        return self.process.memory_info().rss / MEBIBYTE, readers / MEBIBYTE


@contextmanager
def started(options: Sequence[str]) -> Iterator[Started]:
    """A server as a process, on a free port; ended when the block ends."""
    command = [sys.executable, "-m", "ecgjepa", "serve", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = next((line.split()[2] for line in process.stdout if line.startswith("serving on ")), None)
        if address is None:
            raise SystemExit("the server ended before it began")
        yield Started(address, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(30)


def read_uploads(folder: Path) -> list[list[tuple[str, tuple[str, bytes]]]]:
    """Headers and signal files as parts of a form."""
    headers = sorted(folder.rglob("*.hea"))[:MOST_ECGS]
    parts = [[header, header.with_suffix(".dat")] for header in headers]
    return [[("files", (path.name, path.read_bytes())) for path in both] for both in parts]


async def load(
    address: str, uploads: list[list[tuple[str, tuple[str, bytes]]]], requests: int, clients: int, signal: bool
) -> Round:
    """Requests shared out over clients, each of which sends its next when it has read an answer."""
    numbers, times_s, failed = iter(range(requests)), list[float](), dict[int, int]()

    async def send() -> None:
        async with httpx.AsyncClient(base_url=address, timeout=120) as client:
            for number in numbers:
                data = {"signal": str(signal).lower()}
                began = time.perf_counter()
                answer = await client.post("/api/ecgs", files=uploads[number % len(uploads)], data=data)
                times_s.append(time.perf_counter() - began)
                if answer.status_code != 200:
                    failed[answer.status_code] = failed.get(answer.status_code, 0) + 1

    began = time.perf_counter()
    await asyncio.gather(*(send() for _ in range(clients)))
    return Round(time.perf_counter() - began, times_s, failed)


def compare(arguments: argparse.Namespace, uploads: list[list[tuple[str, tuple[str, bytes]]]]) -> None:
    """Batching against one window at a time."""
    modes = {"batches": str(arguments.batch_size), "one at a time": "1"}
    rounds: dict[str, list[Round]] = {mode: [] for mode in modes}
    with ExitStack() as stack:
        servers = {
            mode: stack.enter_context(started([*options_of(arguments), "--batch-size", size]))
            for mode, size in modes.items()
        }
        for server in servers.values():
            asyncio.run(load(server.address, uploads, 4 * arguments.clients, arguments.clients, arguments.signal))
        for _ in range(arguments.rounds):
            for mode, server in servers.items():
                one = load(server.address, uploads, arguments.requests, arguments.clients, arguments.signal)
                rounds[mode].append(asyncio.run(one))
    print(f"{arguments.clients} clients, {arguments.requests} requests a round, medians of {arguments.rounds} rounds")
    for mode, each in rounds.items():
        p50, p99 = (statistics.median(one.percentile_ms(percent) for one in each) for percent in (50, 99))
        rate = statistics.median(one.per_second for one in each)
        failed = sum(sum(one.failed.values()) for one in each)
        print(f"{mode:14} {rate:7.1f} requests/s   p50 {p50:7.1f} ms   p99 {p99:7.1f} ms   {failed} failed")
    ratios = [
        many.per_second / one.per_second for many, one in zip(rounds["batches"], rounds["one at a time"], strict=True)
    ]
    print(f"ratio of requests/s {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def soak(arguments: argparse.Namespace, uploads: list[list[tuple[str, tuple[str, bytes]]]]) -> None:
    """Many requests to one server: does it fail, does its memory grow?"""
    with started([*options_of(arguments), "--batch-size", str(arguments.batch_size)]) as server:
        failed: dict[int, int] = {}
        for part in range(1, PARTS + 1):
            requests = arguments.soak // PARTS
            one = asyncio.run(load(server.address, uploads, requests, arguments.clients, arguments.signal))
            failed |= {status: failed.get(status, 0) + count for status, count in one.failed.items()}
            own, readers = server.memory_mib()
            print(
                f"after {part * requests}: server {own:.1f} MiB, readers {readers:.1f} MiB, "
                f"{one.per_second:.1f} requests/s, failed {failed}",
                flush=True,
            )
        metrics = httpx.get(f"{server.address}/metrics").text
        print("\n".join(line for line in metrics.splitlines() if line.startswith("ecgjepa_readers")))


def options_of(arguments: argparse.Namespace) -> list[str]:
    """Of both servers."""
    options = ["--ckpt", arguments.ckpt, "--threads", str(arguments.threads), "--readers", str(arguments.readers)]
    options += ["--max-wait-ms", str(arguments.max_wait_ms), "--precision", arguments.precision]
    for name in ("model", "index"):
        options += [] if getattr(arguments, name) is None else [f"--{name}", getattr(arguments, name)]
    return options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", required=True)
    parser.add_argument("--model")
    parser.add_argument("--index")
    parser.add_argument("--ecgs", type=Path, help="a folder of WFDB files; synthetic ones if not given")
    parser.add_argument("--requests", type=int, default=1000, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--max-wait-ms", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--signal", action="store_true", help="ask for the signal as well")
    parser.add_argument("--soak", type=int, help="requests to one server, and its memory")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        if arguments.ecgs is None:
            write_ptbxl_archive(folder := Path(made) / "ptbxl", MOST_ECGS, seed=0)
        uploads = read_uploads(arguments.ecgs or folder)
        (soak if arguments.soak else compare)(arguments, uploads)


if __name__ == "__main__":
    main()
