"""What an index is made of; tables and stores that do not fit are refused by name."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ecgjepa.search import IndexFolderError
from ecgjepa.search.mapping import make_map
from ecgjepa.search.metric import Moments
from tests.search.conftest import ABOUT, build, draw, write_embeddings
from tests.search.stores import write_store


def test_what_stores_know(tmp_path: Path) -> None:
    """A row's own store comes first, then the stores that are given, by the record's name; paths may be anywhere."""
    one = write_store(tmp_path / "one", ["a", "b"], {"superdiagnostic": [["MI"], None], "all": [["X"], ["Y"]]}, "one")
    two = write_store(tmp_path / "two", ["c", "d", "a"], {"rhythm": [["AFIB", "LBBB"], [], ["SR"]]}, "two")
    paths = [str(one), str(one), "lost/c.hea", "e.hea", "many.npy"]
    records, numbers = ["b", f"{one}[0]", "c", "e", "called[9]"], [1, 0, None, None, 3]
    about = {**ABOUT, "options": {"layer": 3}}
    table = write_embeddings(tmp_path / "e.parquet", draw(5), about, record=records, path=paths, row=numbers)
    index = build(table, stores=[two])
    found = [(row.record, row.path, row.store_row, row.file_row, row.labels) for row in index.records(range(5))]
    assert found == [
        ("b", str(one), 1, None, ()),
        (f"{one}[0]", str(one), 0, None, ("MI",)),  # so called because another input has an "a" too
        ("c", str(two), 0, None, ("AFIB", "LBBB")),
        ("e", "e.hea", None, None, ()),
        ("called[9]", "many.npy", None, 3, ()),
    ]
    assert [row.source for row in index.records(range(5))] == ["one", "one", "two", None, None]
    assert index.level == "rhythm, superdiagnostic"
    assert index.info["rows_unknown"] == 2
    assert (index.weights_sha256, index.contract, index.layer) == (ABOUT["weights_sha256"], ABOUT["contract"], 3)
    with pytest.raises(IndexFolderError, match=r"no labels of level .form., found (rhythm|superdiagnostic, all)"):
        build(table, stores=[two], level="form", overwrite=True)


def test_stores_that_disagree(tmp_path: Path) -> None:
    one = write_store(tmp_path / "one", ["a", "b"], {"all": [["X"], ["Y"]]}, "one")
    two = write_store(tmp_path / "two", ["b"], {"all": [["X"]]}, "two")
    by_name = write_embeddings(tmp_path / "e.parquet", draw(2), record=["a", "b"])
    with pytest.raises(IndexFolderError, match=r"record b is in store .*one and in store .*two"):
        build(by_name, stores=[one, two])
    changed = tmp_path / "changed.parquet"
    for record, row, message in (
        ("a", 1, r"a: row 1 of store .*one is b; it has changed"),
        ("x[1]", 1, r"x\[1\]: row 1 of store .*one is b; it has changed"),
        ("b", 2, "b: row 2 of store .*one, which has 2 rows; it has changed"),
    ):
        write_embeddings(changed, draw(2), record=["b", record], path=[str(one)] * 2, row=[1, row])
        with pytest.raises(IndexFolderError, match=message):
            build(changed)


def test_a_table_tells_of_rows_that_no_store_knows(tmp_path: Path) -> None:
    columns = {"labels": pa.array(["MI;CD", "", None]), "age": pa.array([60, None, None])}
    index = build(write_embeddings(tmp_path / "e.parquet", draw(3), **columns))
    assert [(row.labels, row.age) for row in index.records(range(3))] == [(("MI", "CD"), 60.0), ((), None), ((), None)]
    assert index.info["rows_unknown"] == 2
    assert index.level is None


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
    monkeypatch.setattr("ecgjepa.search.mapping.LANDMARKS", 50)
    embeddings, moments = draw(200), Moments(12)
    moments.add(embeddings)
    metric = moments.metric()
    places, about = make_map(embeddings, metric, 0)
    assert about["landmarks"] == 50
    assert np.isfinite(places).all()
    assert len(np.unique(places, axis=0)) == 200
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
