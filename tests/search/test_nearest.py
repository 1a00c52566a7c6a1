"""What is found is what NumPy finds by comparing with every row; also of filters, and by the engine.

Axes: Q queries, K neighbours, R rows, D width.
"""

from pathlib import Path

import numpy as np
import pytest

import ecgjepa.search.build
import ecgjepa.search.index
from ecgjepa.search import NO_FILTERS, Filters, Neighbours, SearchIndex, build_index
from ecgjepa.search.tuning import recall_of
from tests.search.conftest import draw, known, write_embeddings

ROWS, QUERIES_QD = 1200, draw(40, seed=5)


@pytest.fixture(scope="module")
def embeddings_RD() -> np.ndarray:
    return draw(ROWS)


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory, embeddings_RD: np.ndarray) -> SearchIndex:
    return _build(tmp_path_factory.mktemp("exact"), embeddings_RD)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, embeddings_RD: np.ndarray) -> SearchIndex:
    """The same rows with an engine, which so few would not get."""
    pytest.importorskip("faiss")
    patch = pytest.MonkeyPatch()
    for module in (ecgjepa.search.build, ecgjepa.search.index):
        patch.setattr(module, "EXACT_VALUES", 150 * 12)
    yield _build(tmp_path_factory.mktemp("engine"), embeddings_RD)
    patch.undo()


def _build(folder: Path, embeddings_RD: np.ndarray) -> SearchIndex:
    table = write_embeddings(folder / "e.parquet", embeddings_RD, **known(ROWS))
    return build_index(table, folder / "index", project=False, progress=False)


def by_numpy(embeddings_RD: np.ndarray, k: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Rows (Q, K) and distances, in float64."""
    mean, scale = embeddings_RD.mean(0, np.float64), embeddings_RD.std(0, dtype=np.float64)
    rows, queries = (embeddings_RD - mean) / scale, (QUERIES_QD - mean) / scale
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(rows, axis=1)
    distances = 1 - queries @ rows.T / lengths
    if allowed is not None:
        distances[:, ~allowed] = np.inf
    order = np.argsort(distances, axis=1)[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


def test_exact_search_is_that_of_numpy(exact: SearchIndex, embeddings_RD: np.ndarray) -> None:
    assert exact.info["engine"] is None
    found = exact.nearest(QUERIES_QD, 10)
    rows, distances = by_numpy(embeddings_RD, 10)
    np.testing.assert_array_equal(found.rows_QK, rows)
    np.testing.assert_allclose(found.distances_QK, distances, atol=2e-6)
    np.testing.assert_array_equal(exact.embeddings(rows[0]), embeddings_RD[rows[0]])


def test_the_engine_finds_the_same(engine: SearchIndex, embeddings_RD: np.ndarray) -> None:
    assert engine.info["engine"]["name"] == "faiss"
    assert engine.info["engine"]["recall_at_10"] >= 0.99
    found = engine.nearest(QUERIES_QD, 10)
    rows, distances = by_numpy(embeddings_RD, 10)
    assert recall_of(found.rows_QK, rows) >= 0.98
    same = found.rows_QK == rows
    np.testing.assert_allclose(found.distances_QK[same], distances[same], atol=2e-6)


@pytest.mark.parametrize("which", ["exact", "engine"])
@pytest.mark.parametrize(
    ("filters", "allow"),
    [
        (Filters(labels=("MI", "CD")), lambda k: k % 5 and k % 3 > 0),
        (Filters(labels=("NORM",), sexes=("female",)), lambda k: k % 5 and k % 3 == 0 and k % 2 == 0),
        (Filters(sources=("two",), age_min=40, age_max=60), lambda k: k % 5 and k >= ROWS // 2 and 20 <= k % 60 <= 40),
        (Filters(labels=("RARE",)), lambda k: k % 100 == 7),  # exact in both: few rows
    ],
)
def test_filters(
    which: str, filters: Filters, allow: object, embeddings_RD: np.ndarray, request: pytest.FixtureRequest
) -> None:
    index: SearchIndex = request.getfixturevalue(which)
    allowed = np.array([bool(allow(k)) for k in range(ROWS)])  # type: ignore[operator]
    rows, _ = by_numpy(embeddings_RD, 10, allowed)
    found = index.nearest(QUERIES_QD, 10, filters=filters)
    assert allowed[found.rows_QK].all()
    assert index.find("", filters)[1] == allowed.sum()
    if which == "exact" or allowed.sum() < 100:
        np.testing.assert_array_equal(found.rows_QK, rows)
    else:
        assert recall_of(found.rows_QK, rows) >= 0.97


@pytest.mark.parametrize("which", ["exact", "engine"])
@pytest.mark.parametrize("count", [1, 300])
def test_rows_are_left_out(which: str, count: int, request: pytest.FixtureRequest, embeddings_RD: np.ndarray) -> None:
    index: SearchIndex = request.getfixturevalue(which)
    itself = index.nearest(embeddings_RD[:1], 1)
    assert itself.rows_QK.item() == 0
    assert itself.distances_QK.item() == pytest.approx(0, abs=1e-6)
    left_out = list(range(count))
    found = index.nearest(embeddings_RD[:1], 10, leave_out=left_out)
    assert not set(found.rows_QK[0].tolist()) & set(left_out)
    assert (np.diff(found.distances_QK) >= 0).all()


def test_fewer_rows_than_wanted(exact: SearchIndex) -> None:
    found = exact.nearest(QUERIES_QD[:1], 20, filters=Filters(labels=("RARE",)))
    there = found.rows_QK[0] >= 0
    assert there.sum() == 12
    assert np.isnan(found.distances_QK[0][~there]).all()
    assert there[:12].all()


def test_k_may_be_none_and_more_than_all(tmp_path: Path) -> None:
    few = build_index(
        write_embeddings(tmp_path / "e.parquet", draw(3)), tmp_path / "index", project=False, progress=False
    )
    assert few.nearest(QUERIES_QD[:2], 0).rows_QK.shape == (2, 0)
    assert sorted(few.nearest(QUERIES_QD[:1], 5).rows_QK[0].tolist()) == [-1, -1, 0, 1, 2]


@pytest.mark.usefixtures("unchecked")
def test_wrong_questions_are_refused_by_name(exact: SearchIndex) -> None:
    with pytest.raises(ValueError, match=r"expected \(queries, 12\)"):
        exact.nearest(np.zeros((1, 5), np.float32), 3)
    with pytest.raises(ValueError, match="not finite"):
        exact.nearest(np.full((1, 12), np.nan, np.float32), 3)
    with pytest.raises(ValueError, match="label 'AFIB' is not in the index, expected one of: CD, MI, NORM, RARE"):
        exact.nearest(QUERIES_QD, 3, filters=Filters(labels=("AFIB",)))
    with pytest.raises(ValueError, match="age_min 60 is above age_max 40"):
        Filters(age_min=60, age_max=40)
    with pytest.raises(ValueError, match="k: found 5000"):
        exact.nearest(QUERIES_QD, 5000)
    with pytest.raises(IndexError, match="row 1200 of an index of 1200 rows"):
        exact.records([1200])
    with pytest.raises(IndexError, match="row -1 of an index"):
        exact.nearest(QUERIES_QD, 3, leave_out=[-1])


def test_vectors_and_cells_stay_on_disk(engine: SearchIndex) -> None:
    opened = SearchIndex.open(engine.folder)
    assert isinstance(opened._vectors_RD, np.memmap)
    assert not opened._vectors_RD.flags.writeable
    assert str(engine.folder / "engine.faiss") in Path("/proc/self/maps").read_text()


def test_rows_groups_and_colours(exact: SearchIndex) -> None:
    row = exact.records([7])[0]
    assert (row.row, row.record, row.labels, row.age, row.sex) == (7, "r00007", ("MI", "RARE"), 27.0, "male")
    assert (row.store_row, row.source, row.path) == (None, "one", "files/r00007.hea")
    nothing = exact.records([5])[0]
    assert (nothing.labels, nothing.age, nothing.sex) == ((), None, None)
    assert exact.find("R0011") == ([*range(110, 120)], 10)
    assert exact.find("R0011", NO_FILTERS, 3, 2) == ([113, 114], 10)
    group = exact.describe([5, 6, 7, 8, 8, 11])
    assert (group.count, group.sexes, group.sources) == (5, {"female": 2, "male": 2}, {"one": 5})
    assert [(each.label, each.count) for each in group.labels] == [("CD", 2), ("MI", 1), ("NORM", 1), ("RARE", 1)]
    assert group.labels[0].of_all == dict(exact.label_counts)["CD"] == 320
    assert group.age_quartiles == pytest.approx((26.75, 27.5, 28.75))
    colours = exact.colours("label")
    assert colours.names is not None
    assert colours.codes is not None
    assert colours.codes[5] == -1
    assert colours.names[colours.codes[7]] == "MI"
    assert exact.colours("age").values[:2] == [None, 21.0]


def test_place_and_polygon(tmp_path: Path) -> None:
    table = write_embeddings(tmp_path / "e.parquet", draw(40))
    index = build_index(table, tmp_path / "index", progress=False, seed=3)
    again = build_index(table, tmp_path / "again", progress=False, seed=3)
    places = index.places_R2
    np.testing.assert_array_equal(places, again.places_R2)
    (left, low), (right, high) = places.min(axis=0) - 1, places.max(axis=0) + 1
    middle = float(np.median(places[:, 0]))
    half = np.array([[left, low], [middle, low], [middle, high], [left, high]])
    np.testing.assert_array_equal(index.inside(half), np.flatnonzero(places[:, 0] < middle))
    triangle = np.array([[left, low], [right, low], [left, high]])
    x, y = (places - [left, low]).T / np.array([[right - left], [high - low]])
    np.testing.assert_array_equal(index.inside(triangle), np.flatnonzero(x + y < 1))
    with pytest.raises(ValueError, match="2 corners"):
        index.inside(half[:2])
    found = Neighbours(np.array([[1, 3, -1], [-1, -1, -1]]), np.zeros((2, 3), np.float32))
    np.testing.assert_allclose(index.place_of(found)[0], places[[1, 3]].mean(axis=0), rtol=1e-5)
    assert np.isnan(index.place_of(found)[1]).all()
