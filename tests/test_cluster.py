"""On Ray the results are those of this machine to the byte, also when a node dies; errors come out as themselves."""

import errno
import functools
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from click.testing import CliRunner

from ecgjepa.cli import main
from ecgjepa.config import ModelConfig
from ecgjepa.data.prepare import prepare
from ecgjepa.data.preparing import building, cluster
from ecgjepa.data.preparing.cluster import ray_engine
from ecgjepa.embed import pipeline
from ecgjepa.embed.pipeline import embed_files
from ecgjepa.errors import ClusterError, PrepareError, RefusedRecordError
from ecgjepa.model.encoder import Encoder
from ecgjepa.signal import SignalContract
from tests.data.archives import smooth_signal, write_ptbxl, write_wfdb

RECORDS = 16
FIXED = uuid.UUID(int=1)
WORDS = ("begun", "ended")
SECONDS = 0.5  # of a slow piece


def test_without_ray_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"pip install 'ecgjepa\[cluster\]'"):
        ray_engine()
    arguments = ["--dataset", "ptbxl", "--data-dir", str(tmp_path), "--out", str(tmp_path / "s"), "--engine", "ray"]
    result = CliRunner().invoke(main, ["prepare", *arguments])
    assert result.exit_code == 1
    assert result.output == "Error: Ray is not installed: pip install 'ecgjepa[cluster]'\n"


def test_an_address_without_its_engine_is_refused(tmp_path: Path) -> None:
    arguments = ["--dataset", "ptbxl", "--data-dir", str(tmp_path), "--out", str(tmp_path / "s")]
    result = CliRunner().invoke(main, ["prepare", *arguments, "--ray-address", "auto"])
    assert result.exit_code == 2
    assert "--ray-address goes with --engine ray only" in result.output


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no Ray at 127.0.0.1:1: .*refused"),
        ("127.0.0.1:99999", "no Ray at 127.0.0.1:99999"),
        ("ray://127.0.0.1:10001", "expected HOST:PORT"),
        ("nowhere", "expected HOST:PORT"),
    ],
)
def test_an_address_where_no_ray_is(address: str, message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        list(ray_engine(address)(abs, [1], 1))


@pytest.fixture(scope="module")
def three_nodes() -> Iterator[Any]:
    """A cluster of three nodes with a processor each, on this machine; the first has a GPU by name."""
    from ray.cluster_utils import Cluster

    sizes = {"num_cpus": 1, "object_store_memory": cluster.OBJECT_STORE_BYTES}
    # A node that is gone is noticed in about three seconds, not in twenty.
    checks = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 3}
    head = {**sizes, "num_gpus": 1, "include_dashboard": False, "_system_config": checks}
    started = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        started.add_node(**sizes, num_gpus=0)
    yield started
    started.shutdown()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ptbxl(tmp_path_factory.mktemp("raw"), RECORDS)


def in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "CHUNK_RECORDS", 2)
    monkeypatch.setattr(pipeline, "PART_ENTRIES", 8)


def content(store: Path) -> dict[str, bytes]:
    return {name: (store / name).read_bytes() for name in ("signals.npy", "records.parquet", "refused.csv")}


@pytest.mark.slow
def test_a_store_is_the_same(three_nodes: Any, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_small_pieces(monkeypatch)
    prepare("ptbxl", archive, tmp_path / "here", workers=1, progress=False)
    prepare("ptbxl", archive, tmp_path / "there", workers=1, progress=False, engine=ray_engine(three_nodes.address))
    assert content(tmp_path / "there") == content(tmp_path / "here")
    assert sorted(os.listdir(tmp_path / "there")) == sorted(os.listdir(tmp_path / "here"))
    import ray

    assert not ray.is_initialized(), "it was connected to for this call"


@pytest.fixture(scope="module")
def connected(three_nodes: Any) -> Iterator[str]:
    """A Ray that this process uses already."""
    import ray

    ray.init(three_nodes.address, logging_level="WARNING", log_to_driver=False)
    yield three_nodes.address
    assert ray.is_initialized(), "what was there is left"
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("gpus", [0, 1])
def test_embeddings_are_the_same(
    connected: str, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int
) -> None:
    in_small_pieces(monkeypatch)
    monkeypatch.chdir(archive.parent)
    encoder = Encoder(
        ModelConfig(width=16, depth=2, heads=2), SignalContract(), generator=torch.Generator().manual_seed(0)
    )
    broken = broken_files(tmp_path / "broken")
    paths = [archive.name, str(broken), str(broken.with_suffix(".csv"))]  # one of them relative
    options: dict[str, Any] = {"batch_size": 2, "windows": "all", "progress": False}
    here = embed_files(encoder, paths, tmp_path / "here.parquet", **options)
    there = embed_files(
        encoder, paths, tmp_path / "there.parquet", **options, device="cpu", engine=ray_engine(connected, gpus=gpus)
    )
    assert there.out.read_bytes() == here.out.read_bytes()
    assert there.failed_file.read_bytes() == here.failed_file.read_bytes()
    assert (there.failed, there.entries, there.rows, there.ignored) == (
        here.failed,
        here.entries,
        here.rows,
        here.ignored,
    )
    assert "nowhere" in {record for record, *_ in here.failed}, "which no one sees, and is no fault of a node"
    assert {reason for *_, reason, _ in here.failed} == {"unreadable", "file_absent", "not_an_ecg"}
    assert not (tmp_path / "there.parquet.parts").exists()


def broken_files(folder: Path) -> Path:
    """One of 25 s, one cut, one without its header; beside the folder a table that names one that is not there."""
    write_wfdb(folder, "long", smooth_signal(7, 12_500))
    cut = write_wfdb(folder, "cut", smooth_signal(8)).with_suffix(".dat")
    cut.write_bytes(cut.read_bytes()[:1000])
    write_wfdb(folder, "lost", smooth_signal(9)).unlink()
    folder.with_suffix(".csv").write_text("path\nnowhere.hea\n")
    return folder


def fails(number: int, *, error: Exception, folder: Path) -> int:
    """Piece 3 of any."""
    if number == 3:
        raise error
    return number


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RefusedRecordError("r", "flat", "nothing"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_in_a_task_comes_out_as_itself(connected: str, tmp_path: Path, error: Exception) -> None:
    work = functools.partial(fails, error=error, folder=tmp_path)
    with pytest.raises(type(error)) as caught:
        list(ray_engine(connected)(work, range(5), 1))
    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)
    assert getattr(caught.value, "errno", None) == getattr(error, "errno", None)
    assert "on node" in caught.value.__notes__[0]
    assert list(tmp_path.iterdir()) == [], "no marks are left"


def dies(number: int, *, folder: Path) -> int:
    """Ends its process at piece 1, as a crash in a library would."""
    if number == 1:
        os._exit(1)
    return number


@pytest.mark.slow
def test_a_piece_that_kills_its_process_is_not_tried_for_ever(
    connected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster.uuid, "uuid4", lambda: FIXED)  # as if it had been tried before
    (tmp_path / f".ray-{FIXED.hex}-1").write_bytes(b"." * (cluster.ATTEMPTS - 1))
    with pytest.raises(ClusterError, match="piece 1 was begun 5 times and each time its process ended"):
        list(ray_engine(connected)(functools.partial(dies, folder=tmp_path), range(3), 1))


@pytest.mark.slow
def test_a_node_that_does_not_see_the_folder_says_so(
    connected: str, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_small_pieces(monkeypatch)
    monkeypatch.setattr(Path, "touch", lambda self: None)  # as if each node saw a folder of its own at this path
    with pytest.raises(ClusterError, match=r"node .* does not see .*s\.building as the others do: .* share"):
        prepare("ptbxl", archive, tmp_path / "s", workers=1, progress=False, engine=ray_engine(connected))


@pytest.mark.slow
def test_files_that_nodes_do_not_see_are_not_refused(
    connected: str, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_small_pieces(monkeypatch)
    raw, away = tmp_path / "raw", tmp_path / "away"
    write_ptbxl(raw, 4, absent=0)

    def unmounted(work, numbers, workers):  # type: ignore[no-untyped-def]
        (raw / "records500").rename(away)
        try:
            done = list(ray_engine(connected)(work, numbers, workers))
        finally:
            away.rename(raw / "records500")
        yield from done

    with pytest.raises(PrepareError, match=r"sees neither .*_hr\.hea nor its folder"):
        prepare("ptbxl", raw, tmp_path / "s", workers=1, progress=False, engine=unmounted)
    encoder = Encoder(ModelConfig(width=16, depth=1, heads=2), SignalContract())
    with pytest.raises(ClusterError, match=r"does not see 4 of the files that are there, .*_hr\.hea the first"):
        embed_files(encoder, raw, tmp_path / "e.parquet", progress=False, engine=unmounted)


@pytest.mark.slow
def test_a_cluster_without_a_gpu_says_so(connected: str, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="the cluster has 1 GPUs, and a piece needs 2"):
        list(ray_engine(connected, gpus=2)(functools.partial(fails, error=KeyError(), folder=tmp_path), [1], 1))


def slowly(number: int, *, work: Any, building: Path, log: str, doomed: str) -> Any:
    """Work that takes a while, and waits for the doomed node to be at it; leaves which node began and ended it."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    Path(log, f"{number} {node} begun").touch()
    deadline = time.monotonic() + 15
    while not any(doomed in name for name in os.listdir(log)) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(SECONDS)
    result = work(number)
    Path(log, f"{number} {node} ended").touch()
    return result


@pytest.mark.slow
def test_a_node_that_dies_changes_nothing(
    three_nodes: Any, connected: str, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_small_pieces(monkeypatch)
    log = tmp_path / "log"
    log.mkdir()
    doomed, in_flight = three_nodes.list_all_nodes()[-1], set[int]()

    def pieces_of(node: str) -> dict[str, set[int]]:
        said = [name.name.split() for name in log.iterdir()]
        return {word: {int(number) for number, by, what in said if by == node and what == word} for word in WORDS}

    def engine(work, numbers, workers):  # type: ignore[no-untyped-def]
        nonlocal in_flight
        slow = functools.partial(
            slowly, work=work, building=work.keywords["building"], log=str(log), doomed=doomed.node_id
        )
        for done in ray_engine(connected)(slow, numbers, workers):
            deadline = time.monotonic() + 20
            while not in_flight:
                assert time.monotonic() < deadline, "the node has a piece at some moment"
                now = pieces_of(doomed.node_id)
                if in_flight := now["begun"] - now["ended"]:
                    three_nodes.remove_node(doomed, allow_graceful=False)
            yield done

    prepare("ptbxl", archive, tmp_path / "here", workers=1, progress=False)
    prepare("ptbxl", archive, tmp_path / "there", workers=1, progress=False, engine=engine)
    assert content(tmp_path / "there") == content(tmp_path / "here")
    begun_elsewhere = {int(name.name.split()[0]) for name in log.glob("* begun") if doomed.node_id not in name.name}
    assert in_flight
    assert in_flight <= begun_elsewhere, "what it was at is done again by another"


@pytest.mark.slow
def test_a_ray_that_is_started_here_ends_here(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_small_pieces(monkeypatch)
    code = (
        "import sys; from ecgjepa.cli import main; "
        "from ecgjepa.data.preparing import building; building.CHUNK_RECORDS = 2; main(sys.argv[1:])"
    )
    arguments = ["prepare", "--dataset", "ptbxl", "--data-dir", archive, "--out", tmp_path / "there", "--workers", "1"]
    before = ray_processes()
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments), "--engine", "ray"],
        capture_output=True,
        text=True,
        check=True,
    )
    prepare("ptbxl", archive, tmp_path / "here", workers=1, progress=False)
    assert content(tmp_path / "there") == content(tmp_path / "here")
    assert done.stdout.startswith(f"{tmp_path / 'there'}: {RECORDS} of {RECORDS + 3} records kept")
    said = [line for line in done.stderr.splitlines() if line]  # a carriage return ends a line too
    assert said
    assert all(line.startswith("prepare ptbxl: ") for line in said), done.stderr
    # The Ray of the other tests may start workers meanwhile: they are children of what was there before.
    assert not [pid for pid in ray_processes() - before if not before & ancestors(pid)]


def ancestors(pid: int) -> set[int]:
    try:
        return {parent.pid for parent in psutil.Process(pid).parents()}
    except psutil.NoSuchProcess:
        return ray_processes()  # it has ended


def ray_processes() -> set[int]:
    """Of anyone, so far as they are seen."""
    names = ("raylet", "gcs_server", "ray::")
    return {each.pid for each in psutil.process_iter(["name"]) if (each.info["name"] or "").startswith(names)}
