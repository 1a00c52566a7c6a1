"""Names of leads as files spell them; what is inverted, elsewhere on the body or no lead is not taken for one."""

import pytest

from ecgjepa.leads import LEADS_12, canonical_lead


@pytest.mark.parametrize(
    ("name", "lead"),
    [
        ("Lead I (Einthoven)", "I"), ("LEAD aVF (Goldberger)", "aVF"), ("V4 (Wilson)", "V4"),
        ("aVR, augmented voltage, right", "aVR"), ("aVL, augmented voltage, left", "aVL"), ("Lead V6", "V6"),
        ("EKG II", "II"), ("ECG V1", "V1"), ("ECG I", "I"), ("ECG aVR", "aVR"), ("EKG: V3", "V3"), ("ecg_v2", "V2"),
        ("EKG-V5", "V5"), ("ECG Lead III", "III"), ("ECG V1-Ref", "V1"), ("MDC_ECG_LEAD_AVL", "aVL"), ("LeadII", "II"),
        (" V1 ", "V1"), ("ECG MLII", "II"),
    ],
)  # fmt: skip
def test_spellings_of_files(name: str, lead: str) -> None:
    assert canonical_lead(name) == lead


@pytest.mark.parametrize(
    "name",
    [
        "-aVR", "ECG -aVR", "Lead -I", "EKG--II", "ECG_-V1", "- V1", "aVR (inverted)", "aVR, inverted", "I-II", "V1-V2",
        "V7", "V3R", "Lead V4R", "X", "ECG", "EKG", "Lead", "MDC_ECG_LEAD_", "Resp", "EEG I", "II (Resp)", "PLETH",
        "V", "IV", "VI", "lead 1", "EDF Annotations", "time", "",
    ],
)  # fmt: skip
def test_no_lead_of_the_twelve(name: str) -> None:
    assert canonical_lead(name) is None


@pytest.mark.parametrize("lead", LEADS_12)
def test_standard_names_are_their_own(lead: str) -> None:
    assert canonical_lead(lead) == canonical_lead(lead.lower()) == canonical_lead(lead.upper()) == lead
