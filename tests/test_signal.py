"""The signal contract: leads by name, Einthoven, windows, padding, refusals, resampling."""

import numpy as np
import pytest

from ecgjepa.errors import RefusedRecordError
from ecgjepa.leads import LEADS_8, LEADS_12, LIMB_LEADS, canonical_lead
from ecgjepa.signal import DEFAULT_CONTRACT, PUBLISHED_CONTRACT, Recording, SignalContract
from ecgjepa.windows import standardize

SINE_HZ = 7.0


def twelve_leads(seconds: float = 10.0, rate: float = 500.0, seed: int = 0) -> Recording:
    """Smooth, different signals on I, II, V1-V6; the other limb leads follow from them."""
    time_s = np.arange(round(seconds * rate)) / rate
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, 8)
    own = {lead: np.sin(2 * np.pi * SINE_HZ * time_s + phase) for lead, phase in zip(LEADS_8, phases, strict=True)}
    limb = {lead: a * own["I"] + b * own["II"] for lead, (a, b) in LIMB_LEADS.items()}
    signal_mv = np.stack([(own | limb)[lead] for lead in LEADS_12]).astype(np.float32)
    return Recording("r", signal_mv, LEADS_12, rate)


def pick(recording: Recording, *leads: str) -> Recording:
    rows = [recording.leads.index(lead) for lead in leads]
    return Recording(recording.name, recording.signal_mv[rows], leads, recording.sampling_rate_hz)


@pytest.mark.parametrize(
    ("name", "lead"),
    [
        ("AVR", "aVR"), ("avl", "aVL"), (" v1 ", "V1"), ("MLII", "II"), ("DI", "I"), ("Lead III", "III"),
        ("ECG V6", "V6"), ("ECG-II", "II"), ("V1-REF", "V1"), ("-aVR", None), ("MLV1", None), ("PLETH", None),
        ("", None),
    ],
)  # fmt: skip
def test_lead_names(name: str, lead: str | None) -> None:
    assert canonical_lead(name) == lead


def test_leads_are_taken_by_name_not_by_place() -> None:
    recording = twelve_leads()
    shuffled = pick(recording, *reversed(LEADS_12))
    np.testing.assert_array_equal(standardize(recording).signal_mv, standardize(shuffled).signal_mv)


@pytest.mark.parametrize("first", LIMB_LEADS)
@pytest.mark.parametrize("second", LIMB_LEADS)
def test_any_two_limb_leads_give_i_and_ii(first: str, second: str) -> None:
    if first == second:
        return
    recording = twelve_leads()
    derived = standardize(pick(recording, first, second, *LEADS_8[2:]))
    np.testing.assert_allclose(derived.signal_mv, standardize(recording).signal_mv, atol=1e-5)
    assert ("derived_limb_leads" in derived.changes) == ({first, second} != {"I", "II"})


@pytest.mark.parametrize("contract", [DEFAULT_CONTRACT, PUBLISHED_CONTRACT])
@pytest.mark.parametrize("rate", [100.0, 250.0, 257.0, 360.0, 400.0, 500.0, 1000.0, 499.8])
def test_resampling_keeps_a_sine(contract: SignalContract, rate: float) -> None:
    recording = twelve_leads(rate=rate)
    standardized = standardize(recording, contract).signal_mv
    assert standardized.shape == (8, 2500)
    assert standardized.dtype == np.float32
    expected = standardize(twelve_leads(rate=250.0)).signal_mv
    inner = slice(250, -250)
    np.testing.assert_allclose(standardized[:, inner], expected[:, inner], atol=0.01 if rate == 499.8 else 2e-3)


def test_an_offset_makes_no_ringing_at_the_ends() -> None:
    recording = twelve_leads()
    lifted = Recording("r", recording.signal_mv + 5, LEADS_12, 500.0)
    np.testing.assert_allclose(standardize(lifted).signal_mv - 5, standardize(recording).signal_mv, atol=1e-5)


def test_nothing_is_done_to_what_fits_already() -> None:
    recording = twelve_leads(rate=250.0)
    standardized = standardize(recording)
    assert standardized.changes == ()
    np.testing.assert_array_equal(standardized.signal_mv, recording.signal_mv[[0, 1, *range(6, 12)]])


def test_longer_records_give_their_first_ten_seconds() -> None:
    standardized = standardize(twelve_leads(seconds=60, rate=250))
    assert standardized.changes == ("cropped",)
    np.testing.assert_array_equal(standardized.signal_mv, standardize(twelve_leads(rate=250)).signal_mv)


def padded(before: int, after: int, rate: float = 400.0, seconds: float = 10.0) -> Recording:
    recording = twelve_leads(seconds, rate)
    return Recording("r", np.pad(recording.signal_mv, ((0, 0), (before, after))), LEADS_12, rate)


def test_padding_beyond_ten_seconds_is_removed() -> None:
    standardized = standardize(padded(48, 48))
    assert "padding_removed" in standardized.changes
    np.testing.assert_allclose(standardized.signal_mv, standardize(twelve_leads(rate=400)).signal_mv, atol=1e-6)


def test_a_few_zeros_are_not_padding() -> None:
    recording = twelve_leads(rate=400)
    recording.signal_mv[:, :10] = 0
    assert "padding_removed" not in standardize(recording).changes


def refused(recording: Recording, contract: SignalContract = DEFAULT_CONTRACT) -> RefusedRecordError:
    with pytest.raises(RefusedRecordError, match="r: ") as caught:
        standardize(recording, contract)
    return caught.value


def test_refusals_name_reason_found_and_expected() -> None:
    recording = twelve_leads()
    assert "3.000 s, expected at least 10 s" in (short := refused(twelve_leads(seconds=3))).detail
    assert short.reason == "short"
    assert refused(padded(600, 600, seconds=7)).reason == "padded"
    missing = refused(pick(recording, "I", "II", "V1"))
    assert missing.reason == "missing_lead"
    assert "V2, V3, V4, V5, V6 missing, found I, II, V1" in missing.detail
    assert refused(pick(recording, "aVF", *LEADS_8[2:])).reason == "missing_lead"
    broken = twelve_leads()
    broken.signal_mv[7, 100] = np.nan
    assert refused(broken).reason == "not_finite"
    assert refused(Recording("r", np.zeros((12, 5000), np.float32), LEADS_12, 500.0)).reason == "flat"
    assert refused(Recording("r", np.ones((12, 5000), np.float32), LEADS_12, 500.0)).reason == "flat"
    assert refused(Recording("r", recording.signal_mv, ("I", "I", *LEADS_12[2:]), 500.0)).reason == "duplicate_lead"


def test_nan_in_a_lead_or_second_that_is_not_used_does_not_matter() -> None:
    recording = twelve_leads(seconds=12)
    recording.signal_mv[4] = np.nan  # aVL
    recording.signal_mv[0, 5500:] = np.nan
    assert np.isfinite(standardize(recording).signal_mv).all()


def test_flags() -> None:
    recording = twelve_leads()
    recording.signal_mv[LEADS_12.index("V3")] = 0.2
    assert standardize(recording).flags == ("flat_lead:V3",)
    tiny = Recording("r", twelve_leads().signal_mv * 1e-3, LEADS_12, 500.0)
    assert standardize(tiny).flags == ("amplitude_low",)
    huge = Recording("r", twelve_leads().signal_mv * 1e3, LEADS_12, 500.0)
    assert standardize(huge).flags == ("amplitude_high",)


def test_malformed_recordings() -> None:
    with pytest.raises(RefusedRecordError, match="2 lead names"):
        Recording("r", np.zeros((3, 10), np.float32), ("I", "II"), 500.0)
    for rate in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(RefusedRecordError, match="sampling rate"):
            Recording("r", np.zeros((2, 10), np.float32), ("I", "II"), rate)


def test_contract_round_trip_and_errors() -> None:
    assert SignalContract.from_dict(PUBLISHED_CONTRACT.to_dict()) == PUBLISHED_CONTRACT
    assert DEFAULT_CONTRACT.samples == 2500
    with pytest.raises(ValueError, match="unknown keys"):
        SignalContract.from_dict({"rate": 250})
    for wrong in (
        {"leads": ("I", "X")},
        {"leads": ()},
        {"leads": ("I", "I")},
        {"seconds": 0.001},
        {"sampling_rate_hz": 0},
    ):
        with pytest.raises(ValueError, match="contract"):
            SignalContract(**wrong)
