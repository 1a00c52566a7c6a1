"""The direct reader gives what the package `wfdb` gives, to the bit, and leaves to it what is of another layout."""

from pathlib import Path

import numpy as np
import pytest
import wfdb

from ecgjepa.data.formats.hints import NO_HINTS, Hints
from ecgjepa.data.formats.wfdb import read_any
from ecgjepa.data.formats.wfdb_bytes import read_common
from ecgjepa.data.readers import read
from ecgjepa.errors import RefusedRecordError
from tests.data.archives import smooth_signal, write_wfdb


def same_as_wfdb(header: Path) -> bool:
    """Whether all three ways agree; False if the direct way leaves the record to wfdb."""
    direct = read_common(header, header.stem)
    if direct is None:
        return False
    indirect = read_any(header, header.stem, NO_HINTS)
    np.testing.assert_array_equal(direct.signal_mv, indirect.signal_mv)
    assert direct.signal_mv.dtype == indirect.signal_mv.dtype == np.float32
    for name in ("name", "leads", "sampling_rate_hz", "comments"):
        assert getattr(direct, name) == getattr(indirect, name)
    return True


@pytest.mark.real_data
@pytest.mark.parametrize("part", ["ptbxl", "shaoxing", "cpsc2018", "challenge2020"])
def test_every_real_record_is_read_directly_and_as_by_wfdb(real_data_dir: Path, part: str) -> None:
    headers = sorted((real_data_dir / part).rglob("*.hea"))
    assert headers
    assert all(same_as_wfdb(header) for header in headers)
    for header in headers[:5] if part != "challenge2020" else []:  # wfdb cannot read the dates of those
        expected = wfdb.rdrecord(str(header.with_suffix("")), return_res=32).p_signal.T
        np.testing.assert_array_equal(read(header).signal_mv, expected)


@pytest.mark.parametrize("gain", [1000.0, 204.8, 4.88, 1e-3, 123456.789])
@pytest.mark.parametrize("baseline", [0, -7, 1024])
def test_gains_baselines_and_invalid_samples(tmp_path: Path, gain: float, baseline: int) -> None:
    counts = np.random.default_rng(0).integers(-2000, 2000, (700, 2))
    counts[5:9, 1] = -32768
    wfdb.wrsamp(
        "a", 500, ["mV", "uV"], ["I", "II"], d_signal=counts, fmt=["16", "16"], adc_gain=[gain, 2 * gain],
        baseline=[baseline, 0], write_dir=str(tmp_path), comments=["Age: 5", "  # Dx: 1"],
    )  # fmt: skip
    assert same_as_wfdb(tmp_path / "a.hea")
    assert np.isnan(read(tmp_path / "a.hea").signal_mv[1, 5:9]).all()


def write(folder: Path) -> tuple[Path, Path]:
    header = write_wfdb(folder, "a", smooth_signal(0))
    return header, header.with_suffix(".dat")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a 12 500 5000", "a 12 500/500 5000"),
        ("a.dat 16 ", "a.dat 16x2 "),
        ("a.dat 16 ", "a.dat 16:3 "),
        ("a.dat 16 ", "a.dat 212 "),
        ("a.dat 16 ", "b.dat 16 "),
        ("a 12 500 5000", "a/2 12 500 5000"),
        ("a 12 500 5000", "a 13 500 5000"),
        ("a 12 500 5000", "a 12 500 4999"),
    ],
)
def test_other_layouts_are_left_to_wfdb(tmp_path: Path, old: str, new: str) -> None:
    header, _ = write(tmp_path)
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new, 1))
    assert read_common(header, "a") is None


def test_a_sample_that_changed_is_refused_by_both_ways(tmp_path: Path) -> None:
    header, signal = write(tmp_path)
    content = bytearray(signal.read_bytes())
    content[24_000] ^= 1
    signal.write_bytes(content)
    for way in (lambda: read(header), lambda: read_any(header, "a", NO_HINTS)):
        with pytest.raises(
            RefusedRecordError, match=r"I: the samples add up to -?\d+, the header says -?\d+"
        ) as refused:
            way()
        assert refused.value.reason == "checksum"


def test_another_first_sample_is_refused(tmp_path: Path) -> None:
    header, _ = write(tmp_path)
    lines = header.read_text().splitlines()
    words = lines[3].split()
    words[5] = str(int(words[5]) + 1)
    header.write_text("\n".join([*lines[:3], " ".join(words), *lines[4:]]))
    for way in (lambda: read(header), lambda: read_any(header, "a", NO_HINTS)):
        with pytest.raises(RefusedRecordError, match="III: the first sample is"):
            way()


def test_too_few_samples_are_refused_and_too_many_are_left_to_wfdb(tmp_path: Path) -> None:
    header, signal = write(tmp_path)
    content = signal.read_bytes()
    signal.write_bytes(content[:-1])
    with pytest.raises(RefusedRecordError, match="4999 samples in the file, expected 5000"):
        read(header)
    signal.write_bytes(content + b"1234")
    assert read_common(header, "a") is None
    assert read(header).signal_mv.shape == (12, 5000)


def test_hints_are_held_against_the_header(tmp_path: Path) -> None:
    header, _ = write(tmp_path)
    assert read(header, hints=Hints(sampling_rate_hz=500, unit="mV")).sampling_rate_hz == 500
    for hints in (Hints(sampling_rate_hz=250), Hints(unit="uV"), Hints(leads=("I", "X"))):
        with pytest.raises(RefusedRecordError, match="told"):
            read(header, hints=hints)
