"""An index is whole or not there, and nothing but an index is ever replaced."""

import json
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

import ecgjepa.search.build
import ecgjepa.search.folder
from ecgjepa.search import IndexFolderError, SearchIndex
from ecgjepa.search.folder import _exchange
from tests.search.conftest import build, draw, write_embeddings


def test_nothing_is_left_of_what_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_embeddings(tmp_path / "e.parquet", draw(30))
    first = build(table)
    before = {file.name: file.read_bytes() for file in first.folder.iterdir()}
    with pytest.raises(FileExistsError, match="--overwrite"):
        build(table)
    (tmp_path / ".index.building").mkdir()  # of a process that was killed
    (tmp_path / ".index.building" / "engine.faiss").write_text("half")
    monkeypatch.setattr(ecgjepa.search.build, "_describe", _stop)
    with pytest.raises(KeyboardInterrupt):
        build(write_embeddings(tmp_path / "e.parquet", draw(20)), overwrite=True)
    assert {file.name: file.read_bytes() for file in first.folder.iterdir()} == before
    monkeypatch.undo()
    assert len(build(table, overwrite=True)) == 20
    assert {file.name for file in tmp_path.iterdir()} == {"e.parquet", "index", ".index.lock"}


def test_an_index_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_embeddings(tmp_path / "e.parquet", draw(30))
    before = build(table)
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    if not _exchange(tmp_path / "one", tmp_path / "other"):
        pytest.skip("the file system swaps no folders")
    monkeypatch.setattr(Path, "rename", _stop)
    after = build(write_embeddings(table, draw(20)), overwrite=True)
    assert (len(after), len(SearchIndex.open(tmp_path / "index"))) == (20, 20)
    np.testing.assert_array_equal(before.embeddings([29]), draw(30)[[29]], "who has it open reads on")


def test_where_it_takes_two_steps_no_index_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, index = write_embeddings(tmp_path / "e.parquet", draw(30)), tmp_path / "index"
    build(table)
    rename = Path.rename
    monkeypatch.setattr(ecgjepa.search.folder, "_exchange", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", lambda one, to: _stop() if one.suffix == ".building" else rename(one, to))
    with pytest.raises(KeyboardInterrupt):
        build(write_embeddings(table, draw(20)), overwrite=True)
    assert len(SearchIndex.open(index)) == 30
    monkeypatch.setattr(Path, "rename", rename)
    index.rename(tmp_path / ".index.replaced")  # killed between the two
    with pytest.raises(FileExistsError, match="--overwrite"):
        build(table)
    assert len(SearchIndex.open(index)) == 30
    assert len(build(table, overwrite=True)) == 20
    assert {file.name for file in tmp_path.iterdir()} == {"e.parquet", "index", ".index.lock"}


def test_two_processes_do_not_make_one_index(tmp_path: Path) -> None:
    table = write_embeddings(tmp_path / "e.parquet", draw(3))
    with FileLock(tmp_path / ".index.lock"), pytest.raises(FileExistsError, match="another process is writing"):
        build(table)
    assert len(build(table)) == 3


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_is_no_index_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not an index"):
        build(write_embeddings(tmp_path / "e.parquet", draw(3)), overwrite=True)
    with pytest.raises(IndexFolderError, match=r"is not an index: no index\.json"):
        SearchIndex.open(tmp_path / "index")
    (tmp_path / "index" / "index.json").write_text('{"format": 1}')  # of something else
    with pytest.raises(FileExistsError, match="is not an index"):
        build(tmp_path / "e.parquet", overwrite=True)


def test_what_lies_in_an_index_and_is_none_of_it_is_left_alone(tmp_path: Path) -> None:
    index = build(write_embeddings(tmp_path / "e.parquet", draw(3)))
    (index.folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds notes\.txt, which is no part of an index"):
        build(tmp_path / "e.parquet", overwrite=True)
    (index.folder / "notes.txt").unlink()
    index.folder.rename(tmp_path / "elsewhere")
    (tmp_path / "index").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError, match="is no folder"):
        build(tmp_path / "e.parquet", overwrite=True)
    assert len(SearchIndex.open(tmp_path / "index")) == 3


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    folder = build(write_embeddings(tmp_path / "e.parquet", draw(3))).folder
    vectors, said = (folder / "vectors.npy").read_bytes(), json.loads((folder / "index.json").read_text())
    (folder / "vectors.npy").write_bytes(vectors[:-4])
    with pytest.raises(IndexFolderError, match=r"vectors\.npy: \d+ bytes, expected"):
        SearchIndex.open(folder)
    (folder / "vectors.npy").unlink()
    with pytest.raises(IndexFolderError, match=r"vectors\.npy: missing"):
        SearchIndex.open(folder)
    (folder / "vectors.npy").write_bytes(vectors)
    records = (folder / "records.parquet").read_bytes()
    (folder / "records.parquet").write_bytes(records[:-4] + b"????")
    with pytest.raises(IndexFolderError, match=r"records\.parquet is no table of rows"):
        SearchIndex.open(folder)
    (folder / "index.json").write_text(json.dumps(said | {"format": 9}))
    with pytest.raises(IndexFolderError, match="index format 9, expected 1"):
        SearchIndex.open(folder)
