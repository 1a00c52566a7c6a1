"""An index is whole or not there; tables and stores that do not fit are refused by name."""

import json
from pathlib import Path

import numpy as np
import pytest

import ecgjepa.search.build
from ecgjepa.search import IndexFolderError, SearchIndex, build_index
from ecgjepa.search.mapping import make_map
from ecgjepa.search.metric import Moments
from tests.search.conftest import ABOUT, draw, write_embeddings
from tests.search.stores import write_store


def build(table: Path, **options: object) -> SearchIndex:
    return build_index(table, table.parent / "index", project=False, progress=False, **options)  # type: ignore[arg-type]


def test_what_stores_know(tmp_path: Path) -> None:
    """A row's own store comes first, then the stores that are given, by the record's name; paths may be anywhere."""
    one = write_store(tmp_path / "one", ["a", "b"], {"superdiagnostic": [["MI"], None], "all": [["X"], ["Y"]]}, "one")
    two = write_store(tmp_path / "two", ["c", "d", "a"], {"rhythm": [["AFIB", "LBBB"], [], ["SR"]]}, "two")
    paths = [str(one), str(one), "lost/c.hea", "e.hea"]
    table = write_embeddings(
        tmp_path / "e.parquet", draw(4), record=["b", "a", "c", "e"], path=paths, row=[1, 0, None, None]
    )
    index = build(table, stores=[two])
    found = [(row.record, row.store_row, row.labels, row.source) for row in index.records(range(4))]
    assert found == [
        ("b", 1, (), "one"),
        ("a", 0, ("MI",), "one"),
        ("c", 0, ("AFIB", "LBBB"), "two"),
        ("e", None, (), None),
    ]
    assert [row.path for row in index.records(range(4))] == [str(one), str(one), str(two), "e.hea"]
    assert index.level == "rhythm, superdiagnostic"
    assert index.info["rows_not_in_a_store"] == 1
    assert index.weights_sha256 == ABOUT["weights_sha256"]
    with pytest.raises(IndexFolderError, match=r"no labels of level .form., found (rhythm|superdiagnostic, all)"):
        build(table, stores=[two], level="form", overwrite=True)


def test_stores_that_disagree(tmp_path: Path) -> None:
    one = write_store(tmp_path / "one", ["a", "b"], {"all": [["X"], ["Y"]]}, "one")
    two = write_store(tmp_path / "two", ["b"], {"all": [["X"]]}, "two")
    by_name = write_embeddings(tmp_path / "e.parquet", draw(2), record=["a", "b"])
    with pytest.raises(IndexFolderError, match=r"record b is in store .*one and in store .*two"):
        build(by_name, stores=[one, two])
    changed = write_embeddings(
        tmp_path / "changed.parquet", draw(2), record=["b", "a"], path=[str(one)] * 2, row=[1, 1]
    )
    with pytest.raises(IndexFolderError, match=r"a: row 1 of store .*one is b; it has changed"):
        build(changed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"about": None}, "does not say which encoder"),
        ({"about": {"weights_sha256": "x"}}, "unusable metadata"),
        ({"about": ABOUT | {"head_sha256": "x"}}, "a table of predictions"),
        ({"patch": [1, 2, 3]}, "a table of tokens"),
        ({"embedding": [1.0, 2.0, 3.0]}, "column embedding is of type double"),
        ({"labels": [1, 2, 3]}, "column 'labels' is of type int64"),
    ],
)
def test_wrong_tables(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(IndexFolderError, match=message):
        build(write_embeddings(tmp_path / "e.parquet", draw(3), **options))  # type: ignore[arg-type]
    assert not (tmp_path / "index").exists()


def test_an_embedding_that_is_not_finite(tmp_path: Path) -> None:
    embeddings = draw(30)
    embeddings[17, 3] = np.inf
    with pytest.raises(IndexFolderError, match="the embedding of record r00017 is not finite"):
        build(write_embeddings(tmp_path / "e.parquet", embeddings))
    assert {file.name for file in tmp_path.iterdir()} == {"e.parquet", ".index.lock"}


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


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_is_no_index_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not an index"):
        build(write_embeddings(tmp_path / "e.parquet", draw(3)), overwrite=True)
    with pytest.raises(IndexFolderError, match=r"is not an index: no index\.json"):
        SearchIndex.open(tmp_path / "index")


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    folder = build(write_embeddings(tmp_path / "e.parquet", draw(3))).folder
    vectors, said = (folder / "vectors.npy").read_bytes(), json.loads((folder / "index.json").read_text())
    (folder / "vectors.npy").write_bytes(vectors[:-4])
    with pytest.raises(IndexFolderError, match=r"vectors\.npy: \d+ bytes, expected"):
        SearchIndex.open(folder)
    (folder / "vectors.npy").unlink()
    with pytest.raises(IndexFolderError, match=r"vectors\.npy: missing"):
        SearchIndex.open(folder)
    (folder / "index.json").write_text(json.dumps(said | {"format": 9}))
    with pytest.raises(IndexFolderError, match="index format 9, expected 1"):
        SearchIndex.open(folder)


def test_the_metric_is_learned_piece_by_piece() -> None:
    embeddings, moments = draw(1000) + np.float32(1000), Moments(12)
    embeddings[:, 4] = 7
    for piece in np.array_split(embeddings, 7):
        moments.add(piece)
    metric = moments.metric()
    np.testing.assert_allclose(metric.mean_D, embeddings.mean(0, np.float64), rtol=1e-6)
    np.testing.assert_allclose(np.delete(metric.scale_D, 4), np.delete(embeddings.std(0, np.float64), 4), rtol=1e-4)
    assert metric.scale_D[4] == 1  # tells nothing apart
    np.testing.assert_array_equal(metric.directions(metric.mean_D[None]), 0)


def test_rows_that_are_no_landmarks_go_among_their_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecgjepa.search.mapping.LANDMARKS", 60)
    embeddings, moments = draw(300), Moments(12)
    moments.add(embeddings)
    metric = moments.metric()
    places, about = make_map(embeddings, metric, 0)
    assert about["landmarks"] == 60
    assert np.isfinite(places).all()
    assert len(np.unique(places, axis=0)) == 300
    directions = metric.directions(embeddings)
    near = np.argsort(-(directions @ directions.T), axis=1)[:, 1]
    apart = np.linalg.norm(places - places[near], axis=1)
    by_chance = np.linalg.norm(places - places[::-1], axis=1)
    assert np.median(apart) < 0.3 * np.median(by_chance)


def test_rows_of_one_kind_have_places_too() -> None:
    moments = Moments(12)
    embeddings = np.ones((9, 12), np.float32)
    moments.add(embeddings)
    places, _ = make_map(embeddings, moments.metric(), 0)
    assert np.isfinite(places).all()
