"""Windows: what is there of a recording, of any leads and length; nothing is filled, nothing is dropped unsaid."""

import numpy as np
import pytest

from ecgjepa.errors import RefusedRecordError
from ecgjepa.leads import LEADS_8
from ecgjepa.signal import DEFAULT_CONTRACT, PUBLISHED_CONTRACT, Recording
from ecgjepa.windows import standardize, take_windows
from tests.test_signal import pick, twelve_leads


def changed(recording: Recording, signal_mv: np.ndarray) -> Recording:
    return Recording(recording.name, signal_mv, recording.leads, recording.sampling_rate_hz)


def refusal(recording: Recording) -> str:
    with pytest.raises(RefusedRecordError) as caught:
        take_windows(recording)
    return caught.value.reason


@pytest.mark.parametrize("contract", [DEFAULT_CONTRACT, PUBLISHED_CONTRACT])
@pytest.mark.parametrize(("seconds", "rate"), [(10, 500), (10, 250), (10.24, 400), (12, 257), (30, 1000)])
def test_what_has_everything_is_the_same_as_standardised(contract, seconds: float, rate: float) -> None:
    recording = twelve_leads(seconds, rate)
    (window,) = take_windows(recording, contract)
    standardized = standardize(recording, contract)
    np.testing.assert_array_equal(window.signal_mv, standardized.signal_mv)
    assert window.changes == standardized.changes
    assert (window.leads, window.start_s, window.flags) == (LEADS_8, 0.0, ())


@pytest.mark.parametrize("leads", [("II",), ("V1", "II"), ("V6",), LEADS_8[::-1]])
def test_leads_that_are_not_there_are_left_out(leads: tuple[str, ...]) -> None:
    recording = twelve_leads()
    (window,) = take_windows(pick(recording, *leads, "aVR"))
    expected = tuple(lead for lead in LEADS_8 if lead in leads or (lead == "I" and "II" in leads))
    assert window.leads == expected
    rows = [LEADS_8.index(lead) for lead in expected]
    np.testing.assert_allclose(window.signal_mv, standardize(recording).signal_mv[rows], atol=1e-6)


def test_one_limb_lead_alone_is_refused_unless_the_contract_has_it() -> None:
    assert refusal(pick(twelve_leads(), "aVF")) == "missing_lead"
    assert take_windows(pick(twelve_leads(), "I"))[0].leads == ("I",)


@pytest.mark.parametrize(("seconds", "samples"), [(1.0, 250), (3.3, 825), (9.9, 2475), (9.998, 2500)])
def test_short_recordings_are_short_windows(seconds: float, samples: int) -> None:
    recording = twelve_leads(seconds)
    (window,) = take_windows(recording)
    assert window.signal_mv.shape in [(8, samples), (8, samples - 1)]
    whole = standardize(twelve_leads(10)).signal_mv
    inner = slice(25, window.signal_mv.shape[1] - 25)
    np.testing.assert_allclose(window.signal_mv[:, inner], whole[:, inner], atol=2e-3)


def test_less_than_a_second_is_refused() -> None:
    assert refusal(twelve_leads(0.99)) == "short"
    padded = twelve_leads(10)
    signal_mv = padded.signal_mv.copy()
    signal_mv[:, 400:] = 0
    assert refusal(changed(padded, signal_mv)) == "short"


def test_all_windows_and_a_remainder() -> None:
    recording = twelve_leads(25.5)
    windows = take_windows(recording, which="all")
    assert [window.start_s for window in windows] == [0.0, 10.0, 20.0]
    assert [window.signal_mv.shape[1] for window in windows] == [2500, 2500, 1375]
    second = changed(recording, recording.signal_mv[:, 5000:10000])
    np.testing.assert_array_equal(windows[1].signal_mv, standardize(second).signal_mv)
    assert len(take_windows(twelve_leads(20.9), which="all")) == 2, "a remainder of 0.9 s is no window"
    assert take_windows(recording)[0].changes == ("cropped", "resampled")


def test_rates_that_are_no_whole_number_do_not_drift() -> None:
    windows = take_windows(twelve_leads(600, 257.3), which="all")
    assert [window.start_s for window in windows] == pytest.approx([10.0 * k for k in range(60)], abs=0.01)
    assert {window.signal_mv.shape[1] for window in windows[:-1]} == {2500}


def test_zero_padding_is_not_signal() -> None:
    recording = twelve_leads(10, 400)
    signal_mv = recording.signal_mv.copy()
    signal_mv[:, :500] = signal_mv[:, -500:] = 0
    (window,) = take_windows(changed(recording, signal_mv))
    assert "padding_removed" in window.changes
    assert window.start_s == pytest.approx(1.25, abs=0.01)
    assert window.signal_mv.shape[1] == pytest.approx(7.5 * 250, abs=2)
    assert window.signal_mv.any(axis=0).all()


def test_flat_and_lost_leads_are_left_out_and_named() -> None:
    recording = twelve_leads()
    signal_mv = recording.signal_mv.copy()
    signal_mv[recording.leads.index("V3")] = 0.25
    signal_mv[recording.leads.index("V5"), 400:] = np.nan
    (window,) = take_windows(changed(recording, signal_mv))
    assert window.leads == tuple(lead for lead in LEADS_8 if lead not in ("V3", "V5"))
    assert window.flags == ("flat_lead:V3",)
    assert window.changes == ("lead_left_out:V3", "lead_left_out:V5", "resampled")
    signal_mv[:] = 1.0
    assert refusal(changed(recording, signal_mv)) == "flat"
    signal_mv[:] = np.nan
    assert refusal(changed(recording, signal_mv)) == "not_finite"


@pytest.mark.parametrize("contract", [DEFAULT_CONTRACT, PUBLISHED_CONTRACT])
@pytest.mark.parametrize("rate", [250.0, 500.0, 100.0, 360.0])
def test_a_gap_stays_a_gap_and_grows_by_a_sample_at_most(contract, rate: float) -> None:
    recording = twelve_leads(rate=rate)
    signal_mv = recording.signal_mv.copy()
    row = recording.leads.index("V4")
    signal_mv[row, round(3 * rate) : round(4 * rate)] = np.inf
    (window,) = take_windows(changed(recording, signal_mv), contract)
    missing_LS = np.isnan(window.signal_mv)
    assert not np.delete(missing_LS, LEADS_8.index("V4"), axis=0).any()
    gap = np.flatnonzero(missing_LS[LEADS_8.index("V4")])
    reach = max(250 / rate, 1)
    assert gap[0] == pytest.approx(750, abs=reach)
    assert gap[-1] == pytest.approx(1000, abs=reach)
    assert len(gap) == gap[-1] - gap[0] + 1
    assert "gap:V4" in window.changes
    whole = standardize(recording, contract).signal_mv
    far = np.r_[25:700, 1050:2475]
    np.testing.assert_allclose(window.signal_mv[:, far], whole[:, far], atol=0.02)


@pytest.mark.usefixtures("unchecked")
def test_windows_without_signal_in_the_middle_are_passed_over() -> None:
    recording = twelve_leads(40)
    signal_mv = recording.signal_mv.copy()
    signal_mv[:, 4000:16000] = np.nan
    windows = take_windows(changed(recording, signal_mv), which="all")
    assert [window.start_s for window in windows] == [0.0, 30.0]
    signal_mv[:, :3000] = np.nan
    assert take_windows(changed(recording, signal_mv), which="first")[0].start_s == 0.0
    with pytest.raises(ValueError, match="windows: expected one of"):
        take_windows(recording, which="last")  # type: ignore[arg-type]


def test_nothing_follows_from_an_electrode_that_is_off() -> None:
    recording = twelve_leads()
    limb = pick(recording, "III", "aVF", "V1")
    dead = limb.signal_mv.copy()
    dead[0] = 0.0
    assert take_windows(changed(limb, dead))[0].leads == ("V1",)
    lost = recording.signal_mv.copy()
    lost[recording.leads.index("I")] = np.nan
    (window,) = take_windows(changed(recording, lost))
    assert window.leads == LEADS_8
    assert "derived_limb_leads" in window.changes
    np.testing.assert_allclose(window.signal_mv, standardize(recording).signal_mv, atol=1e-5)
