"""Preparing again: new files are added, a record's row is its own for good, and what changed is named."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgjepa.data.listings.listing import DatasetError, Listing
from ecgjepa.data.listings.own import list_table
from ecgjepa.data.prepare import prepare
from ecgjepa.data.preparing import building as building_module
from ecgjepa.data.preparing import chunks, preparation
from ecgjepa.data.store import Store, StoreError
from ecgjepa.errors import PrepareError, RefusedRecordError
from tests.data.archives import smooth_signal, write_ptbxl, write_wfdb


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building_module, "CHUNK_RECORDS", 3)


def again(data: Path, out: Path, dataset: str | Listing = "folder", **options: object) -> Store:
    store = prepare(dataset, data, out, **{"workers": 1, "progress": False, **options})
    store.verify()
    assert not out.with_name(out.name + ".building").exists()
    return store


def rows(store: Store) -> dict[str, np.ndarray]:
    return dict(zip(store.records["record"], store.signals_uv, strict=True))


def test_new_files_are_added_behind_and_nothing_else_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = tmp_path / "data", tmp_path / "store"
    for k in (1, 3, 5, 7):
        write_wfdb(data, f"r{k}", smooth_signal(k))
    first = again(data, out)
    before = rows(first)
    for k in (0, 2, 9):
        write_wfdb(data, f"r{k}", smooth_signal(k))
    write_wfdb(data, "r4", np.zeros((5000, 12)))
    read, seen = chunks.read, []
    monkeypatch.setattr(chunks, "read", lambda path, *rest: (seen.append(path.stem), read(path, *rest))[1])
    second = again(data, out)
    assert seen == ["r0", "r2", "r4", "r9"]
    assert second.records["record"].tolist() == ["r1", "r3", "r5", "r7", "r0", "r2", "r9"]
    assert all(np.array_equal(rows(second)[name], signal_uv) for name, signal_uv in before.items())
    assert second.info["account"] == {
        "candidates": 8, "kept": 7, "changed": {"resampled": 7}, "refused": {"flat": 1}, "flags": {}
    }  # fmt: skip
    seen.clear()
    third = again(data, out)
    assert (seen, third.info) == ([], second.info)
    fresh = again(data, tmp_path / "fresh")
    assert {name: each.tobytes() for name, each in rows(fresh).items()} == {
        name: each.tobytes() for name, each in rows(third).items()
    }
    assert len(first) == 4  # opened before: it sees its own rows still
    np.testing.assert_array_equal(first.signals_uv[3], before["r7"])


def test_removed_renamed_and_changed_files_shift_no_row_and_are_named(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "store"
    for name in "abcdef":
        write_wfdb(data, name, smooth_signal(ord(name)))
    before = rows(again(data, out))
    for suffix in (".hea", ".dat"):
        (data / f"b{suffix}").unlink()
    write_wfdb(data, "z", smooth_signal(ord("d")))  # d is renamed
    for suffix in (".hea", ".dat"):
        (data / f"d{suffix}").unlink()
    write_wfdb(data, "e", smooth_signal(99))
    store = again(data, out)
    assert store.records["record"].tolist() == [*"abcdef", "z"]
    assert all(np.array_equal(rows(store)[name], signal_uv) for name, signal_uv in before.items())
    assert store.info["stale"] == {"changed": 1, "not_listed": 2}
    stale = pd.read_csv(out / "stale.csv")
    assert list(stale.itertuples(index=False, name=None)) == [
        ("e", "changed"),
        ("b", "not_listed"),
        ("d", "not_listed"),
    ]
    for name in "bd":
        write_wfdb(data, name, smooth_signal(ord(name)))
    os.utime(data / "b.hea", ns=(0, 0))  # the same bytes, another time: not known to be the same
    assert again(data, out).info["stale"]["changed"] >= 1
    anew = again(data, out, overwrite=True)
    assert anew.records["record"].tolist() == [*"abcdefz"]
    assert "stale" not in anew.info
    assert not (out / "stale.csv").exists()


def test_a_refused_record_is_tried_again_when_its_file_is_another(tmp_path: Path) -> None:
    data, out = write_ptbxl(tmp_path / "data", records=4, absent=3), tmp_path / "store"
    good = data / "records500/00000/00002_hr.dat"
    content = good.read_bytes()
    good.write_bytes(content[:1000])
    first = again(data, out, "ptbxl")
    assert first.info["account"]["refused"] == {"file_absent": 3, "unreadable": 1}
    assert again(data, out, "ptbxl").info == first.info  # not tried again
    good.write_bytes(content)
    write_wfdb(data / "records500/00000", "00006_hr", smooth_signal(6))  # more of the archive has arrived
    store = again(data, out, "ptbxl")
    assert store.records["record"].tolist() == ["00001_hr", "00003_hr", "00004_hr", "00002_hr", "00006_hr"]
    assert store.info["account"]["refused"] == {"file_absent": 2}
    assert store.info["account"]["candidates"] == 7
    assert pd.read_csv(out / "refused.csv")["record"].tolist() == ["00005_hr", "00007_hr"]


@pytest.mark.parametrize("where", ["chunk", "tables", "description", "in place"])
def test_an_addition_that_was_interrupted_goes_on_and_the_store_is_whole_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    data, out = tmp_path / "data", tmp_path / "store"
    for k in range(4):
        write_wfdb(data, f"a{k}", smooth_signal(k))
    before = rows(again(data, out))
    for k in range(8):
        write_wfdb(data, f"b{k}", smooth_signal(10 + k))
    shutil.copytree(out, tmp_path / "unbroken")
    expected = again(data, tmp_path / "unbroken").info["checksums"]

    calls: list[int] = []

    def crash(*_: object, **__: object) -> int:
        calls.append(1)
        if where != "chunk" or len(calls) == 2:
            raise KeyboardInterrupt
        return chunks.prepare_chunk(*_, **__)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        target = {
            "chunk": (preparation, "prepare_chunk"),
            "tables": (preparation, "write_records"),
            "description": (preparation, "write_json"),
            "in place": (building_module.Building, "clear"),
        }[where]
        if where == "in place":  # the rows count, the folder is left
            clear = building_module.Building.clear
            patch.setattr(*target, lambda self: crash() if (self.path / "plan.json").exists() else clear(self))
        else:
            patch.setattr(*target, crash)
        with pytest.raises(KeyboardInterrupt):
            again(data, out)
    assert out.with_name("store.building").exists()
    meanwhile = Store.open(out)
    if where == "description":
        with pytest.raises(StoreError, match="an addition to it is not finished"):
            meanwhile.verify()
    assert len(meanwhile) == (12 if where == "in place" else 4)
    assert all(np.array_equal(rows(meanwhile)[name], signal_uv) for name, signal_uv in before.items())
    assert again(data, out).info["checksums"] == expected


def test_a_damaged_chunk_that_another_process_left_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    for k in range(9):
        write_wfdb(data, f"a{k}", smooth_signal(k))
    expected = again(data, tmp_path / "unbroken").info["checksums"]

    def last_first(work: object, numbers: list[int], workers: int) -> object:
        for number in reversed(numbers):
            yield number, work(number)  # type: ignore[operator]
            if number == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("folder", data, tmp_path / "store", workers=1, progress=False, engine=last_first)
    damaged = tmp_path / "store.building" / "00000002.bin"
    content = bytearray(damaged.read_bytes())
    content[77] ^= 8
    damaged.write_bytes(content)
    (tmp_path / "store.building" / "00000001.bin").write_bytes(b"")
    assert again(data, tmp_path / "store").info["checksums"] == expected


def write_table(folder: Path, rows: list[str], columns: str = "path,patient,split,labels_kind") -> Listing:
    (folder / "t.csv").write_text("\n".join([columns, *rows]) + "\n")
    return list_table(folder / "t.csv", folder / "data")


def of_table(
    tmp_path: Path, rows: list[str], columns: str = "path,patient,split,labels_kind", **options: object
) -> Store:
    return again(tmp_path / "data", tmp_path / "store", write_table(tmp_path, rows, columns), **options)


def test_what_a_table_says_otherwise_later_is_taken_without_reading_the_signals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in range(6):
        write_wfdb(tmp_path / "data", f"r{k}", smooth_signal(k))
    rows = [f"r{k},p{k // 2},{('train', 'validation', 'test')[k // 2]},{'ab'[k % 2]}" for k in range(6)]
    before = rows
    signals_uv = of_table(tmp_path, rows).signals_uv.copy()
    monkeypatch.setattr(chunks, "read", None)
    store = of_table(tmp_path, ["r0,p0,train,c;a", *before[1:4], "r4,p2,train,a", "r5,p2,train,"])
    assert store.records["labels_kind"].tolist() == [["c", "a"], ["b"], ["a"], ["b"], ["a"], None]
    assert store.records["split"].tolist() == ["train"] * 2 + ["validation"] * 2 + ["train"] * 2
    assert store.info["levels"] == {"kind": ["a", "b", "c"]}
    np.testing.assert_array_equal(store.signals_uv, signals_uv)
    again_info = of_table(tmp_path, ["r0,p0,train,c;a", *before[1:4], "r4,p2,train,a", "r5,p2,train,"]).info
    assert again_info == store.info
    # A level that comes later, and one that goes.
    later = [f"r{k},p{k // 2},{('train', 'validation', 'train')[k // 2]},x{k}" for k in range(6)]
    store = of_table(tmp_path, later, "path,patient,split,labels_other")
    assert store.records["labels_other"].tolist() == [[f"x{k}"] for k in range(6)]
    assert store.records["labels_kind"].tolist()[0] == ["c", "a"]
    assert sorted(store.info["levels"]) == ["kind", "other"]


def test_a_patient_comes_into_no_second_split_by_an_addition_or_a_correction(tmp_path: Path) -> None:
    for k in range(4):
        write_wfdb(tmp_path / "data", f"r{k}", smooth_signal(k))
    of_table(tmp_path, ["r0,p0,train,a", "r1,p1,test,a"])
    with pytest.raises(DatasetError, match=r"1 patients would be in two splits, p0 first: record r0"):
        of_table(tmp_path, ["r1,p1,test,a", "r2,p0,test,b"])  # r0 is no longer listed, and still in the store
    assert len(Store.open(tmp_path / "store")) == 2
    store = of_table(tmp_path, ["r0,p0,test,a", "r1,p1,test,a", "r2,p0,test,b"])  # all of p0 moves
    assert store.records["split"].tolist() == ["test"] * 3


def test_what_is_told_of_a_file_later_lets_a_refused_record_in(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for k in range(2):
        np.save(tmp_path / "data" / f"r{k}.npy", smooth_signal(k).astype(np.float32))
    columns = "path,patient,split,sampling_rate_hz,unit"
    first = of_table(tmp_path, ["r0.npy,a,train,500,mV", "r1.npy,b,train,500,"], columns)
    assert first.info["account"]["refused"] == {"unknown_unit": 1}
    store = of_table(tmp_path, ["r0.npy,a,train,500,mV", "r1.npy,b,train,500,mV"], columns)
    assert (len(store), store.info["account"]["refused"]) == (2, {})
    store = of_table(tmp_path, ["r0.npy,a,train,500,uV", "r1.npy,b,train,500,mV"], columns)
    assert store.info["stale"] == {"changed": 1}


def test_reasons_that_may_pass_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, read = tmp_path / "data", chunks.read
    for k in range(3):
        write_wfdb(data, f"r{k}", smooth_signal(k))

    def without_package(path: Path, *rest: object) -> object:
        if path.stem == "r1":
            raise RefusedRecordError("r1", "missing_package", "needs a package")
        return read(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(chunks, "read", without_package)
    assert again(data, tmp_path / "store").info["account"]["refused"] == {"missing_package": 1}
    monkeypatch.setattr(chunks, "read", read)
    store = again(data, tmp_path / "store")
    assert store.records["record"].tolist() == ["r0", "r2", "r1"]


def test_overwrite_begins_anew_and_goes_on_only_with_what_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    for k in range(7):
        write_wfdb(data, f"r{k}", smooth_signal(k))
    seen: list[int] = []

    def second_fails(number: int, **given: object) -> int:
        seen.append(number)
        if len(seen) in (2, 4):
            raise KeyboardInterrupt
        return chunks.prepare_chunk(number, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(preparation, "prepare_chunk", second_fails)
    for overwrite in (False, True):
        with pytest.raises(KeyboardInterrupt):
            again(data, tmp_path / "store", overwrite=overwrite)
    again(data, tmp_path / "store", overwrite=True)
    assert seen == [0, 1, 0, 1, 1, 2]


def test_an_interrupted_replacement_is_never_added_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        for k in range(3):
            write_wfdb(tmp_path / name, f"{name}{k}", smooth_signal(k))
    out = tmp_path / "store"
    again(tmp_path / "a", out)
    rename = Path.rename

    def only_the_first(self: Path, target: Path) -> Path:
        if self.name == "store.building":
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", only_the_first)
        with pytest.raises(KeyboardInterrupt):
            again(tmp_path / "b", out, overwrite=True)
    with pytest.raises(FileExistsError, match=r"data_dir was .*/a, is .*/b"):
        again(tmp_path / "b", out)
    assert Store.open(out).records["record"].tolist() == ["a0", "a1", "a2"]
    old = Store.open(out)
    assert again(tmp_path / "b", out, overwrite=True).records["record"].tolist() == ["b0", "b1", "b2"]
    with pytest.raises(StoreError, match="was replaced since it was opened"):
        old.column("record")


def test_a_folder_of_the_building_s_name_is_left_alone(tmp_path: Path) -> None:
    write_wfdb(tmp_path / "data", "a", smooth_signal(0))
    write_wfdb(tmp_path / "store.building", "41420867", smooth_signal(0))
    with pytest.raises(FileExistsError, match="holds something else"):
        again(tmp_path / "data", tmp_path / "store")
    assert len(list((tmp_path / "store.building").iterdir())) == 2
    with pytest.raises(ValueError, match=r"end in \.building"):
        again(tmp_path / "data", tmp_path / "x.building")


def test_files_that_vanish_are_refused_and_a_disk_that_vanishes_stops_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    for k in range(2):
        write_wfdb(data, f"a{k}", smooth_signal(k))
    again(data, tmp_path / "store")
    write_wfdb(data, "b", smooth_signal(3))

    def vanish(work: Callable[[int], int], numbers: list[int], workers: int) -> Iterator[tuple[int, int]]:
        for suffix in (".hea", ".dat"):
            (data / f"b{suffix}").unlink()
        yield from ((number, work(number)) for number in numbers)

    store = prepare("folder", data, tmp_path / "store", workers=1, progress=False, engine=vanish)
    assert store.info["account"]["refused"] == {"file_absent": 1}
    write_wfdb(data, "c", smooth_signal(4))

    def unmount(work: Callable[[int], int], numbers: list[int], workers: int) -> Iterator[tuple[int, int]]:
        shutil.move(data, tmp_path / "elsewhere")
        data.mkdir()
        yield from ((number, work(number)) for number in numbers)

    with pytest.raises(PrepareError, match="is it mounted there"):
        prepare("folder", data, tmp_path / "store", workers=1, progress=False, engine=unmount)
    data.rmdir()
    shutil.move(tmp_path / "elsewhere", data)
    assert again(data, tmp_path / "store").records["record"].tolist() == ["a0", "a1", "c"]
