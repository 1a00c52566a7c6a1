"""Work on numbered pieces on Ray Data: the processors of this machine, or the nodes of a cluster.

A piece goes to a node as its number alone; what it needs and leaves lies in files. So every node must see the folders
that the work names at the same path, and `ecgjepa` must be installed there in the same version. A piece whose node dies
runs again on another, perhaps beside itself: its files appear whole or not at all, and are the same every time.
"""

import functools
import inspect
import logging
import os
import pickle
import signal
import socket
import threading
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ecgjepa
from ecgjepa.data.preparing.engines import Engine, Work
from ecgjepa.errors import ClusterError

# A piece that ended its process so often (out of memory, a crash in a library) ends the work.
ATTEMPTS = 5
# Pieces of a task at most, where there are many: between two tasks of a processor lie 0.1 to 0.2 s.
TASK_PIECES = 8
# Of a Ray that is started here: numbers and results are all that goes through it.
OBJECT_STORE_BYTES = 100_000_000
CONNECT_SECONDS = 10
NOT_INSTALLED = "Ray is not installed: pip install 'ecgjepa[cluster]'"


def ray_engine(address: str | None = None, *, tasks: int | None = None, gpus: float = 0) -> Engine:
    """An engine for `prepare` and `embed_files` that hands pieces to Ray Data, one processor each.

    Args:
        address: of a running cluster that this machine is a node of, `HOST:PORT` or `auto`. None starts Ray here, with
            as many processors as there are workers, and ends it afterwards. A Ray that this process uses already is
            used and left.
        tasks: pieces at once at most; as many as there are processors (or GPUs) if None.
        gpus: of each piece; the pieces then run in processes that stay, so that a model is loaded once in each.

    Raises:
        ClusterError: Ray is not installed; from the engine: it cannot be reached, a node does not see the files, ...
    """
    _import_ray()

    def engine(work: Work, numbers: Iterable[int], workers: int) -> Iterator[tuple[int, Any]]:
        todo = list(numbers)
        if not todo:
            return
        with _connected(address, tasks or max(1, workers)), _shared(work) as (folders, token):
            places = min(_count_places(gpus), tasks or len(todo))
            on_node = _on_node(work, todo, folders, token)
            for position, packed in _stream(on_node, len(todo), places, tasks is not None, gpus):
                for folder in folders:
                    os.scandir(folder).close()  # NFS: a folder that is opened is asked anew for what others wrote
                yield todo[position], _unpack(packed)

    return engine


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ClusterError(NOT_INSTALLED) from error
    return ray


@contextmanager
def _connected(address: str | None, processors: int) -> Iterator[None]:
    """Ray is there inside, and as it was outside."""
    ray = _import_ray()
    if ray.is_initialized():
        yield
        return
    if address is not None:
        _check_address(address)
    options: dict[str, Any] = {"logging_level": logging.WARNING, "log_to_driver": False}
    if address is None:
        # Not a cluster that happens to run here, nor one that the environment names: those are asked for.
        options |= {"num_cpus": processors, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    # It tells at every start that the cluster of this one call wants a password; that is as it should be.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
    is_main = threading.current_thread() is threading.main_thread()
    on_term = signal.getsignal(signal.SIGTERM)
    try:
        try:
            ray.init(address or "local", **options)
        except (OSError, RuntimeError, ValueError, TimeoutError) as error:
            where = "on this machine" if address is None else f"at {address}"
            raise ClusterError(f"no Ray {where}: {_first_line(error)}") from error
        yield
    finally:
        ray.shutdown()
        if is_main and on_term is not None:
            signal.signal(signal.SIGTERM, on_term)


def _check_address(address: str) -> None:
    """Found out at once: Ray itself tries for three minutes."""
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    if "//" in host or not host or not port.isdecimal():
        raise ClusterError(f"Ray's address {address!r}: expected HOST:PORT, as `ray start --head` says it, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"no Ray at {address}: {error}") from error


@contextmanager
def _shared(work: Work) -> Iterator[tuple[list[Path], str]]:
    """The folders that the work names, each with a mark by which a node knows that it sees the same one."""
    keywords = work.keywords if isinstance(work, functools.partial) else {}
    folders = [value for value in keywords.values() if isinstance(value, Path) and value.is_dir()]
    token = f".ray-{uuid.uuid4().hex}"
    try:
        for folder in folders:
            (folder / token).touch()
        yield folders, token
    finally:
        for folder in folders:
            for mark in folder.glob(f"{token}*"):
                mark.unlink(missing_ok=True)


def _count_places(gpus: float) -> int:
    """How many pieces the cluster can run at once."""
    found = _import_ray().cluster_resources()
    kind, each = ("GPU", gpus) if gpus else ("CPU", 1)
    if (places := int(found.get(kind, 0) / each)) < 1:
        raise ClusterError(f"the cluster has {found.get(kind, 0):g} {kind}s, and a piece needs {each:g}")
    return places


def _on_node(work: Work, numbers: list[int], folders: list[Path], token: str) -> Callable[[dict[str, Any]], Any]:
    """What runs on a node; itself not a name of `ecgjepa`, so that a node without it can say so."""
    from ray import cloudpickle

    told = cloudpickle.dumps((work, folders, token)), numbers, ecgjepa.__version__

    def on_node(row: dict[str, Any]) -> dict[str, Any]:
        import pickle
        import socket

        packed_work, numbers, expected = told
        position = int(row["id"])
        try:
            import ecgjepa

            found = ecgjepa.__version__
        except ImportError as error:
            found = f"none ({error})"
        if found != expected:
            problem = f"node {socket.gethostname()}: ecgjepa {expected} must be installed there, found {found}"
            return {"position": position, "outcome": pickle.dumps((None, None, problem))}
        from ecgjepa.data.preparing.cluster import run_piece

        return {"position": position, "outcome": run_piece(packed_work, numbers[position])}

    return inspect.unwrap(on_node)  # what a checker of annotations wraps around it cannot be sent


def run_piece(packed_work: bytes, number: int) -> bytes:
    """On a node: do one piece; its result, or what it failed with, as `_unpack` takes it."""
    try:
        work, folders, token = pickle.loads(packed_work)
        for folder in folders:
            if not (folder / token).is_file():
                raise ClusterError(
                    f"node {socket.gethostname()} does not see {folder} as the others do: a cluster needs a file "
                    "system that all nodes share, at the same path"
                )
        marks = [folder / f"{token}-{number}" for folder in folders[:1]]
        for mark in marks:
            with mark.open("ab") as file:
                file.write(b".")
                attempts = file.tell()
            if attempts > ATTEMPTS:
                raise ClusterError(
                    f"piece {number} was begun {ATTEMPTS} times and each time its process ended (out of memory, or a "
                    f"crash in a library), last on node {socket.gethostname()}; what is done is kept"
                )
        result = work(number)
        for mark in marks:
            mark.unlink(missing_ok=True)
        return pickle.dumps((result, None, ""))
    except Exception as error:  # as the caller of a local engine would see it
        said = f"on node {socket.gethostname()}:\n{traceback.format_exc()}"
        try:
            packed = pickle.dumps((None, error, said))
            pickle.loads(packed)
        except Exception:  # an error with a part that cannot be sent
            return pickle.dumps((None, None, f"{type(error).__name__}: {error}"))
        return packed


def _unpack(outcome: bytes) -> Any:
    result, error, said = pickle.loads(outcome)
    if error is not None:
        error.add_note(said)
        raise error
    if said:
        raise ClusterError(said)
    return result


def _stream(
    on_node: Callable[[dict[str, Any]], Any], count: int, places: int, is_limited: bool, gpus: float
) -> Iterator[tuple[int, bytes]]:
    """(position, outcome) as they are done; what goes to a node at once is a block of Ray Data."""
    ray = _import_ray()
    together = min(TASK_PIECES, max(1, count // (16 * places)))
    with _quiet_context():
        pieces = ray.data.range(count, override_num_blocks=-(-count // together))
        if gpus:
            staying = type("Staying", (), {"__call__": lambda self, row: on_node(row)})
            stay = ray.data.ActorPoolStrategy(min_size=1, max_size=places)
            done = pieces.map(staying, compute=stay, num_gpus=gpus)
        else:
            done = pieces.map(on_node, compute=ray.data.TaskPoolStrategy(places if is_limited else None), num_cpus=1)
        blocks = iter(done.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"))
        try:
            for block in blocks:
                yield from zip(block["position"].to_pylist(), block["outcome"].to_pylist(), strict=True)
        except ray.exceptions.RayError as error:
            raise ClusterError(f"Ray gave up: {_first_line(error)}; what is done is kept") from error
        finally:
            if inspect.isgenerator(blocks):
                blocks.close()  # which ends what is still running


@contextmanager
def _quiet_context() -> Iterator[None]:
    """Ray Data without its bars and reports."""
    from ray.data import DataContext

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its own settings
        context = DataContext.get_current()
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    before, context.enable_progress_bars = context.enable_progress_bars, False
    try:
        yield
    finally:
        context.enable_progress_bars = before


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0]
