"""The store: what is opened, read in any order by threads and processes, and how each kind of damage is named."""

import json
import multiprocessing
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecgjepa.data import signal_file
from ecgjepa.data.store import COLUMNS, DESCRIPTION, RECORDS, SIGNALS, Store, StoreError, digest_of, signal_hash
from ecgjepa.signal import SignalContract
from tests.data.stores import write_store

CONTRACT = SignalContract(leads=("I", "II"), sampling_rate_hz=100, seconds=1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    signals_uv = np.random.default_rng(0).integers(-32767, 32768, (600, 2, 100)).astype(np.int16)
    return write_store(tmp_path / "ecgs", 600, contract=CONTRACT, signals_uv=signals_uv)


def plain_mv(store: Store, rows: np.ndarray) -> np.ndarray:
    signals_uv = np.load(store.path / SIGNALS)
    return signals_uv[rows].astype(np.float32) / np.float32(1000)


def change(store: Store, **values: object) -> None:
    file = store.path / DESCRIPTION
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def rewrite(store: Store, table: pa.Table) -> None:
    pq.write_table(table, store.path / RECORDS)


ROWS = [
    np.array([5]),
    np.arange(600),
    np.array([7, 0, 599, 7, 3]),
    np.random.default_rng(1).permutation(600),
    np.array([]),
]


@pytest.mark.parametrize("rows", ROWS, ids=len)
@pytest.mark.parametrize("missing", ["", "_HAS_PREADV", "_HAS_ADVICE"])
def test_signals_equal_those_of_a_memory_map_to_the_bit(
    store: Store, rows: np.ndarray, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing:  # a machine whose system cannot do it
        monkeypatch.setattr(signal_file, missing, False)
    expected = plain_mv(store, rows.astype(int))
    found = store.signals_mv(rows)
    assert found.dtype == np.float32
    assert found.tobytes() == expected.tobytes()
    assert store.signals_mv(rows.astype(int).tolist()).tobytes() == expected.tobytes()
    np.testing.assert_array_equal(store.signals_uv[rows.astype(int)], np.rint(1000 * expected))


def test_read_into_places_and_touches_nothing_else(store: Store) -> None:
    out_mv = np.full((6, 2, 100), -1, np.float32)
    store.read_into([9, 2, 9], out_mv, [4, 0, 1])
    np.testing.assert_array_equal(out_mv[[4, 0, 1]], plain_mv(store, np.array([9, 2, 9])))
    assert (out_mv[[2, 3, 5]] == -1).all()


@pytest.mark.parametrize("row", [-1, 600, 10**12])
def test_there_is_no_such_row(store: Store, row: int) -> None:
    with pytest.raises(IndexError, match=rf"row {row}, expected 0 to 599"):
        store.signals_mv([0, row])


def test_short_reads_are_continued_and_a_cut_file_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, buffers, start: preadv(file, [buffers[0][:150]], start))
    assert store.signals_mv([3, 1]).tobytes() == plain_mv(store, np.array([3, 1])).tobytes()
    os.truncate(store.path / SIGNALS, 1000)
    with pytest.raises(OSError, match=r"signals\.npy was cut since it was opened: nothing at byte 2128"):
        store.signals_mv([0, 5])


def test_threads_read_the_same(store: Store) -> None:
    orders = [np.random.default_rng(k).permutation(600) for k in range(16)]
    with ThreadPoolExecutor(8) as pool:
        for rows, found in zip(orders, pool.map(store.signals_mv, orders), strict=True):
            assert found.tobytes() == plain_mv(store, rows).tobytes()


def _sum_in_child(store: Store, row: int) -> float:
    return float(store.signals_mv([row]).sum())


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of fork beside torch's threads
def test_processes_read_the_same(store: Store, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    assert len(store.records) == 600  # what is in memory does not travel
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.starmap(_sum_in_child, [(store, row) for row in range(20)])
    assert found == [float(plain_mv(store, np.array([row])).sum()) for row in range(20)]
    assert store.signals_mv([1]).tobytes() == plain_mv(store, np.array([1])).tobytes()


def test_a_pickle_is_small_and_finds_the_store_from_elsewhere(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative = Store.open("ecgs")
    assert relative.records is not None
    assert relative.signals_uv is not None
    pickled = pickle.dumps(relative)
    assert len(pickled) < 2000
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert pickle.loads(pickled).signals_mv([3]).tobytes() == plain_mv(store, np.array([3])).tobytes()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_no_descriptor_leaks(store: Store) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for _ in range(20):
        opened = pickle.loads(pickle.dumps(Store.open(store.path)))
        opened.signals_mv([0])
        assert opened.column("record")[0].as_py() == "ecgs0000"
    del opened
    assert count() == before
    (store.path / RECORDS).unlink()
    for _ in range(20):
        with pytest.raises(StoreError):
            Store.open(store.path)
    assert count() == before


def test_resident_memory_does_not_grow(tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    signals_uv = np.ones((2000, 8, 2500), np.int16)  # 80 MB
    large, process = write_store(tmp_path / "large", 2000, signals_uv=signals_uv), psutil.Process()
    del signals_uv
    out_mv = np.empty((20, 8, 2500), np.float32)
    large.read_into(np.arange(20), out_mv)
    before = process.memory_info().rss
    for first in range(0, 2000, 20):
        large.read_into(np.arange(first, first + 20), out_mv)
    assert process.memory_info().rss - before < 10e6


def test_records_are_a_table_of_objects_and_columns_are_not(store: Store) -> None:
    assert store.records is store.records
    assert set(store.records) == {*COLUMNS, "labels_kind"} - {"file_state", "signal_hash"}
    assert store.records["labels_kind"].tolist() == [["a"] if k % 2 else ["b"] for k in range(600)]
    assert store.records["flags"].tolist() == [[]] * 600
    assert store.records["fold"].dtype == "Int64"
    assert store.column("file_state").to_numpy().tolist() == list(range(600))
    with pytest.raises(StoreError, match=r"no column 'labels_all' in records\.parquet"):
        store.column("labels_all")


@pytest.mark.parametrize("folds", [[None] * 12, [3, None] * 6, range(12)], ids=["none", "some", "all"])
def test_folds_are_whole_numbers_whoever_wrote_the_table(tmp_path: Path, folds: list) -> None:
    store = write_store(tmp_path / "a", 12)
    table = pq.read_table(store.path / RECORDS).replace_schema_metadata(None)  # without what pandas notes there
    fold = pa.array(folds, pa.int64())
    rewrite(store, table.set_column(table.schema.get_field_index("fold"), "fold", fold))
    found = Store.open(store.path).records["fold"]
    assert found.dtype == "Int64"
    assert [None if pd.isna(value) else value for value in found] == list(folds)


def test_labels_that_are_none_stay_none(store: Store) -> None:
    table = pq.read_table(store.path / RECORDS)
    labels = pa.array([None, ["a", "b"], *[[]] * 598], pa.list_(pa.string()))
    rewrite(store, table.set_column(table.schema.get_field_index("labels_kind"), "labels_kind", labels))
    assert Store.open(store.path).records["labels_kind"].tolist()[:3] == [None, ["a", "b"], []]


def test_rows_beyond_those_kept_are_an_unfinished_addition(store: Store) -> None:
    """The writer was ended in the middle of a row; the table is longer, and names a split that nobody knows."""
    expected = store.signals_mv(range(600))
    with (store.path / SIGNALS).open("r+b") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<i2", "fortran_order": False, "shape": (900, 2, 100)})
        file.seek(0, os.SEEK_END)
        file.write(b"\1" * 1001)
    table = pq.read_table(store.path / RECORDS)
    more = table.slice(0, 5).set_column(
        table.schema.get_field_index("split"), "split", pa.array(["?"] * 5, pa.large_string())
    )
    rewrite(store, pa.concat_tables([table, more.cast(table.schema)]))
    again = Store.open(store.path)
    assert len(again) == len(again.records) == len(again.column("record")) == len(again.signals_uv) == 600
    assert again.signals_mv(range(600)).tobytes() == expected.tobytes()
    with pytest.raises(IndexError):
        again.signals_mv([600])


@pytest.mark.parametrize("split", [[None] * 12, ["train", None] * 6], ids=["none", "some"])
def test_records_may_be_in_no_split(tmp_path: Path, split: list) -> None:
    store = write_store(tmp_path / "a", 12)
    table = pq.read_table(store.path / RECORDS)
    rewrite(store, table.set_column(table.schema.get_field_index("split"), "split", pa.array(split)))
    assert Store.open(store.path).column("split").to_pylist() == split


def test_a_hash_is_that_of_the_little_endian_samples() -> None:
    signal_uv = np.array([[1, -2], [300, 4]], np.int16)
    assert signal_hash(signal_uv) == signal_hash(signal_uv.astype(">i2")) == signal_hash(np.asfortranarray(signal_uv))
    assert signal_hash(signal_uv).hex() == "3c9bcbe2fff45947288ab071ad7622e8"
    assert digest_of([b"a" * 16, b"b" * 16]) == "abf8fedeb2a96ae182e858f521512f703b5de5c40a63ed13980e46a2fa6d996e"


def test_a_whole_store_verifies(store: Store) -> None:
    store.verify()


def test_verify_names_the_first_record_that_differs(store: Store) -> None:
    with (store.path / SIGNALS).open("r+b") as file:
        for row in (420, 333):
            file.seek(store.signals.offset + 400 * row + 399)
            file.write(b"\x55")
    with pytest.raises(StoreError, match=r"record ecgs0333, row 333 of signals\.npy, is not what was prepared"):
        Store.open(store.path).verify()


def test_verify_compares_table_and_digest(store: Store) -> None:
    (checksums := dict(store.info["checksums"]))[SIGNALS] = "0" * 64
    change(store, checksums=checksums)
    with pytest.raises(StoreError, match=r"the digest of signals\.npy is [0-9a-f]{64}, expected 0000"):
        Store.open(store.path).verify()
    change(store, checksums={})
    with pytest.raises(StoreError, match=r"no checksum of records\.parquet, signals\.npy in store\.json"):
        Store.open(store.path).verify()
    change(store, checksums=store.info["checksums"])
    rewrite(store, pq.read_table(store.path / RECORDS))
    with pytest.raises(StoreError, match=r"SHA-256 of records\.parquet is"):
        Store.open(store.path).verify()


def _truncate(store: Store) -> None:
    os.truncate(store.path / SIGNALS, 128 + 2 * 600 * 200 - 1)


def _truncate_header(store: Store) -> None:
    os.truncate(store.path / SIGNALS, 20)


def _save(signals: np.ndarray) -> Callable[[Store], None]:
    return lambda store: np.save(store.path / SIGNALS, signals)


def _table(edit: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Store], None]:
    return lambda store: edit(pd.read_parquet(store.path / RECORDS)).to_parquet(store.path / RECORDS, index=False)


BROKEN: list[tuple[Callable[[Store], None], str]] = [
    (_truncate, r"signals\.npy has 240127 bytes, expected 240128 or more: it is cut"),
    (_truncate_header, r"store .*ecgs: "),
    (_save(np.zeros((600, 2, 100), np.float32)), r"signals\.npy is float32 \(600, 2, 100\), expected int16"),
    (_save(np.zeros((600, 2, 100), ">i2")), r"signals\.npy is >i2"),
    (_save(np.zeros((599, 2, 100), np.int16)), r"\(599, 2, 100\), expected int16 \(600 or more, 2, 100\)"),
    (_save(np.zeros((600, 100, 2), np.int16)), r"\(600, 100, 2\), expected"),
    (_save(np.zeros((600, 200), np.int16)), r"\(600, 200\), expected"),
    (_save(np.asfortranarray(np.zeros((600, 2, 100), np.int16))), r"in Fortran order, expected"),
    (lambda store: (store.path / SIGNALS).write_bytes(b"no array at all"), r"store .*ecgs: .*magic"),
    (lambda store: (store.path / SIGNALS).unlink(), r"No such file.*signals\.npy"),
    (lambda store: (store.path / RECORDS).unlink(), r"records\.parquet"),
    (lambda store: (store.path / RECORDS).write_bytes(b"PAR1"), r"store .*ecgs: .*[Pp]arquet"),
    (_table(lambda table: table.iloc[1:]), r"records\.parquet has 599 rows, expected 600 or more"),
    (_table(lambda table: table.drop(columns=["signal_hash", "age"])), r"lacks the columns \['age', 'signal_hash'\]"),
    (_table(lambda table: table.assign(split="TEST")), r"split 'TEST' in records\.parquet, expected one of"),
    (lambda store: change(store, account={}), r"unusable contract or account in store\.json: 'kept'"),
    (lambda store: change(store, account={"kept": "600"}), r"kept is '600', expected a whole number"),
    (lambda store: change(store, contract={"leads": 3}), r"unusable contract or account"),
    (lambda store: change(store, contract={"leads": ["X"]}), r"contract: leads must be"),
    (lambda store: change(store, levels=None), r"store\.json: levels missing or of another type"),
    (lambda store: change(store, format=1), r"store format 1, expected 2; .*prepare it again"),
    (lambda store: change(store, format=99), r"store format 99, expected 2$"),
    (lambda store: (store.path / DESCRIPTION).write_text("{"), r"is not the description of a store"),
    (lambda store: (store.path / DESCRIPTION).write_text("[]"), r"is not the description of a store"),
    (lambda store: (store.path / DESCRIPTION).unlink(), r"is not a store: no store\.json in it"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), BROKEN, ids=[message for _, message in BROKEN])
def test_broken_stores_are_named(store: Store, damage: Callable[[Store], None], message: str) -> None:
    damage(store)
    with pytest.raises(StoreError, match=message):
        Store.open(store.path)
