"""Preparing: nothing is lost without a line, an interrupted run goes on, a second one overwrites nothing."""

import errno
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock, Timeout

from ecgjepa.data.listings.datasets import DatasetError
from ecgjepa.data.prepare import cached_store, prepare
from ecgjepa.data.preparing import building as building_module
from ecgjepa.data.preparing import chunks, preparation
from ecgjepa.data.preparing.chunks import quantise
from ecgjepa.data.readers import read
from ecgjepa.data.store import Store
from ecgjepa.errors import PrepareError
from ecgjepa.signal import PUBLISHED_CONTRACT, Recording, SignalContract
from ecgjepa.windows import StandardizedSignal, standardize
from tests.data.archives import smooth_signal, write_code15, write_ptbxl, write_wfdb


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building_module, "CHUNK_RECORDS", 4)


def quiet(dataset: str, data_dir: Path, out: Path, **options: object) -> Store:
    return prepare(dataset, data_dir, out, **{"workers": 1, "progress": False, **options})


def test_store_holds_what_standardize_gives(tmp_path: Path) -> None:
    data = write_ptbxl(tmp_path / "data", records=6, absent=2)
    store = quiet("ptbxl", data, tmp_path / "store")
    store.verify()
    assert (len(store), store.signals_uv.shape, store.signals_uv.dtype) == (6, (6, 8, 2500), np.int16)
    assert store.info["account"] == {
        "candidates": 8, "kept": 6, "changed": {"resampled": 6}, "refused": {"file_absent": 2}, "flags": {}
    }  # fmt: skip
    assert store.info["levels"]["superdiagnostic"] == ["MI", "NORM"]
    for row, name in enumerate(store.records["record"]):
        expected = standardize(read(data / "records500/00000" / f"{name}.hea")).signal_mv
        np.testing.assert_allclose(store.signals_mv([row])[0], expected, atol=5.1e-4)
    refused = pd.read_csv(tmp_path / "store" / "refused.csv")
    assert refused["record"].tolist() == ["00007_hr", "00008_hr"]
    assert not (tmp_path / "store.building").exists()
    assert sorted(file.name for file in (tmp_path / "store").iterdir()) == [
        "records.parquet", "refused.csv", "signals.npy", "store.json"
    ]  # fmt: skip


def test_every_kind_of_bad_record_has_its_line_and_the_rest_is_kept(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_wfdb(data, "good", smooth_signal(0), comments=["Dx: 426783006", "Age: 41", "Sex: Male"])
    write_wfdb(data, "cut", smooth_signal(1)).with_suffix(".dat").write_bytes(b"1234")
    (data / "nosignals.hea").write_text("nosignals 0 500 5000\n")
    write_wfdb(data, "three_leads", smooth_signal(2, leads=3))
    broken = smooth_signal(3)
    broken[100:200] = np.nan
    write_wfdb(data, "nan", broken)
    write_wfdb(data, "zero", np.zeros((5000, 12)))
    write_wfdb(data, "three_seconds", smooth_signal(4, samples=1500))
    loud = smooth_signal(5) * 0.3
    loud[1000:1010, 0] = 40.0
    write_wfdb(data, "clipped", loud, adc_gain=[500.0] * 12)
    store = quiet("folder", data, tmp_path / "store", workers=2)
    assert store.info["account"]["refused"] == {
        "unreadable": 1, "no_signals": 1, "missing_lead": 1, "not_finite": 1, "flat": 1, "short": 1
    }  # fmt: skip
    assert store.info["account"]["flags"] == {"clipped": 1}
    records = store.records.set_index("record")
    assert list(records.index) == ["clipped", "good"]
    assert records.loc["good", "labels_snomed"] == ["426783006"]
    assert (records.loc["good", "age"], records.loc["good", "sex"]) == (41.0, "male")
    assert records.loc["clipped", "labels_snomed"] is None  # no Dx line
    assert records.loc["clipped", "flags"] == ["clipped"]
    assert store.signals_uv[0].max() == 32767
    details = pd.read_csv(tmp_path / "store" / "refused.csv").set_index("record")["detail"]
    assert "missing" in details["three_leads"]
    assert "3.000 s" in details["three_seconds"]


def test_two_workers_one_worker_and_an_interrupted_run_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_ptbxl(tmp_path / "data", records=10, absent=1)
    checksums = quiet("ptbxl", data, tmp_path / "one").info["checksums"]
    assert quiet("ptbxl", data, tmp_path / "two", workers=2).info["checksums"] == checksums

    seen: list[int] = []
    unbroken = chunks.prepare_chunk

    def fails_at_the_second(number: int, **kwargs: object) -> int:
        seen.append(number)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return unbroken(number, **kwargs)

    monkeypatch.setattr(preparation, "prepare_chunk", fails_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        quiet("ptbxl", data, tmp_path / "three")
    assert not (tmp_path / "three").exists()
    assert quiet("ptbxl", data, tmp_path / "three").info["checksums"] == checksums
    assert seen == [0, 1, 1, 2]  # the first chunk was not done again


def test_full_disk_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_ptbxl(tmp_path / "data", records=10, absent=0)
    write, calls = chunks.atomic_path, []

    def full_at_the_second_chunk(path: Path, **options: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, **options)

    monkeypatch.setattr(chunks, "atomic_path", full_at_the_second_chunk)
    with pytest.raises(PrepareError, match=r"disk .* is full; .* keeps what is done"):
        quiet("ptbxl", data, tmp_path / "store")
    building = tmp_path / "store.building"
    assert sorted(file.name for file in building.iterdir()) == [
        "00000000.arrow", "00000000.bin", "listing.arrow", "plan.json", "signals.npy"
    ]  # fmt: skip
    assert len(quiet("ptbxl", data, tmp_path / "store")) == 10


def test_too_small_a_disk_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building_module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(PrepareError, match=r"needs .* MB"):
        quiet("ptbxl", write_ptbxl(tmp_path / "data", records=2), tmp_path / "store")


def test_nothing_is_overwritten_without_a_flag(tmp_path: Path) -> None:
    data = write_ptbxl(tmp_path / "data", records=3)
    quiet("ptbxl", data, tmp_path / "store")
    before = (tmp_path / "store" / "store.json").read_text()
    with pytest.raises(FileExistsError, match=r"resampling.*--overwrite"):
        quiet("ptbxl", data, tmp_path / "store", contract=PUBLISHED_CONTRACT)
    quiet("ptbxl", data, tmp_path / "store")  # nothing is new
    assert (tmp_path / "store" / "store.json").read_text() == before
    assert (
        quiet("ptbxl", data, tmp_path / "store", contract=PUBLISHED_CONTRACT, overwrite=True).contract.resampling
        == "fft"
    )
    (tmp_path / "other.building").mkdir()
    (tmp_path / "other.building" / "plan.json").write_text('{"job": {}}')
    with pytest.raises(FileExistsError, match="unfinished"):
        quiet("ptbxl", data, tmp_path / "other")
    (tmp_path / "mine.building").mkdir()
    (tmp_path / "mine.building" / "thesis.txt").write_text("keep me")
    with pytest.raises(FileExistsError, match="holds something else"):
        quiet("ptbxl", data, tmp_path / "mine", overwrite=True)
    with pytest.raises(DatasetError):
        quiet("ptbxl", tmp_path, tmp_path / "store", overwrite=True)
    assert (tmp_path / "store").exists()  # a failed overwrite leaves the old store


def test_what_is_no_store_is_never_replaced(tmp_path: Path) -> None:
    data = write_ptbxl(tmp_path / "data", records=2)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("keep me")
    for out in (tmp_path / "mine", data, tmp_path):
        with pytest.raises(FileExistsError, match=r"is no store|holds the raw data"):
            quiet("ptbxl", data, out, overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()
    assert (data / "ptbxl_database.csv").exists()


def test_a_crash_before_the_last_rename_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_ptbxl(tmp_path / "data", records=2)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(preparation.Preparation, "_put_in_place", crash)
        with pytest.raises(KeyboardInterrupt):
            quiet("ptbxl", data, tmp_path / "store")
    (tmp_path / "store.building" / ".00000000.bin.left.bin").write_text("left by a killed worker")
    monkeypatch.setattr(preparation, "prepare_chunk", crash)  # nothing is prepared again
    assert len(quiet("ptbxl", data, tmp_path / "store")) == 2
    assert len(list((tmp_path / "store").iterdir())) == 4
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("store")] == ["store"]


def test_two_processes_may_ask_for_the_same_store(tmp_path: Path) -> None:
    data = write_ptbxl(tmp_path / "data", records=8)
    code = (
        "import sys; from ecgjepa.data.prepare import cached_store\n"
        f"print(len(cached_store('ptbxl', {str(data)!r}, {str(tmp_path / 'cache')!r}, workers=1, progress=False)))"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=120)[0].strip() for process in both] == ["8", "8"]


def test_who_waits_says_so_and_leaves_the_lock_to_its_owner(tmp_path: Path) -> None:
    data = write_ptbxl(tmp_path / "data", records=3)
    command = ["-m", "ecgjepa", "prepare", "--dataset", "ptbxl", "--data-dir", data, "--out", tmp_path / "store"]
    with FileLock(tmp_path / ".store.lock"):
        with subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True) as waiting:
            assert waiting.stderr is not None
            assert "waiting for it" in waiting.stderr.readline()
            waiting.send_signal(signal.SIGINT)
        with pytest.raises(Timeout):
            FileLock(tmp_path / ".store.lock", is_singleton=False).acquire(timeout=0)
        assert not (tmp_path / "store").exists()
    assert len(quiet("ptbxl", data, tmp_path / "store")) == 3


def test_one_record_that_nobody_foresaw_is_refused_not_fatal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_ptbxl(tmp_path / "data", records=3, absent=0)
    standard = chunks.standardize

    def odd(recording: Recording, contract: SignalContract) -> StandardizedSignal:
        return standard(recording, contract) if recording.name != "00002_hr" else 1 / 0

    monkeypatch.setattr(chunks, "standardize", odd)
    store = quiet("ptbxl", data, tmp_path / "store")
    assert store.info["account"]["refused"] == {"unreadable": 1}
    assert "ZeroDivisionError" in (store.path / "refused.csv").read_text()


def test_no_record_kept_is_an_error_that_says_why(tmp_path: Path) -> None:
    write_wfdb(tmp_path / "data", "zero", np.zeros((5000, 12)))
    with pytest.raises(PrepareError, match=r"none of 1 records .*flat"):
        quiet("folder", tmp_path / "data", tmp_path / "store")
    assert "zero" in (tmp_path / "store.building" / "refused.csv").read_text()


def test_code15_store(tmp_path: Path) -> None:
    store = quiet("code15", write_code15(tmp_path / "data"), tmp_path / "store")
    assert store.records["record"].tolist() == ["1000", "1002", "1003"]
    assert store.info["account"]["refused"] == {"padded": 1, "flat": 1}


def test_cached_store_is_made_once_and_again_when_a_file_changes(tmp_path: Path) -> None:
    data = write_wfdb(tmp_path / "data", "a", smooth_signal(0)).parent
    first = cached_store("folder", data, tmp_path / "cache", workers=1, progress=False)
    assert cached_store("folder", f"{data}/", tmp_path / "cache", workers=1, progress=False).path == first.path
    write_wfdb(data, "b", smooth_signal(1))
    second = cached_store("folder", data, tmp_path / "cache", workers=1, progress=False)
    assert (len(first), len(second)) == (1, 2)


def test_quantise() -> None:
    signal_uv, clipped = quantise(np.array([[0.0004, 0.0006, -40.0, 32.767, 40.0]], np.float32))
    assert signal_uv.tolist() == [[0, 1, -32767, 32767, 32767]]
    assert clipped == 2


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("dataset", "folder", "kept", "refused"),
    [
        ("ptbxl", "ptbxl", 400, {"file_absent": 21_437}),
        ("shaoxing", "shaoxing/WFDBRecords", 11, {}),
        ("code15", "code15", 4, {"padded": 6, "flat": 1}),
        ("cpsc", "cpsc2018", 10, {}),
        ("folder", "challenge2020", 32, {}),
    ],
)
def test_real_archives(
    real_data_dir: Path,
    tmp_path: Path,
    dataset: str,
    folder: str,
    kept: int,
    refused: dict,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(building_module, "CHUNK_RECORDS", 256)
    account = quiet(dataset, real_data_dir / folder, tmp_path / "store").info["account"]
    assert (account["kept"], account["refused"]) == (kept, refused)
