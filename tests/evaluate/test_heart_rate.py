"""Heart rates from signals: those that synthetic hearts have, of real ones those that their labels say."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgjepa.data.listings.datasets import list_records
from ecgjepa.data.listings.own import list_table
from ecgjepa.data.prepare import prepare
from ecgjepa.data.simulated.population import synthesize
from ecgjepa.evaluate.heart_rate import heart_rate, measure_heart_rates
from ecgjepa.evaluate.targets import read_regression
from ecgjepa.leads import LEADS_8, LEADS_12
from tests.data.stores import write_store


def signals_uv(records: int) -> np.ndarray:
    return np.stack([eight_leads(index)[1] for index in range(records)])


def eight_leads(index: int) -> tuple[float, np.ndarray]:
    """The rate of a synthetic heart, and its leads in microvolts at 250 Hz."""
    ecg = synthesize(3, index, sampling_rate_hz=250)
    rows = [LEADS_12.index(lead) for lead in LEADS_8]
    return 60 / float(np.median(np.diff(ecg.r_times_s))), np.rint(1000 * ecg.signal_mv[rows]).astype(np.int16)


def test_rates_are_those_of_synthetic_hearts() -> None:
    errors = []
    for index in range(30):
        true_bpm, uv = eight_leads(index)
        measured = heart_rate(uv / 1000, LEADS_8, 250)
        assert measured is not None
        errors.append(abs(measured[0] - true_bpm))
    assert np.median(errors) < 1
    assert np.mean(np.array(errors) < 3) > 0.85


def test_another_lead_where_lead_ii_is_flat() -> None:
    true_bpm, uv = eight_leads(0)
    uv[LEADS_8.index("II")] = 0
    bpm, lead = heart_rate(uv / 1000, LEADS_8, 250) or (0.0, "")
    assert (lead, bpm) == ("I", pytest.approx(true_bpm, abs=3))
    assert heart_rate(np.zeros((8, 2500)), LEADS_8, 250) is None
    two_beats = np.zeros((1, 2500))
    two_beats[0, [700, 1400]] = 1.0
    assert heart_rate(two_beats, ("II",), 250) is None


def test_rates_of_a_store_are_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uv = signals_uv(4)
    uv[2] = 0
    store = write_store(tmp_path / "store", 4, signals_uv=uv)
    monkeypatch.setattr("ecgjepa.evaluate.heart_rate._RECORDS_A_PIECE", 3)
    bpm = measure_heart_rates(store, cache_dir=tmp_path / "cache")
    assert np.isnan(bpm).tolist() == [False, False, True, False]
    (cached,) = (tmp_path / "cache").iterdir()
    assert pd.read_parquet(cached)["lead"].fillna("none").tolist() == ["II", "II", "none", "II"]
    monkeypatch.setattr("ecgjepa.evaluate.heart_rate.find_beats", None)  # not asked again
    np.testing.assert_array_equal(measure_heart_rates(store, cache_dir=tmp_path / "cache"), bpm)
    targets = read_regression(store, "heart_rate", tmp_path / "cache")
    assert (targets.unit, targets.rows_N.tolist()) == ("bpm", [0, 1, 3])
    assert targets.left_out == {"fewer than 3 beats found, or not 20 to 300 bpm": 1}
    other = write_store(tmp_path / "other", 4, signals_uv=uv + np.int16(1))
    with pytest.raises(TypeError):
        measure_heart_rates(other, cache_dir=tmp_path / "cache")  # other signals, not found
    cached.write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"cannot be read as heart rates: .*; remove it"):
        measure_heart_rates(store, cache_dir=tmp_path / "cache")


@pytest.mark.real_data
def test_slow_and_fast_hearts_of_ptbxl(real_data_dir: Path, tmp_path: Path) -> None:
    records = list_records("ptbxl", real_data_dir / "ptbxl").records
    there = records[records["path"].notna()]
    for rhythm, low, high in (("SBRAD", 35, 62), ("STACH", 95, 150)):
        some = there[[rhythm in (names or ()) for names in there["labels_rhythm"]]].head(5)
        assert len(some) == 5
        rows = some.assign(path=[str(path) for path in some["path"]])[["record", "path"]]
        rows.to_csv(tmp_path / "some.csv", index=False)
        store = prepare(list_table(tmp_path / "some.csv"), tmp_path, tmp_path / rhythm, workers=1, progress=False)
        assert low < np.nanmedian(measure_heart_rates(store)) < high
