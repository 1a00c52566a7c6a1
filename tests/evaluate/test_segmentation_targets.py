"""Masks of waves follow the signal through the cut, the change of rate, and the split."""

from pathlib import Path

import numpy as np
import pytest

from ecgjepa.data.formats.annotations import Wave, read_waves
from ecgjepa.data.listings.datasets import list_records
from ecgjepa.data.prepare import prepare
from ecgjepa.data.store import Store
from ecgjepa.data.synthetic import write_ludb_archive
from ecgjepa.evaluate.segmentation_targets import NOT_ANNOTATED, WAVE_CLASSES, read_segmentation, wave_mask
from ecgjepa.evaluate.targets import arrange_splits, take_training_fraction
from ecgjepa.model.segmenter import KINDS
from ecgjepa.signal import SignalContract
from tests.data.archives import write_wfdb


@pytest.fixture(scope="module")
def ludb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ludb")
    write_ludb_archive(folder, 24, seed=3)
    return folder


@pytest.fixture(scope="module")
def store(ludb: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return prepare("ludb", ludb, tmp_path_factory.mktemp("stores") / "ludb", workers=1, progress=False)


def test_the_classes_are_those_of_the_model() -> None:
    assert WAVE_CLASSES == KINDS


def test_masks_are_the_annotations_at_half_the_rate(ludb: Path, store: Store) -> None:
    targets = read_segmentation(store, ludb)
    assert len(targets) == 24
    assert targets.mask_NLS.shape == (24, 8, 2500)
    for row in (0, 7, 23):
        for place, lead in enumerate(store.contract.leads):
            waves = read_waves(ludb / "data" / f"{store.records['record'][row]}.hea", lead)
            full = np.full(5000, NOT_ANNOTATED)
            full[waves[0].onset : waves[-1].offset + 1] = 0
            for wave in waves:
                full[wave.onset : wave.offset + 1] = WAVE_CLASSES.index(wave.kind)
            np.testing.assert_array_equal(targets.mask_NLS[row, place], full[::2])


@pytest.mark.parametrize("rate", [100, 250, 300, 500])
def test_a_mask_at_any_rate_marks_the_same_seconds(rate: int) -> None:
    waves = [Wave("P", 1000, 1020, 1049), Wave("QRS", 1100, 1120, 1149), Wave("T", 1200, 1300, 1399)]
    mask = wave_mask(waves, 1.0, 500.0, rate, 3 * rate)
    time_s = 1.0 + np.arange(3 * rate) / rate
    for wave, value in zip(waves, (1, 2, 3), strict=True):
        inside = (time_s > wave.onset / 500 + 0.003) & (time_s < wave.offset / 500 - 0.003)
        assert (mask[inside] == value).all()
        assert abs((mask == value).sum() / rate - (wave.offset - wave.onset + 1) / 500) <= 1 / rate
    assert (mask[time_s < 1.99] == NOT_ANNOTATED).all()
    assert (mask[time_s > 2.81] == NOT_ANNOTATED).all()
    assert (wave_mask([], 0.0, 500.0, rate, 10) == NOT_ANNOTATED).all()


def test_padding_that_was_cut_moves_the_mask(ludb: Path, tmp_path: Path) -> None:
    """A record with a second of zeros before it: the waves of the file lie a second later than those of the store."""
    from ecgjepa.data.formats.annotations import write_waves
    from ecgjepa.data.simulated.population import synthesize
    from ecgjepa.data.simulated.waves import true_waves

    ecg = synthesize(3, 0)
    padded = np.concatenate([np.zeros((12, 500)), ecg.signal_mv + 0.001], axis=1)
    write_wfdb(tmp_path / "data", "1", padded.T)
    waves = true_waves(ecg)
    for lead in ("i", "ii", *(f"v{k}" for k in range(1, 7))):
        moved = [Wave(w.kind, w.onset + 500, w.peak + 500, w.offset + 500) for w in waves]
        write_waves(tmp_path / "data" / f"1.{lead}", moved)
    store = prepare("ludb", tmp_path, tmp_path / "store", workers=1, progress=False)
    mask = read_segmentation(store, tmp_path).mask_NLS[0, 0]
    np.testing.assert_array_equal(mask, wave_mask(waves, 0.0, 500.0, 250, 2500))


def test_patients_are_divided_by_a_hash_unless_the_store_divides_them(ludb: Path, store: Store) -> None:
    targets = read_segmentation(store, ludb / "data")
    assert set(targets.counts()["records"]) == {"train", "validation", "test"}
    assert sum(targets.counts()["records"].values()) == 24
    assert "hash of seed 0" in targets.warnings[0]
    assert (read_segmentation(store, ludb, seed=1).split_N != targets.split_N).any()
    part = take_training_fraction(targets, 0.5, seed=1)
    assert part.counts()["records"]["train"] == round(targets.counts()["records"]["train"] / 2)
    assert len(part.mask_NLS) == len(part)
    assert arrange_splits(targets, "paper", 0).counts()["records"]["validation"] == 0


def test_what_is_not_annotated_is_said(ludb: Path, tmp_path: Path) -> None:
    write_ludb_archive(tmp_path / "ludb", 12, seed=3)
    store = prepare("ludb", tmp_path / "ludb", tmp_path / "store", workers=1, progress=False)
    data = tmp_path / "ludb" / "data"
    (data / "1.v2").unlink()
    (data / "2.i").write_bytes(b"none")
    for lead in store.contract.leads:
        (data / f"3.{lead.lower()}").unlink()
    (data / "4.hea").unlink()
    targets = read_segmentation(store, tmp_path / "ludb")
    assert targets.left_out == {"not in the folder": 1, "no lead annotated": 1}
    assert targets.rows_N.tolist() == [0, 1, *range(4, 12)]
    assert (targets.mask_NLS[0, store.contract.leads.index("V2")] == NOT_ANNOTATED).all()
    assert (targets.mask_NLS[0, 0] != NOT_ANNOTATED).any()
    assert "10 leads count as not annotated: 1, lead V2: no annotation file 1.v2" in targets.warnings[1]
    for name in ("5.hea", "5.dat"):
        (data / name).write_bytes((data / name.replace("5", "6")).read_bytes().replace(b"6.dat", b"5.dat"))
    with pytest.raises(ValueError, match=r"waves: record 5 in .* has another signal than in"):
        read_segmentation(store, tmp_path / "ludb")
    with pytest.raises(ValueError, match=r"none of the store's records \(1, 2, 3\) is in"):
        read_segmentation(store, tmp_path)


def test_another_contract(ludb: Path, tmp_path: Path) -> None:
    contract = SignalContract(leads=("II", "V1", "aVF"), sampling_rate_hz=100, seconds=5)
    store = prepare(list_records("ludb", ludb), ludb, tmp_path / "s", contract=contract, workers=1, progress=False)
    targets = read_segmentation(store, ludb)
    waves = read_waves(ludb / "data" / "1.hea", "aVF")
    np.testing.assert_array_equal(targets.mask_NLS[0, 2], wave_mask(waves, 0.0, 500.0, 100, 500))
