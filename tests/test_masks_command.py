"""`ecgjepa masks`: what masks hide, in numbers and as a picture."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.image import imread

from ecgjepa.cli import main
from ecgjepa.config import MaskConfig, load_config
from ecgjepa.evaluate.mask_plots import coverage_figure, mask_numbers, mask_raster, masked_sheets
from ecgjepa.train.inputs import masks_of_step
from ecgjepa.train.mask_sample import expected_coverage, length_probabilities, sample_masks
from tests.data.stores import write_store

SVG = "{http://www.w3.org/2000/svg}"


def masks(*arguments: object) -> str:
    result = CliRunner().invoke(main, ["masks", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def failed(*arguments: object) -> str:
    result = CliRunner().invoke(main, ["masks", *map(str, arguments)])
    assert result.exit_code == 1, result.output
    return result.output


def ids(file: Path) -> set[str]:
    return {name for each in ElementTree.parse(file).iter() if (name := each.get("id"))}


def test_a_picture_of_every_kind(tmp_path: Path) -> None:
    svg, png, page = (tmp_path / f"masks.{suffix}" for suffix in ("svg", "png", "html"))
    said = masks("--config", "multiblock", "--out", svg)
    assert "as the released code draws them" in said
    assert "2,000 masks of 50 patches hide 54.8%" in said
    found = ids(svg)
    assert {"sheet-0-trace-0-I", "sheet-3-trace-0-II", "coverage-expected", "raster-raster"} <= found
    hidden = masks_of_step(load_config("multiblock"), 50, 0).hidden_KBH[0, 0].numpy()
    boxes = [name.split("-")[-2:] for name in found if name.startswith("sheet-0-hidden-")]
    assert sorted(k for first, last in boxes for k in range(int(first), int(last) + 1)) == hidden.tolist()
    assert "var(" not in svg.read_text()
    assert ElementTree.parse(svg).getroot().tag == f"{SVG}svg"
    assert len(ElementTree.parse(svg).getroot().findall(f"{SVG}svg")) == 6

    masks("--out", png)
    pixels = imread(png)
    assert pixels.shape[0] > pixels.shape[1] > 1000
    assert pixels[0, 0, :3].tolist() == [1, 1, 1]

    masks("--out", page, "--mask-type", "block", "--mask-scope", "record", "--masks-per-record", 2)
    html = page.read_text()
    assert html.count("<figure") == 6
    assert "one mask for each record, 2 for each record" in html
    assert "<script" not in html


def test_the_ecg_of_a_store(tmp_path: Path) -> None:
    store = write_store(tmp_path / "ecgs", 8)
    masks("--store", store.path, "--batch-size", 4, "--out", tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert "ecgs ecgs0000" in text
    assert "sheet-0-trace-0-I" in text


def test_what_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "a.svg"
    out.write_text("mine")
    assert "--overwrite replaces it" in failed("--out", out)
    assert out.read_text() == "mine"
    assert "previews are .svg, .png, .html" in failed("--out", tmp_path / "a.gif")
    assert "there is no folder" in failed("--out", tmp_path / "b" / "a.svg")
    assert "not two or more such patches" in failed("--out", tmp_path / "b.svg", "--patch-samples", 33)
    masks("--out", out, "--overwrite")
    assert out.read_text().startswith("<svg")


def test_numbers_of_masks() -> None:
    hidden_NP = np.array([[1, 1, 0, 0], [0, 1, 1, 1], [1, 0, 1, 0]], bool)
    numbers = mask_numbers(hidden_NP)
    assert numbers.mean_share == pytest.approx(7 / 12)
    assert numbers.visible == (1, pytest.approx(5 / 3), 2)
    assert numbers.neighbours == pytest.approx(7 / 4)
    assert numbers.coverage == pytest.approx((1 / 3, 2 / 3))
    assert numbers.low_share == 0.5
    assert "3 masks of 4 patches" in numbers.describe()


@pytest.mark.parametrize(
    "flags",
    [
        {"mask.type": "random"},
        {"mask.type": "block"},
        {"mask.type": "block", "mask.scope": "record", "training.batch_size": 8, "mask.masks_per_record": 2},
        {"mask.type": "block", "training.reference": True},
    ],
)
def test_the_expectation_is_what_many_masks_do(flags: dict[str, object]) -> None:
    config = load_config(overrides=flags)
    found_NP = sample_masks(config, 20, steps=1000)
    assert found_NP.shape == (max(2000, 1000 * config.mask.masks_per_record * 8 if "mask.scope" in flags else 0), 20)
    expected_P = expected_coverage(config.mask, 20, reference=config.training.reference)
    np.testing.assert_allclose(found_NP.mean(axis=0), expected_P, atol=0.045)
    assert abs(found_NP.mean() - expected_P.mean()) < 0.012
    if config.training.reference:
        assert expected_P[-1] == 0
        assert expected_P[10] > 2 * expected_P[0] > 0


def test_lengths() -> None:
    assert length_probabilities((0.175, 0.225), 50) == pytest.approx({8: 0.1, 9: 0.4, 10: 0.4, 11: 0.1})
    assert length_probabilities((0.6, 0.6), 50) == {30: 1.0}
    lengths = length_probabilities((0.6, 0.7), 50)
    assert sum(lengths.values()) == pytest.approx(1)
    assert expected_coverage(MaskConfig(), 50)[0] == pytest.approx(32 / 50)


def test_figures() -> None:
    hidden_NP = np.random.default_rng(0).random((40, 10)) < 0.5
    raster = mask_raster(hidden_NP, 0.2, "title").axes[0]
    assert raster.images[0].get_array().tolist() == hidden_NP[:32].tolist()
    bars = coverage_figure(hidden_NP.mean(axis=0), np.full(10, 0.5), 0.2).axes[0]
    assert [bar.get_height() for bar in bars.patches[:10]] == hidden_NP.mean(axis=0).tolist()
    signal_mv = np.zeros((2, 500))
    assert len(masked_sheets(signal_mv, ["I", "V1"], 250, hidden_NP, 0.2)) == 4
    assert len(masked_sheets(signal_mv, ["I", "V1"], 250, hidden_NP[:2], 0.2)) == 2
