"""Preparing again: new files are added, a record's row is its own for good, and what changed is named."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgjepa.data.prepare import prepare
from ecgjepa.data.preparing import building as building_module
from ecgjepa.data.preparing import chunks, preparation
from ecgjepa.data.store import Store, StoreError
from tests.data.archives import smooth_signal, write_ptbxl, write_wfdb


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building_module, "CHUNK_RECORDS", 3)


def again(data: Path, out: Path, dataset: str = "folder", **options: object) -> Store:
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
    assert store.info["stale"] == {"changed": 1, "gone": 2}
    stale = pd.read_csv(out / "stale.csv")
    assert list(stale.itertuples(index=False, name=None)) == [("e", "changed"), ("b", "gone"), ("d", "gone")]
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
