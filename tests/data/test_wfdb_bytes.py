"""The direct reader gives what the package `wfdb` gives, to the bit, and leaves to it what is of another layout."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import wfdb

from ecgjepa.data.formats.hints import NO_HINTS, Hints
from ecgjepa.data.formats.wfdb import read_any
from ecgjepa.data.formats.wfdb_bytes import read_common
from ecgjepa.data.readers import read
from ecgjepa.errors import RefusedRecordError
from ecgjepa.signal import Recording
from tests.data.archives import smooth_signal, write_wfdb

HEADERS = 2_000


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
        ("1000.0(0)/mV", "1000.0(8388608)/mV"),
        ("1000.0(0)/mV", "1E3(0)/mV"),
        (" 0 I\n", " 0 I # of the limbs\n"),
        (" 0 I\n", " 0 I\tlimb\n"),
    ],
)
def test_other_layouts_are_left_to_wfdb(tmp_path: Path, old: str, new: str) -> None:
    header, _ = write(tmp_path)
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new, 1))
    assert read_common(header, "a") is None


# What a header may say, most of it often seen and right, some of it odd.
RATES = ("500", "250.5", "500.", "1e3", "500/500", "0")
GAINS = (
    "1000",
    "204.8",
    "1000.0",
    "2e2",
    "1e-3",
    "200.",
    ".5",
    "123456.789",
    "1E3",
    "0",
    "-0",
    "0e0",
    "-5",
    "1e-39",
    "",
)
BASELINES = ("", "(0)", "(-7)", "(1024)", "(8388607)", "(8388608)", "(16777217)", "(-8388609)", "(x)")
UNITS = (
    "/mV",
    "/uV",
    "/\u00b5V",
    "/\u03bcV",
    "/V",
    "/nV",
    "",
    "/",
    "/mV.",
    "/mv",
    "/MV",
    "/mmHg",
    "/m\u0412",
    "/mV?",
    "/NU",
)
LEADS = (
    "I",
    "II",
    "V1",
    "MLII lead",
    "",
    "I\u00c4",
    "\u00c4",
    "I#",
    "I # x",
    "I\tx",
    "1",
    "-1 x",
    "\u5bfc",
    "I\u2028x",
)
COMMENTS = ("Age: 5", " #Dx: 1", "M\u00fcller", "")


def write_odd(folder: Path, chance: np.random.Generator) -> Path:
    """A record of two leads and few samples; two in three of its fields are the usual ones."""

    def pick(choices: tuple[str, ...]) -> str:
        return choices[0 if chance.random() < 0.67 else chance.integers(len(choices))]

    counts_SL = chance.integers(-32768, 32768, (6, 2))
    lines = [f"a 2 {pick(RATES)} 6"]
    for counts_S in counts_SL.T:
        zero, offset = chance.choice([0, 0, 5]), chance.choice([0, 0, 0, 0, 0, 0, 0, 65536, 1])
        calibration = f"{pick(GAINS)}{pick(BASELINES)}{pick(UNITS)}"
        sums = f"{counts_S[0]} {counts_S.sum() % 65536 - offset} 0"
        lines.append(f"{pick(('', ' '))}a.dat 16 {calibration} 16 {zero} {sums} {pick(LEADS)}")
    lines.append(f"#{pick(COMMENTS)}")
    (folder / "a.dat").write_bytes(counts_SL.astype("<i2").tobytes())
    (folder / "a.hea").write_bytes(
        "\n".join(lines).encode(pick(("utf-8", "utf-16")) if chance.random() < 0.01 else "utf-8")
    )
    return folder / "a.hea"


def outcome(way: Callable[[], Recording | None]) -> tuple[str, ...] | None:
    """What is read, or why not; None if it is left to another way."""
    try:
        recording = way()
    except RefusedRecordError as refusal:
        return (refusal.reason,)
    if recording is None:
        return None
    told = (recording.leads, recording.sampling_rate_hz, recording.comments)
    return (*map(str, told), recording.signal_mv.tobytes().hex())


def test_both_ways_agree_on_odd_headers(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    direct = 0
    for _ in range(HEADERS):
        header = write_odd(tmp_path, chance)
        if (found := outcome(partial(read_common, header, "a"))) is not None:
            assert outcome(partial(read_any, header, "a", NO_HINTS)) == found, header.read_text()
            direct += 1
    assert 0.2 < direct / HEADERS < 0.8


@pytest.mark.parametrize("calibration", ["-0/mV", "0e0(0)/mV", ".0", "(5)/mV", "/mV", ""])
@pytest.mark.parametrize("rest", [" 16 0 0 0 0 I", ""])
def test_a_signal_without_a_gain_is_not_taken_as_200(tmp_path: Path, calibration: str, rest: str) -> None:
    (tmp_path / "a.dat").write_bytes(bytes(100))
    (tmp_path / "a.hea").write_text(f"a 1 500 50\na.dat 16 {calibration}{rest if calibration else ''}\n")
    with pytest.raises(RefusedRecordError, match="expected counts per unit above 0") as refused:
        read(tmp_path / "a.hea")
    assert refused.value.reason == "uncalibrated"


@pytest.mark.parametrize("layout", ["16", "16x1:0"], ids=["direct", "by wfdb"])
@pytest.mark.parametrize(("unit", "encoding"), [("\u00b5V", "utf-8"), ("\u03bcV", "utf-8"), ("\u00b5V", "latin-1")])
def test_a_micro_sign_is_read_or_refused(tmp_path: Path, layout: str, unit: str, encoding: str) -> None:
    (tmp_path / "a.dat").write_bytes(np.full(50, 500, "<i2").tobytes())
    text = f"a 1 500 50\na.dat {layout} 1(0)/{unit} 16 0 500 25000 0 I\u00c4\n#\u00b5\n"
    (tmp_path / "a.hea").write_bytes(text.encode(encoding, errors="replace"))
    if encoding == "latin-1":
        with pytest.raises(RefusedRecordError, match="expected one of mV, uV, V, nV"):
            read(tmp_path / "a.hea")
    else:
        recording = read(tmp_path / "a.hea")
        np.testing.assert_allclose(recording.signal_mv, 0.5)
        assert (recording.leads, recording.comments) == (("I\u00c4",), ("\u00b5",))


def test_segments_of_a_variable_layout(tmp_path: Path) -> None:
    counts = np.arange(100)
    for name, leads in (("s1", ["I", "II"]), ("s2", ["II"])):
        wfdb.wrsamp(name, 250, ["mV"] * len(leads), leads, d_signal=np.stack([counts] * len(leads), 1),
                    fmt=["16"] * len(leads), adc_gain=[200.0] * len(leads), baseline=[0] * len(leads),
                    write_dir=str(tmp_path))  # fmt: skip
    (tmp_path / "m_layout.hea").write_text("m_layout 2 250 0\n~ 0 200/mV 16 0 0 0 0 I\n~ 0 200/mV 16 0 0 0 0 II\n")
    (tmp_path / "m.hea").write_text("m/4 2 250 250\nm_layout 0\ns1 100\n~ 50\ns2 100\n")
    recording = read(tmp_path / "m.hea")
    gap = np.full(50, np.nan)
    assert recording.leads == ("I", "II")
    np.testing.assert_allclose(recording.signal_mv[1], np.concatenate([counts / 200, gap, counts / 200]), rtol=1e-6)
    np.testing.assert_allclose(recording.signal_mv[0], np.concatenate([counts / 200, gap, gap, gap]), rtol=1e-6)
    (tmp_path / "s2.hea").write_text((tmp_path / "s2.hea").read_text().replace("/mV", "/mV."))
    with pytest.raises(RefusedRecordError, match=r"unit 'mV\.'"):
        read(tmp_path / "m.hea")


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
