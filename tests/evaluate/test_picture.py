"""A picture of a recording is to scale in print, hides no trace, shows gaps as gaps and no patient unless asked."""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ecgjepa.evaluate.paper import ecg_paper, with_derived_leads
from ecgjepa.evaluate.picture import automatic_gain, draw_recording, name_leads, save_figure, take_stretch
from ecgjepa.evaluate.shading import Shading
from ecgjepa.leads import LEADS_8, LEADS_12
from ecgjepa.signal import Recording

RATE_HZ = 500
MM_PER_PT = 25.4 / 72
SVG = "{http://www.w3.org/2000/svg}"


def make_recording(leads: tuple[str, ...] = LEADS_12, seconds: float = 10.0, size: float = 1.0) -> Recording:
    """One peak a second, of a height that differs from lead to lead, on a little noise."""
    chance = np.random.default_rng(0)
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    height = chance.uniform(-1.5, 1.8, (len(leads), 1))
    signal_mv = height * np.exp(-(((time_s % 1 - 0.2) / 0.02) ** 2)) + chance.normal(0, 0.02, (len(leads), len(time_s)))
    comments = ("Name: Jane Doe", "Age: 50")
    return Recording("rec-1", (size * signal_mv).astype(np.float32), leads, RATE_HZ, comments)


class Drawing:
    """What an SVG file shows, in mm from its upper left corner."""

    def __init__(self, file: Path) -> None:
        self.root = ElementTree.parse(file).getroot()
        self.width_mm, self.height_mm = (
            float(self.root.get(k).removesuffix("pt")) * MM_PER_PT for k in ("width", "height")
        )
        self.groups = {g.get("id"): g for g in self.root.iter(f"{SVG}g")}
        self.texts = ["".join(text.itertext()) for text in self.root.iter(f"{SVG}text")]

    @property
    def caption(self) -> list[str]:
        lines = sorted(name for name in self.groups if name and name.startswith("caption-"))
        texts = ["".join(self.groups[name].find(f".//{SVG}text").itertext()) for name in lines]
        return [text.replace("\N{NO-BREAK SPACE}", " ") for text in texts]

    def parts(self, name: str) -> list[np.ndarray]:
        """The pieces of a line, each (points, 2)."""
        drawn = self.groups[name].find(f".//{SVG}path").get("d")
        return [
            np.array(re.findall(r"[-\d.]+", piece), float).reshape(-1, 2) * MM_PER_PT for piece in drawn.split("M")[1:]
        ]


def draw(recording: Recording, folder: Path, **options) -> Drawing:
    save_figure(draw_recording(recording, **options), folder / "a.svg", overwrite=True)
    return Drawing(folder / "a.svg")


def test_a_second_is_25_mm_and_a_millivolt_10_mm_in_the_file(tmp_path: Path) -> None:
    recording = make_recording()
    recording.signal_mv[:] = 0
    recording.signal_mv[1, 1000:2000] = 1.0  # lead II, from 2 s to 4 s
    drawing = draw(recording, tmp_path)
    (trace,) = drawing.parts("trace-3-II")
    high = trace[trace[:, 1] < trace[:, 1].max() - 5]
    assert np.ptp(trace[:, 1]) == pytest.approx(10, abs=0.02)
    assert np.ptp(high[:, 0]) == pytest.approx(2 * 25 - 0.05, abs=0.05)
    assert trace[-1, 0] - trace[0, 0] == pytest.approx(250 - 0.05, abs=0.02)
    (pulse,) = drawing.parts("pulse-0")
    assert np.ptp(pulse[:, 1]) == pytest.approx(10, abs=0.02)
    assert drawing.width_mm == pytest.approx(270, abs=0.01)
    for every_mm in (1, 5):
        x = np.unique([part[0, 0] for part in drawing.parts(f"grid-{every_mm}mm") if np.ptp(part[:, 0]) < 1e-3])
        np.testing.assert_allclose(np.diff(x), every_mm, atol=0.02)


@pytest.mark.parametrize(
    ("seconds", "rows", "first"),
    [(10, 4, ["I", "aVR", "V1", "V4"]), (5, 6, ["I", "V1"]), (3.3, 12, ["I"])],
)
def test_twelve_leads_have_as_many_columns_as_leave_each_two_seconds(tmp_path, seconds, rows, first) -> None:
    drawing = draw(make_recording(), tmp_path, seconds=seconds)
    traces = [name for name in drawing.groups if name and name.startswith("trace-")]
    assert {name.split("-")[1] for name in traces} == {str(row) for row in range(rows)}
    assert [name.split("-")[2] for name in traces if name.startswith("trace-0-")] == first
    assert len({name.split("-")[2] for name in traces}) == 12
    assert len(traces) == 12 + (seconds == 10)


def test_the_stretch_asked_for_is_drawn(tmp_path: Path) -> None:
    recording = make_recording(("V1",), seconds=30)
    recording.signal_mv[0, : 12 * RATE_HZ] = 0
    recording.signal_mv[0, 12 * RATE_HZ :] = 1
    drawing = draw(recording, tmp_path, start_s=11, seconds=3.5)
    (trace,) = drawing.parts("trace-0-V1")
    assert trace[-1, 0] - trace[0, 0] == pytest.approx(3.5 * 25, abs=0.06)
    step = trace[np.argmax(trace[:, 1] < trace[0, 1] - 5), 0] - trace[0, 0]
    assert step == pytest.approx(25, abs=0.06)
    assert drawing.caption == ["rec-1", "V1 · 500 Hz · 11 to 14.5 s of 30 s"]
    assert draw(recording, tmp_path, start_s=28).caption[1] == "V1 · 500 Hz · 28 to 30 s of 30 s"
    for options, message in (
        ({"start_s": 30}, "10 s from 30 s, found 30 s"),
        ({"seconds": 0}, "0 s to draw"),
        ({"seconds": 61}, "61 s to draw, expected more than 0 and at most 60 s"),
        ({"gain_mm_per_mv": 0}, "0 mm/mV, expected 1 to 100"),
    ):
        with pytest.raises(ValueError, match=message):
            draw_recording(recording, **options)


def test_gaps_are_gaps_and_a_lead_without_signal_says_so(tmp_path: Path) -> None:
    recording = make_recording(("I", "V1", "V2"))
    recording.signal_mv[0, 1000:1500] = np.nan
    recording.signal_mv[1] = np.nan
    recording.signal_mv[2, 2000] = np.inf
    drawing = draw(recording, tmp_path)
    before, after = drawing.parts("trace-0-I")
    assert after[0, 0] - before[-1, 0] == pytest.approx(25, abs=0.15)
    assert len(drawing.parts("trace-2-V2")) == 2
    assert "V1 (no signal)" in drawing.texts
    assert {"I", "V2"} <= set(drawing.texts)


def test_the_patient_is_shown_only_if_asked(tmp_path: Path) -> None:
    recording = make_recording()
    assert "Jane" not in " ".join(draw(recording, tmp_path).texts)
    assert "Jane" not in (tmp_path / "a.svg").read_text()
    assert {"Name: Jane Doe", "Age: 50"} <= set(draw(recording, tmp_path, comments=True).texts)
    many = replace(recording, comments=tuple(f"line {k}" for k in range(40)))
    assert "and 28 more lines" in draw(many, tmp_path, comments=True).texts


@pytest.mark.parametrize(("size", "gain"), [(1, 10), (4, 5), (0.05, 20)])
def test_gain_fits_the_amplitude_and_is_written(tmp_path: Path, size: float, gain: int) -> None:
    drawing = draw(make_recording(size=size), tmp_path)
    (pulse,) = drawing.parts("pulse-0")
    assert np.ptp(pulse[:, 1]) == pytest.approx(gain, abs=0.02)
    assert f"25 mm/s · {gain} mm/mV" in drawing.texts
    assert (f"{gain} mm/mV" in drawing.caption[1]) == (gain != 10)
    assert f"25 mm/s · {gain / 2:g} mm/mV" in draw(make_recording(), tmp_path, gain_mm_per_mv=gain / 2).texts


def test_gain_is_not_decided_by_a_spike_or_by_nothing() -> None:
    recording = make_recording()
    recording.signal_mv[3, 700:702] = 30
    assert automatic_gain(recording.signal_mv) == 10
    assert automatic_gain(np.full((2, 100), np.nan, np.float32)) == 10
    assert automatic_gain(np.zeros((2, 100), np.float32)) == 10


def extents_mm(figure: Figure) -> dict[str, tuple[float, float, float, float]]:
    """Left, bottom, right and top of every text on the sheet, in its mm."""
    FigureCanvasAgg(figure).draw()
    ax = figure.axes[0]
    boxes = {}
    for text in ax.texts:
        box = text.get_window_extent().transformed(ax.transData.inverted())
        boxes[f"{text.get_text()} {box.y0:.0f}"] = (box.x0, box.y0, box.x1, box.y1)
    return boxes


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("leads", [LEADS_12, ("I", "II", "V1", "V2", "V3", "V4", "V5"), ("II",)])
def test_no_name_hides_a_trace_or_another_name_and_no_trace_is_cut(leads: tuple[str, ...], seed: int) -> None:
    chance = np.random.default_rng(seed)
    recording = make_recording(leads)
    signal_mv = recording.signal_mv * chance.uniform(0.3, 1.6, (len(leads), 1)).astype(np.float32)
    signal_mv = np.roll(signal_mv, chance.integers(500), axis=1)
    figure = draw_recording(replace(recording, signal_mv=signal_mv))
    boxes = list(extents_mm(figure).values())
    height_mm = figure.axes[0].get_ylim()[1]
    for trace in (line for line in figure.axes[0].lines if line.get_gid().startswith("trace")):
        x, y = trace.get_data()
        assert y.min() > 0
        assert y.max() < height_mm
        for left, bottom, right, top in boxes:
            assert not ((x > left) & (x < right) & (y > bottom) & (y < top)).any()
    for k, (left, bottom, right, top) in enumerate(boxes):
        assert all(right < l or r < left or top < b or t < bottom for l, b, r, t in boxes[k + 1 :])  # noqa: E741


def test_what_leaves_the_sheet_is_named() -> None:
    signal_mv = make_recording(("V1", "V2")).signal_mv
    signal_mv[0, 300] = 30
    figure = draw_recording(Recording("r", signal_mv, ("V1", "V2"), RATE_HZ))
    assert "cut off at the edge: V1" in figure.axes[0].texts[-1].get_text()


def test_limb_leads_follow_from_any_two_and_other_leads_come_last() -> None:
    lead_ii, lead_iii = np.random.default_rng(0).standard_normal((2, 50))
    found = with_derived_leads(np.stack([lead_ii, np.ones(50), lead_iii]), ["II", "vx", "III"])
    assert list(found) == ["I", "II", "III", "aVR", "aVL", "aVF", "vx"]
    np.testing.assert_allclose(found["I"], lead_ii - lead_iii)
    np.testing.assert_allclose(found["aVF"], (lead_ii + lead_iii) / 2)
    np.testing.assert_array_equal(found["II"], lead_ii)


def test_names_are_standard_and_distinct() -> None:
    assert name_leads(("MLII", "lead V1", "II", "Resp", "Resp", " ")) == ("II", "V1", "II #2", "Resp", "Resp #2", "?")


class TestShading:
    VALUES = np.array([[1.0, -2.0, np.nan, 0.5], [0.0, 0.1, 0.2, 2.0]])

    def figure(self, **changes) -> Figure:
        options = {
            "leads": ("II", "V1"),
            "seconds": 0.4,
            "label": "points",
            "start_s": 0.2,
            "diverging": True,
        } | changes
        recording = make_recording(LEADS_12, seconds=2)
        return draw_recording(recording, shading=Shading(self.VALUES, **options), notes=["a note"])

    def boxes(self, figure: Figure) -> dict:
        return {p.get_gid(): p for p in figure.axes[0].patches if (p.get_gid() or "").startswith("shade")}

    def test_boxes_cover_their_stretch_in_their_lead_only(self) -> None:
        figure = self.figure()
        boxes = self.boxes(figure)
        assert set(boxes) == {f"shade-{name}" for name in ("II-0", "II-1", "II-3", "V1-0", "V1-1", "V1-2", "V1-3")}
        zero = {line.get_gid(): line.get_ydata()[0] for line in figure.axes[0].lines}
        for name, box in boxes.items():
            _, lead, number = name.split("-")
            area = box.get_bbox()
            np.testing.assert_allclose(
                [area.x0, area.x1], 15 + 25 * (0.2 + 0.4 * np.array([int(number), int(number) + 1]))
            )
            assert area.y0 < zero[f"pulse-{('II', 'V1').index(lead)}"] < area.y1
        assert boxes["shade-II-0"].get_bbox().y0 == boxes["shade-V1-0"].get_bbox().y1
        assert [line.get_gid() for line in figure.axes[0].lines if "trace" in line.get_gid()] == [
            "trace-0-II",
            "trace-1-V1",
        ]

    def test_colours_keep_the_order_and_zero_is_the_sheet(self) -> None:
        boxes = self.boxes(self.figure())
        alpha = {name: box.get_facecolor()[3] for name, box in boxes.items()}
        assert alpha["shade-V1-0"] < 0.02
        assert alpha["shade-II-3"] < alpha["shade-II-0"] < alpha["shade-V1-3"]
        against, speaks_for = boxes["shade-II-1"].get_facecolor(), boxes["shade-V1-3"].get_facecolor()
        assert against[2] > against[0]
        assert speaks_for[0] > speaks_for[2]

        boxes = self.boxes(self.figure(diverging=False))
        alpha = {name: box.get_facecolor()[3] for name, box in boxes.items()}
        rising = ["II-1", "V1-0", "V1-1", "V1-2", "II-3", "II-0", "V1-3"]
        assert sorted(alpha, key=alpha.__getitem__) == [f"shade-{name}" for name in rising]
        assert (alpha["shade-II-1"], alpha["shade-V1-3"]) == (0, pytest.approx(0.75))

    def test_small_differences_do_not_fill_the_scale(self) -> None:
        even = Shading(np.array([[1.0, 0.99]]), ("II",), 0.2, "x")
        colours, norm = even.colours
        assert colours(norm(0.99))[3] == pytest.approx(colours(norm(1.0))[3], abs=0.06)
        assert (norm.vmin, norm.vmax) == (0.8, 1.0)
        assert Shading(np.zeros((1, 2)), ("II",), 0.2, "x", diverging=True).colours[1].vmax == 1

    def test_scale_stands_below_the_sheet_and_caption_above(self, tmp_path: Path) -> None:
        figure = self.figure()
        FigureCanvasAgg(figure).draw()
        sheet, scale = (ax.get_window_extent() for ax in figure.axes)
        everything = figure.axes[1].get_tightbbox()
        assert everything.y1 < sheet.y0
        assert everything.y0 > 0
        assert 0 < everything.x0 < everything.x1 < figure.bbox.x1
        assert all(text.get_window_extent().y0 > sheet.y1 for text in figure.texts)
        assert max(text.get_window_extent().x1 for text in figure.texts) < figure.bbox.x1
        assert sheet.height / figure.dpi * 25.4 == pytest.approx(figure.axes[0].get_ylim()[1])
        assert scale.width > 0
        save_figure(figure, tmp_path / "a.svg")
        texts = Drawing(tmp_path / "a.svg").texts
        assert {"rec-1", "a note", "points"} <= set(texts)
        assert "+2" in texts

    def test_a_lead_that_was_derived_for_the_encoder_is_drawn(self) -> None:
        recording = make_recording(("II", "III", "V1"), seconds=2)
        figure = draw_recording(recording, shading=Shading(np.ones((2, 2)), ("I", "V1"), 1.0, "x"))
        drawn = {line.get_gid(): line.get_ydata() for line in figure.axes[0].lines}
        expected = 10 * (recording.signal_mv[0] - recording.signal_mv[1])
        np.testing.assert_allclose(np.diff(drawn["trace-0-I"]), np.diff(expected), atol=1e-4)


class TestFiles:
    @pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
    def test_the_same_picture_is_the_same_file_and_nothing_is_overwritten(self, tmp_path: Path, suffix: str) -> None:
        recording = replace(make_recording(seconds=2), name="$x$ & 心電図 <b>")
        for name in ("a", "b"):
            save_figure(draw_recording(recording), tmp_path / f"{name}.{suffix}")
        first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("a", "b"))
        assert first == second
        assert b"Matplotlib v" not in first
        with pytest.raises(FileExistsError, match="--overwrite replaces it"):
            save_figure(draw_recording(recording), tmp_path / f"a.{suffix}")
        save_figure(draw_recording(recording, seconds=1), tmp_path / f"a.{suffix}", overwrite=True)
        assert (tmp_path / f"a.{suffix}").read_bytes() != first
        assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.{suffix}", f"b.{suffix}"]

    def test_png_knows_its_size_in_print(self, tmp_path: Path) -> None:
        from matplotlib.image import imread

        save_figure(draw_recording(make_recording(("II",), seconds=10)), tmp_path / "a.png")
        content = (tmp_path / "a.png").read_bytes()
        place = content.index(b"pHYs") + 4
        dots_per_m = int.from_bytes(content[place : place + 4], "big")
        assert imread(tmp_path / "a.png").shape[1] / dots_per_m * 1000 == pytest.approx(270, abs=0.2)

    def test_other_formats_and_folders_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"pictures are \.png, \.svg, \.pdf"):
            save_figure(draw_recording(make_recording(seconds=1)), tmp_path / "a.jpg")
        with pytest.raises(FileNotFoundError, match="there is no folder"):
            save_figure(draw_recording(make_recording(seconds=1)), tmp_path / "none" / "a.png")

    def test_svg_of_noise_at_1000_hz_is_below_2_mb(self, tmp_path: Path) -> None:
        signal_mv = np.random.default_rng(0).normal(0, 0.3, (8, 10_000)).astype(np.float32)
        shading = Shading(np.random.default_rng(1).standard_normal((8, 50)), LEADS_8, 0.2, "x", diverging=True)
        figure = ecg_paper(signal_mv, LEADS_8, 1000, shading=shading)
        save_figure(figure, tmp_path / "a.svg")
        assert (tmp_path / "a.svg").stat().st_size < 2_000_000


def test_a_stretch_is_a_view_of_the_recording() -> None:
    recording = make_recording(seconds=3)
    stretch = take_stretch(recording, 1.0, 10.0)
    assert stretch.signal_mv.shape == (12, 1000)
    assert (stretch.name, stretch.leads) == (recording.name, recording.leads)
    np.testing.assert_array_equal(stretch.signal_mv, recording.signal_mv[:, 500:])


@pytest.mark.real_data
def test_a_real_record_of_500_hz_is_drawn_whole(real_data_dir: Path, tmp_path: Path) -> None:
    from ecgjepa.data.readers import read

    header = min((real_data_dir / "ptbxl" / "records500").rglob("*.hea"))
    figure = draw_recording(read(header))
    assert [len(line.get_xdata()) for line in figure.axes[0].lines if line.get_gid() == "trace-3-II"] == [5000]
    assert figure.axes[0].texts[-1].get_text() == "25 mm/s · 10 mm/mV"
    save_figure(figure, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size < 500_000
