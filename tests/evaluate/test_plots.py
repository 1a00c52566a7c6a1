"""The figures say what the numbers say: the paper is to scale, curves have the areas, no record is lost on the map."""

import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from sklearn.metrics import roc_auc_score

from ecgjepa.evaluate.class_curves import roc_curves
from ecgjepa.evaluate.paper import ecg_paper
from ecgjepa.evaluate.plots import (
    MAX_LOSS_POINTS,
    embedding_map,
    interval_plot,
    loss_curve,
    segments,
    to_svg,
)
from ecgjepa.evaluate.training_plots import coverage_bars, evaluation_panels, measured
from ecgjepa.leads import LEADS_8

RATE_HZ = 250
MM_PER_INCH = 25.4


def line(figure: Figure, name: str) -> Line2D:
    found = [each for ax in figure.axes for each in ax.lines if each.get_gid() == name]
    assert len(found) == 1, f"{len(found)} lines are called {name}"
    return found[0]


def on_sheet_mm(figure: Figure, artist: Line2D | PathPatch) -> np.ndarray:
    """Where a line lies on the printed sheet, in mm from its lower left corner."""
    path = artist.get_path().vertices if isinstance(artist, PathPatch) else artist.get_xydata()
    return artist.get_transform().transform(path) / figure.dpi * MM_PER_INCH


@pytest.fixture
def signal_mv() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.3, (8, 2500)).astype(np.float32)


class TestEcgPaper:
    def test_one_second_is_25_mm_and_one_millivolt_10_mm(self, signal_mv: np.ndarray) -> None:
        signal_mv[1] = 0
        signal_mv[1, 500:600] = 1.0  # lead II, from 2.0 s
        figure = ecg_paper(signal_mv, LEADS_8, RATE_HZ)
        x_mm, y_mm = on_sheet_mm(figure, line(figure, "trace-3-II")).T
        assert x_mm[750] - x_mm[500] == pytest.approx(25.0, abs=1e-6)
        assert y_mm[550] - y_mm[400] == pytest.approx(10.0, abs=1e-6)

    def test_calibration_pulse_is_1_mv_and_200_ms(self, signal_mv: np.ndarray) -> None:
        figure = ecg_paper(signal_mv, LEADS_8, RATE_HZ)
        for row in range(4):
            x_mm, y_mm = on_sheet_mm(figure, line(figure, f"pulse-{row}")).T
            assert np.ptp(y_mm) == pytest.approx(10.0)
            assert np.ptp(x_mm[y_mm > y_mm.min() + 5]) == pytest.approx(5.0)

    def test_grid_has_lines_every_1_and_every_5_mm(self, signal_mv: np.ndarray) -> None:
        figure = ecg_paper(signal_mv, LEADS_8, RATE_HZ)
        grids = [patch for patch in figure.axes[0].patches if isinstance(patch, PathPatch)]
        for grid, every_mm in zip(grids, (1.0, 5.0), strict=True):
            lines_mm = on_sheet_mm(figure, grid).reshape(-1, 2, 2)
            for axis in (0, 1):  # lines that stand at one x, lines that lie at one y
                place = lines_mm[np.ptp(lines_mm[:, :, axis], axis=1) < 1e-6, 0, axis]
                np.testing.assert_allclose(np.diff(place), every_mm, atol=1e-6)

    def test_svg_keeps_the_size(self, signal_mv: np.ndarray) -> None:
        svg = to_svg(ecg_paper(signal_mv, LEADS_8, RATE_HZ), "ecg", "an ECG")
        width_pt = float(re.search(r'width="([\d.]+)pt"', svg)[1])
        assert width_pt / 72 * MM_PER_INCH == pytest.approx(15 + 250 + 5, abs=1e-3)

    def test_hidden_patches_cover_their_samples_and_no_others(self, signal_mv: np.ndarray) -> None:
        figure = ecg_paper(signal_mv, LEADS_8, RATE_HZ, [7, 3, 4, 49], patch_seconds=0.2)
        boxes = {p.get_gid(): p.get_bbox() for p in figure.axes[0].patches if (p.get_gid() or "").startswith("hidden")}
        assert set(boxes) == {"hidden-3-4", "hidden-7-7", "hidden-49-49"}
        x_mm = line(figure, "trace-3-II").get_xdata()
        covered = np.zeros(2500, dtype=bool)
        for box in boxes.values():
            covered |= (x_mm >= box.x0 - 1e-6) & (x_mm < box.x1 - 1e-6)
        expected = np.isin(np.arange(2500) // 50, [3, 4, 7, 49])
        np.testing.assert_array_equal(covered, expected)

    def test_twelve_leads_of_which_four_are_derived(self, signal_mv: np.ndarray) -> None:
        figure = ecg_paper(signal_mv, LEADS_8, RATE_HZ)
        lead_i, lead_ii = signal_mv[0], signal_mv[1]
        expected_mv = {
            "2-III": (lead_ii - lead_i, 0),
            "0-aVR": (-(lead_i + lead_ii) / 2, 625),
            "1-aVL": (lead_i - lead_ii / 2, 625),
            "2-aVF": (lead_ii - lead_i / 2, 625),
            "0-V1": (signal_mv[2], 1250),
            "2-V6": (signal_mv[7], 1875),
        }
        for name, (mv, start) in expected_mv.items():
            x_mm, y_mm = line(figure, f"trace-{name}").get_data()
            assert x_mm[0] == pytest.approx(15 + start / RATE_HZ * 25)
            np.testing.assert_allclose(np.diff(y_mm), 10 * np.diff(mv[start : start + 625]), atol=1e-4)
        names = [text.get_text() for text in figure.axes[0].texts]
        assert sorted(names[:13]) == sorted([*LEADS_8, "III", "aVR", "aVL", "aVF", "II"])

    def test_fewer_leads_have_one_full_row_each(self, signal_mv: np.ndarray) -> None:
        figure = ecg_paper(signal_mv[[1, 2]], ["II", "V1"], RATE_HZ)
        assert [len(line(figure, f"trace-{row}").get_xdata()) for row in ("0-II", "1-V1")] == [2500, 2500]


def metrics(rows: int) -> pd.DataFrame:
    step = np.arange(1, rows + 1) * 20
    loss = np.linspace(0.5, 0.06, rows)
    return pd.DataFrame({"step": step, "epoch": step / 100, "loss": loss, "lr": 1e-4, "momentum": 0.996})


def test_loss_curve_shows_every_row_of_a_short_log() -> None:
    table = metrics(40)
    np.testing.assert_allclose(line(loss_curve(table), "loss-line").get_ydata(), table["loss"])


def test_loss_curve_of_a_long_log_keeps_means_and_extremes() -> None:
    table = metrics(6_000)
    table.loc[3_000, "loss"] = 9.0
    figure = loss_curve(table)
    drawn = line(figure, "loss-line").get_ydata()
    assert len(drawn) == MAX_LOSS_POINTS
    assert drawn.mean() == pytest.approx(table["loss"].mean())
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == 9.0


@pytest.mark.parametrize("loss", [[0.5], [0.5, np.nan, 0.4], [np.nan]])
def test_loss_curve_draws_what_is_finite(loss: list[float]) -> None:
    table = metrics(len(loss)).assign(loss=loss)
    figure = loss_curve(table)
    np.testing.assert_array_equal(line(figure, "loss-line").get_ydata(), [x for x in loss if np.isfinite(x)])
    assert "<svg" in to_svg(figure, "loss", "loss")


def test_panels_show_what_was_measured_the_auc_first() -> None:
    table = pd.DataFrame({"step": [0, 100, 200], "epoch": [0.0, 1, 2], "seconds": [0.0, 5, 10]})
    table = table.assign(unknown=3.0, rankme_tokens=[9.0, 8, 7], probe_auc=[np.nan, 0.6, 0.7], empty=np.nan)
    assert measured(table) == ["probe_auc", "rankme_tokens", "unknown"]
    figure = evaluation_panels(table, alarm_steps=[150])
    assert [ax.get_title("left") for ax in figure.axes] == ["AUC of the online probe", "RankMe, tokens", "Unknown"]
    auc = line(figure, "probe_auc-line")
    assert (list(auc.get_xdata()), list(auc.get_ydata())) == ([100, 200], [0.6, 0.7])
    assert all(len(ax.lines) == 2 for ax in figure.axes)


def test_coverage_has_a_bar_for_each_patch_in_seconds() -> None:
    shares = np.linspace(0.2, 0.8, 50)
    [ax] = coverage_bars(list(shares), 0.2).axes
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], shares)
    assert ax.patches[-1].get_x() == pytest.approx(9.8)
    assert ax.get_ylim() == (0, 1)


@pytest.fixture
def predictions() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    label_RC = rng.random((300, 3)) < [0.5, 0.2, 0.1]
    label_RC[:, 2] = False  # a class that no test record has
    good_RC = np.clip(0.5 * label_RC + rng.random((300, 3)) / 2, 0, 1)
    return label_RC, good_RC, rng.random((300, 3))


def test_roc_curves_have_the_area_that_is_written_beside_them(
    predictions: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    label_RC, good_RC, chance_RC = predictions
    figure = roc_curves(label_RC, {"pretrained": good_RC, "random weights": chance_RC}, ["A", "B", "C"])
    assert [ax.get_title("left") for ax in figure.axes] == ["Mean of the classes", "A", "B"]
    for model, probability_RC in (("pretrained", good_RC), ("random weights", chance_RC)):
        area = [roc_auc_score(label_RC[:, c], probability_RC[:, c]) for c in (0, 1)]
        for c, expected, ax in zip((-1, 0, 1), (np.mean(area), *area), figure.axes, strict=True):
            curve = line(figure, f"roc-{model}-{c}")
            drawn = np.trapezoid(curve.get_ydata(), curve.get_xdata())
            assert drawn == pytest.approx(expected, abs=2e-3)
            assert f"{model} {expected:.3f}" in [text.get_text() for text in ax.texts]


def test_roc_curves_of_many_classes_show_the_most_frequent() -> None:
    rng = np.random.default_rng(0)
    label_RC = rng.random((400, 30)) < np.linspace(0.05, 0.6, 30)
    names = [f"class {c}" for c in range(30)]
    figure = roc_curves(label_RC, {"pretrained": rng.random((400, 30))}, names)
    frequent = set(np.argsort(-label_RC.sum(axis=0))[:11])
    assert [ax.get_title("left") for ax in figure.axes][1:] == [names[c] for c in range(30) if c in frequent]


def test_interval_plot_leaves_out_what_is_undefined() -> None:
    nothing = (np.nan, np.nan, np.nan)
    scores = {
        "Macro": {"pretrained": (0.8, 0.7, 0.9)},
        "X": {"pretrained": nothing},
        "Y": {"pretrained": (0.6, 0.5, 0.7)},
    }
    figure = interval_plot(scores, "AUC", chance=0.5)
    np.testing.assert_array_equal(line(figure, "values-pretrained").get_xdata(), [0.8, 0.6])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["Macro", "X", "Y"]


def points(ax: matplotlib.axes.Axes) -> int:
    return sum(len(patch.get_path().vertices) // 2 for patch in ax.patches)


def test_embedding_map_shows_every_record_once_and_in_the_panel_of_each_of_its_labels() -> None:
    place_R2 = np.random.default_rng(0).normal(size=(200, 2))
    labels = [[["A"], ["B"], ["A", "B"], []][r % 4] for r in range(200)]
    overview, panel_a, panel_b, *rest = embedding_map(place_R2, labels, ["A", "B"]).axes
    assert points(overview) == 200
    for panel in (panel_a, panel_b):
        others, carriers = panel.patches
        assert (len(others.get_path().vertices) // 2, len(carriers.get_path().vertices) // 2) == (100, 100)
    assert not rest


def test_embedding_map_of_many_classes_shows_the_six_most_frequent() -> None:
    labels = [[f"c{min(r % 10, r % 7)}"] for r in range(300)]
    figure = embedding_map(np.random.default_rng(0).normal(size=(300, 2)), labels, [f"c{c}" for c in range(10)])
    titles = [ax.get_title("left").split()[0] for ax in figure.axes]
    assert titles == ["All", "c0", "c1", "c2", "c3", "c4", "c5"]


def test_segments_are_one_path() -> None:
    patch = segments(np.array([[[0.0, 0], [1, 1]], [[2, 2], [2, 2]]]))
    assert len(patch.get_path().vertices) == 4


class TestSvg:
    def test_is_self_contained_and_its_ids_are_its_own(self) -> None:
        first, second = (to_svg(loss_curve(metrics(9)), name, "loss") for name in ("one", "two"))
        ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (first, second)]
        assert ids[0]
        assert not ids[0] & ids[1]
        for svg, name in ((first, "one"), (second, "two")):
            targets = re.findall(r'href="([^"]+)"|url\(([^)]+)\)', svg)
            assert targets
            assert all("".join(target).startswith(f"#{name}-") for target in targets)
            without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]+"', "", svg)
            assert "http" not in without_namespaces

    def test_is_the_same_every_time(self) -> None:
        assert to_svg(loss_curve(metrics(9)), "x", "loss") == to_svg(loss_curve(metrics(9)), "x", "loss")

    def test_colours_are_variables_of_the_page(self) -> None:
        svg = to_svg(loss_curve(metrics(9)), "x", "loss")
        assert "var(--series-0, #0072b2)" in svg
        assert not re.findall(r"(?<!, )#(?:0072b2|1f2428|68707a|d4d9df)", svg)

    @pytest.mark.parametrize("name", ["<script>x</script>", "$\\frac{1$", "心房細動", 'a"b&c'])
    def test_any_label_is_plain_text(self, name: str) -> None:
        svg = to_svg(interval_plot({name: {"pretrained": (0.5, 0.4, 0.6)}}, "AUC"), "x", name)
        assert "<script" not in svg
        shown = re.search(r'aria-label="([^"]*)"', svg)[1]
        assert shown == name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def test_figures_leave_the_settings_of_matplotlib_alone() -> None:
    before = dict(matplotlib.rcParams)
    to_svg(loss_curve(metrics(9)), "x", "loss")
    assert dict(matplotlib.rcParams) == before
