"""One ECG in every format reads the same; which reader a file goes to; what must be told, and what must not."""

import gzip
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from ecgjepa.data.formats.hints import Hints
from ecgjepa.data.readers import SUFFIXES, count_records, read
from ecgjepa.data.simulated.population import synthesize
from ecgjepa.errors import RefusedRecordError
from ecgjepa.leads import LEADS_8, LEADS_12, canonical_lead
from ecgjepa.windows import standardize
from tests.data.sample_files import WRITERS, write_samples

FORMATS = sorted([*WRITERS, "npy"])
SAYS_ALL = sorted(WRITERS)
EIGHT = [LEADS_12.index(lead) for lead in LEADS_8]
Samples = dict[str, tuple[Path, Hints]]


@pytest.fixture(scope="module")
def ecg_mv() -> np.ndarray:
    """(12, 5000) at 500 Hz from a heart dipole, in whole microvolts."""
    return np.rint(synthesize(seed=7, index=1).signal_mv * 1000) / 1000


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory, ecg_mv: np.ndarray) -> Samples:
    return write_samples(tmp_path_factory.mktemp("twelve"), ecg_mv, LEADS_12, 500.0)


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory, ecg_mv: np.ndarray) -> Samples:
    return write_samples(tmp_path_factory.mktemp("eight"), ecg_mv[EIGHT], LEADS_8, 500.0)


def refusal(path: Path, row: int | None = None, hints: Hints | None = None) -> RefusedRecordError:
    with pytest.raises(RefusedRecordError) as caught:
        read(path, row, hints=hints or Hints())
    return caught.value


@pytest.mark.parametrize("key", FORMATS)
def test_readings_agree(key: str, twelve: Samples, eight: Samples, ecg_mv: np.ndarray) -> None:
    for samples, leads in ((twelve, LEADS_12), (eight, LEADS_8)):
        path, hints = samples[key]
        recording = read(path, hints=hints)
        found = tuple(canonical_lead(lead) for lead in recording.leads)
        assert found == (LEADS_8 if key == "muse" else leads)
        assert recording.signal_mv.dtype == np.float32
        assert (recording.sampling_rate_hz, recording.name) == (500.0, path.stem)
        expected = ecg_mv[[LEADS_12.index(lead) for lead in found]]
        np.testing.assert_allclose(recording.signal_mv, expected, atol=1e-6)
        standardized = standardize(recording)
        np.testing.assert_allclose(standardized.signal_mv, standardize(read(eight["npz"][0])).signal_mv, atol=1e-5)


@pytest.mark.parametrize("rate_hz", [257.0, 400.0, 1000.0])
def test_other_rates(tmp_path: Path, rate_hz: float, ecg_mv: np.ndarray) -> None:
    signal_mv = ecg_mv[:, : round(rate_hz * 2)]
    for path, hints in write_samples(tmp_path, signal_mv, LEADS_12, rate_hz).values():
        recording = read(path, hints=hints)
        assert recording.sampling_rate_hz == pytest.approx(rate_hz, abs=1e-9)
        assert recording.signal_mv.shape[1] == signal_mv.shape[1]


@pytest.mark.parametrize("key", SAYS_ALL)
def test_what_the_file_says_must_not_be_contradicted(key: str, twelve: Samples) -> None:
    path, _ = twelve[key]
    agreeing = Hints(sampling_rate_hz=500.0, leads=LEADS_8, unit="uV" if key in ("npz",) else None)
    np.testing.assert_array_equal(read(path, hints=agreeing).signal_mv, read(path).signal_mv)
    for wrong in (Hints(sampling_rate_hz=250.0), Hints(leads=("I", "V7")), Hints(unit="V"), Hints(unit="adc")):
        assert refusal(path, hints=wrong).reason == "contradiction"
    assert refusal(path, hints=Hints(gain_per_mv=200.0)).reason == "malformed"


@pytest.mark.parametrize(
    "values",
    [
        {"sampling_rate_hz": 0.0}, {"sampling_rate_hz": float("nan")}, {"leads": ()}, {"leads": ("I", "I")},
        {"unit": "mmHg"}, {"gain_per_mv": -1.0},
    ],
)  # fmt: skip
def test_hints_that_no_file_could_need(values: dict) -> None:
    with pytest.raises(ValueError, match="hints: "):
        Hints(**values)


def test_suffixes_in_any_case(tmp_path: Path, twelve: Samples) -> None:
    assert {".hea", ".h5", ".hdf5", ".npy", ".npz", ".csv", ".edf", ".dcm", ".xml"} <= SUFFIXES
    for key in ("edf", "dicom", "muse", "csv", "hdf5", "npz"):
        path = twelve[key][0]
        copy = shutil.copy(path, tmp_path / f"OTHER{path.suffix.upper()}")
        assert read(copy).name == "OTHER"
        np.testing.assert_array_equal(read(copy).signal_mv, read(path).signal_mv)


def test_packed_and_tabbed_tables(tmp_path: Path, twelve: Samples) -> None:
    content = twelve["csv"][0].read_bytes()
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(content))
    (tmp_path / "a.tsv").write_bytes(content.replace(b",", b"\t"))
    for name in ("a.csv.gz", "a.tsv"):
        recording = read(tmp_path / name)
        assert recording.name == "a"
        np.testing.assert_array_equal(recording.signal_mv, read(twelve["csv"][0]).signal_mv)


def test_wfdb_by_any_of_its_files(tmp_path: Path, twelve: Samples) -> None:
    header = twelve["wfdb"][0]
    expected = read(header).signal_mv
    for path in (header.with_suffix(".dat"), header.with_suffix(""), str(header)):
        np.testing.assert_array_equal(read(path).signal_mv, expected)
    for suffix in (".dat", ".mat"):
        shutil.copy(header.with_suffix(".dat"), tmp_path / f"alone{suffix}")
        error = refusal(tmp_path / f"alone{suffix}")
        assert error.reason == "file_absent"
        assert f"no header alone.hea beside alone{suffix}" in error.detail


def test_wfdb_of_several_segments(tmp_path: Path, ecg_mv: np.ndarray) -> None:
    for k in range(2):
        write_samples(tmp_path / f"{k}", ecg_mv[:, 1000 * k : 1000 * (k + 1)], LEADS_12, 500.0)
        for suffix in (".hea", ".dat"):
            content = (tmp_path / f"{k}" / f"wfdb{suffix}").read_bytes()
            (tmp_path / f"part{k}{suffix}").write_bytes(content.replace(b"wfdb", f"part{k}".encode()))
    (tmp_path / "whole.hea").write_text("whole/2 12 500 2000\npart0 1000\npart1 1000\n")
    np.testing.assert_allclose(read(tmp_path / "whole").signal_mv, ecg_mv[:, :2000], atol=1e-6)
    (tmp_path / "part1.dat").unlink()
    assert refusal(tmp_path / "whole.hea").reason == "unreadable"


def test_files_that_are_not_ours(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7")
    error = refusal(tmp_path / "a.pdf")
    assert (error.record, error.reason) == ("a.pdf", "unknown_format")
    assert "'.pdf'" in error.detail
    assert ".edf" in error.detail
    for name in ("none.edf", "none.pdf", "none"):
        assert refusal(tmp_path / name).reason == "file_absent"
    with pytest.raises(RefusedRecordError, match="file_absent"):
        count_records(tmp_path / "none.npy")
    for suffix in sorted(SUFFIXES):
        os.mkfifo(tmp_path / f"pipe{suffix}")
        assert refusal(tmp_path / f"pipe{suffix}").reason == "malformed"  # and does not wait for ever
        (tmp_path / f"folder{suffix}").mkdir()
        assert refusal(tmp_path / f"folder{suffix}").reason == "malformed"


@pytest.mark.parametrize("key", FORMATS)
def test_one_record_a_file(key: str, twelve: Samples) -> None:
    path, hints = twelve[key]
    assert count_records(path) is None
    error = refusal(path, row=0, hints=hints)
    assert error.reason == "malformed"
    assert "row 0" in error.detail
    assert read(path, name="patient 1", hints=hints).name == "patient 1"


@pytest.mark.parametrize(("key", "package", "extra"), [("edf", "edfio", "edf"), ("dicom", "pydicom", "dicom")])
def test_a_package_that_is_not_installed(
    key: str, package: str, extra: str, twelve: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    error = refusal(twelve[key][0])
    assert error.reason == "missing_package"
    assert f"pip install 'ecgjepa[{extra}]'" in error.detail
