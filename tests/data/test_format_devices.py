"""Formats of recorders: EDF, DICOM, GE MUSE and Philips; which part is the ECG, and what is no ECG."""

import base64
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from edfio import Edf, EdfAnnotation, EdfSignal
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from ecgjepa.data.formats.hints import Hints
from ecgjepa.data.formats.xli import unpack, unpack_leads
from ecgjepa.data.readers import read
from ecgjepa.errors import RefusedRecordError
from ecgjepa.leads import LEADS_8, LEADS_12
from tests.data.archives import smooth_signal
from tests.data.sample_dicom import ecg_object, group
from tests.data.sample_files import edf_signals, write_muse, write_philips, write_philips_xli
from tests.data.sample_xli import lzw_codes, pack_codes, pack_lead, pack_leads
from tests.data.test_formats import refusal

RATE_HZ = 500.0
COUNTS = np.ascontiguousarray(np.rint(smooth_signal(3, 1000, 12).T * 1000), np.int16)
MV = (COUNTS / 1000).astype(np.float32)


def edf_file(path: Path, *signals: EdfSignal, seconds: float = 1.0, annotated: bool = False) -> Path:
    notes = [EdfAnnotation(0.5, None, "beat")] if annotated else None
    Edf(signals, data_record_duration=seconds, annotations=notes).write(path)
    return path


def test_edf_leaves_out_what_is_no_lead(tmp_path: Path) -> None:
    leads = edf_signals(COUNTS[:2], ("I", "II"), RATE_HZ, "EKG ")
    resp = EdfSignal(np.arange(50.0), 25, label="Resp", physical_dimension="L")
    recording = read(edf_file(tmp_path / "a.edf", resp, *leads))
    assert (recording.leads, recording.sampling_rate_hz) == (("EKG I", "EKG II"), RATE_HZ)
    np.testing.assert_allclose(recording.signal_mv, MV[:2], atol=1e-6)
    slow = edf_signals(COUNTS[2:3, :500], ("V1",), 250.0, "ECG ")
    error = refusal(edf_file(tmp_path / "b.edf", *leads, *slow))
    assert error.reason == "malformed"
    assert "EKG I 500 Hz, EKG II 500 Hz, ECG V1 250 Hz" in error.detail
    error = refusal(edf_file(tmp_path / "c.edf", resp, *edf_signals(COUNTS[:1], ("Fpz-Cz",), RATE_HZ, "EEG ")))
    assert error.reason == "not_an_ecg"
    assert "Resp, EEG Fpz-Cz" in error.detail


def test_edf_units_and_calibration(tmp_path: Path) -> None:
    def lead(unit: str, physical: tuple[float, float]) -> EdfSignal:
        return EdfSignal.from_digital(
            COUNTS[0],
            RATE_HZ,
            label="I",
            physical_dimension=unit,
            physical_range=physical,
            digital_range=(-9_000, 9_000),
        )

    for unit, scale in (("mV", 1e-3), ("V", 1e-6), ("nV", 1e3), ("uV", -1.0)):  # the last is upside down
        recording = read(edf_file(tmp_path / "a.edf", lead(unit, (-9_000 * scale, 9_000 * scale))))
        np.testing.assert_allclose(recording.signal_mv[0], MV[0] * np.sign(scale), atol=1e-5)
    unsaid = edf_file(tmp_path / "b.edf", lead("", (-9, 9)))
    assert refusal(unsaid).reason == "unknown_unit"
    np.testing.assert_allclose(read(unsaid, hints=Hints(unit="mV")).signal_mv[0], MV[0], atol=1e-6)
    assert refusal(edf_file(tmp_path / "c.edf", lead("mmHg", (-1, 1)))).reason == "unknown_unit"
    flat = edf_file(tmp_path / "d.edf", lead("mV", (-1, 1)))
    flat.write_bytes(flat.read_bytes().replace(b"-1      1       ", b"1       1       "))
    assert refusal(flat).reason == "uncalibrated"


def test_gaps_of_a_discontinuous_edf_are_not_samples(tmp_path: Path) -> None:
    path = edf_file(tmp_path / "a.edf", *edf_signals(COUNTS, LEADS_12, RATE_HZ, ""), seconds=0.5, annotated=True)
    whole = path.read_bytes()
    assert whole.count(b"+1.5\x14\x14") == 1
    path.write_bytes(whole.replace(b"EDF+C", b"EDF+D").replace(b"+1.5\x14\x14", b"+2.1\x14\x14"))
    signal_mv = read(path).signal_mv
    assert signal_mv.shape == (12, 1300)
    np.testing.assert_allclose(np.delete(signal_mv, np.s_[750:1050], axis=1), MV, atol=1e-6)
    assert np.isnan(signal_mv[:, 750:1050]).all()
    for onset in (b"+0.1", b"+x.1"):  # before the end of the one before; none
        path.write_bytes(whole.replace(b"EDF+C", b"EDF+D").replace(b"+1.5\x14\x14", onset + b"\x14\x14"))
        assert refusal(path).reason == "malformed"
    long = whole.replace(b"EDF+C", b"EDF+D").replace(b"+1.5\x14\x14\0", b"+9e8\x14\x14\0")
    path.write_bytes(long.replace(b"+9e8\x14\x14\0", b"+99999\x14"))  # a day later
    error = refusal(path)
    assert error.reason == "malformed"
    assert "claims" in error.detail
    plain = edf_file(tmp_path / "b.edf", *edf_signals(COUNTS, LEADS_12, RATE_HZ, ""))
    plain.write_bytes(plain.read_bytes()[:192] + b"EDF+D".ljust(44) + plain.read_bytes()[236:])
    assert refusal(plain).reason == "malformed"


def test_real_dicom_ecg() -> None:
    path = get_testdata_file("waveform_ecg.dcm", download=False)
    if path is None:
        pytest.skip("this pydicom does not bring waveform_ecg.dcm")
    recording = read(path)
    assert (recording.leads, recording.sampling_rate_hz) == (LEADS_12, 1000.0)
    assert recording.signal_mv.shape == (12, 10_000)
    lead = dict(zip(recording.leads, recording.signal_mv, strict=True))
    np.testing.assert_allclose(lead["III"], lead["II"] - lead["I"], atol=2e-3)  # Einthoven, to a count of 1.25 uV
    np.testing.assert_allclose(lead["aVR"], -(lead["I"] + lead["II"]) / 2, atol=2e-3)
    assert 0.4 < np.ptp(recording.signal_mv, axis=1).min() < np.ptp(recording.signal_mv, axis=1).max() < 2.5


def dicom(path: Path, dataset: Dataset) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_dicom_channels(tmp_path: Path) -> None:
    path, dataset = tmp_path / "a.dcm", ecg_object(COUNTS, LEADS_12, RATE_HZ)
    rhythm = dataset.WaveformSequence[1]
    channels = rhythm.ChannelDefinitionSequence
    source = channels[0].ChannelSourceSequence[0]
    source.CodeMeaning = "II"
    assert "that means 'II'" in refusal(dicom(path, dataset)).detail
    source.CodeValue = "5.6.3-9-65"  # -aVR, whatever its meaning says
    channels[1].ChannelSourceSequence[0].CodingSchemeDesignator = "99PRIVATE"  # known by its meaning
    channels[2].ChannelSensitivityUnitsSequence[0].CodeValue = "mV"
    channels[2].ChannelSensitivity = "0.0005"
    channels[2].ChannelBaseline = "-0.003"
    rhythm.WaveformPaddingValue = int(COUNTS[3, 5] + 3).to_bytes(2, "little", signed=True)
    recording = read(dicom(path, dataset))
    assert recording.leads == LEADS_12[1:]
    padding = COUNTS[1:] == COUNTS[3, 5]
    np.testing.assert_allclose(recording.signal_mv, np.where(padding, np.nan, MV[1:]), atol=1e-6)
    del channels[3].ChannelSensitivity
    assert refusal(dicom(path, dataset)).reason == "uncalibrated"
    channels[3].ChannelSensitivity = "1"
    channels[4].ChannelSensitivityUnitsSequence[0].CodeValue = "mm[Hg]"
    assert refusal(dicom(path, dataset)).reason == "unknown_unit"


def test_dicom_groups(tmp_path: Path) -> None:
    path, dataset = tmp_path / "a.dcm", ecg_object(COUNTS, LEADS_12, RATE_HZ)
    longer = group(np.tile(COUNTS, 2), LEADS_12, RATE_HZ, "ORIGINAL", "")
    dataset.WaveformSequence.append(longer)
    assert read(dicom(path, dataset)).signal_mv.shape == (12, 2000)
    longer.WaveformData = longer.WaveformData[:-2]
    assert refusal(dicom(path, dataset)).reason == "unreadable"
    longer.WaveformSampleInterpretation = "MB"
    assert refusal(dicom(path, dataset)).reason == "malformed"
    del dataset.WaveformSequence[1:]
    assert refusal(dicom(path, dataset)).reason == "no_signals"  # a median beat alone
    for channel in dataset.WaveformSequence[0].ChannelDefinitionSequence:
        channel.ChannelSourceSequence[0].CodeValue, channel.ChannelSourceSequence[0].CodeMeaning = "1", "Pressure"
    assert refusal(dicom(path, dataset)).reason == "not_an_ecg"
    del dataset.WaveformSequence
    assert refusal(dicom(path, dataset)).detail == "12-lead ECG Waveform Storage without waveforms, expected an ECG"
    path.write_bytes(b"\x89PNG" + bytes(400))
    assert refusal(path).reason == "not_an_ecg"


def test_dicom_of_other_byte_order_and_width(tmp_path: Path) -> None:
    dataset = ecg_object(COUNTS, LEADS_12, RATE_HZ)
    rhythm = dataset.WaveformSequence[1]
    rhythm.WaveformBitsAllocated, rhythm.WaveformSampleInterpretation = 32, "SL"
    shifted = COUNTS.astype(np.int32) + np.where(np.arange(12) == 0, 0, 3)[:, None]
    rhythm.WaveformData = shifted.astype("<i4").T.tobytes()
    np.testing.assert_allclose(read(dicom(tmp_path / "a.dcm", dataset)).signal_mv, MV, atol=1e-6)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    rhythm.WaveformData = shifted.astype(">i4").T.tobytes()
    np.testing.assert_allclose(read(dicom(tmp_path / "b.dcm", dataset)).signal_mv, MV, atol=1e-6)


def changed(path: Path, *changes: tuple[str, str], last: bool = False) -> Path:
    """The file with texts replaced; in its last place only, where asked for."""
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = new.join(text.rsplit(old, 1)) if last else text.replace(old, new)
    path.with_name("changed.xml").write_text(text)
    return path.with_name("changed.xml")


def test_muse(tmp_path: Path) -> None:
    path = write_muse(tmp_path, COUNTS, LEADS_12, RATE_HZ)
    expected = MV[[LEADS_12.index(lead) for lead in LEADS_8]]
    same = changed(path, ("<SampleBase>500<", "<SampleBase>5<"), ("<SampleExponent>0<", "<SampleExponent>2<"))
    assert read(same).sampling_rate_hz == RATE_HZ
    scaled = changed(path, ("PerBit>1<", "PerBit>4.88<"))
    np.testing.assert_allclose(read(scaled).signal_mv, expected * 4.88, atol=1e-5)
    in_mv = changed(path, ("MICROVOLTS", "MILLIVOLTS"), ("PerBit>1<", "PerBit>0.001<"))
    np.testing.assert_allclose(read(in_mv).signal_mv, expected, atol=1e-6)
    assert re.sub(r"<LeadDataCRC32>.*?</LeadDataCRC32>", "", path.read_text()).count("CRC") == 0
    unsaid = tmp_path / "unsaid.xml"
    unsaid.write_text(re.sub(r"<LeadDataCRC32>\d+<", "<LeadDataCRC32>0<", path.read_text()))
    np.testing.assert_allclose(read(unsaid).signal_mv, expected, atol=1e-6)
    for old, new, reason in (
        ("Rhythm", "Other", "no_signals"),
        ("PerBit>1<", "PerBit>0<", "uncalibrated"),
        ("MICROVOLTS", "MMHG", "unknown_unit"),
        ("MICROVOLTS", "", "unknown_unit"),
        ("<LeadSampleCountTotal>1000<", "<LeadSampleCountTotal>999<", "malformed"),
        ("<LeadByteCountTotal>2000<", "<LeadByteCountTotal>1<", "malformed"),
        ("LeadSampleSize>2", "LeadSampleSize>4", "malformed"),
        (f"CRC32>{zlib.crc32(COUNTS[11].tobytes())}<", "CRC32>1<", "checksum"),
        ("WaveFormData>\n", "WaveFormData>%", "malformed"),
        ("<SampleBase>500</SampleBase>", "", "unknown_sampling_rate"),
        ("SampleBase>500<", "SampleBase>fast<", "malformed"),
        ("SampleBase>500<", "SampleBase>5<", "malformed"),
    ):
        assert refusal(changed(path, (old, new), last="CRC" not in old)).reason == reason, (old, new)


def test_philips(tmp_path: Path) -> None:
    for path in (
        write_philips(tmp_path, COUNTS, LEADS_12, RATE_HZ),
        write_philips_xli(tmp_path, COUNTS, LEADS_12, RATE_HZ),
    ):
        scaled = changed(path, ('resolution="1"', 'resolution="5"'))
        np.testing.assert_allclose(read(scaled).signal_mv, MV * 5, atol=1e-5)
        for changes, reason in (
            ([("version>1.04", "version>2.0")], "malformed"),
            ([('"Base64"', '"Plain"')], "malformed"),
            ([('resolution="1"', 'resolution="5000"')], "uncalibrated"),
            ([("parsedwaveforms", "parsed")], "no_signals"),
            ([('perchannel="2000"', 'perchannel="1998"')], "malformed"),
            ([('perchannel="2000"', "")], "malformed"),
            ([('leads="12"', 'leads="13"')], "malformed"),
            ([('bitspersample="16"', 'bitspersample="12"')], "malformed"),
            ([(f'leadlabels="{" ".join(LEADS_12)}"', ""), ("STD-12", "EASI")], "unknown_leads"),
            ([('perchannel="2000"', 'perchannel="9e99"')], "malformed"),
        ):
            assert refusal(changed(path, *changes)).reason == reason, changes
    assert refusal(changed(path, ("XLI", "ZIP"))).reason == "malformed"
    assert "without I, from" in refusal(changed(path, ('labels="I ', 'labels="X '))).detail


def test_philips_of_version_1_03(tmp_path: Path) -> None:
    path = write_philips_xli(tmp_path, COUNTS, LEADS_12, RATE_HZ)
    old = changed(
        path,
        ("PhilipsECG", "SierraECG"),
        (">1.04<", ">1.03<"),
        (f'numberofleads="12" leadlabels="{" ".join(LEADS_12)}"', ""),
        ('compression="XLI"', 'compressflag="True" compressmethod="XLI"'),
        ('samplespersecond="500" resolution="1"', ""),
    )
    recording = read(old)
    np.testing.assert_allclose(recording.signal_mv, MV, atol=1e-6)
    assert (recording.leads, recording.sampling_rate_hz) == (LEADS_12, RATE_HZ)


def test_xli_by_hand() -> None:
    # A, then the string AA while it is being learned, then the end.
    assert unpack("r", pack_codes([65, 256, 1023]), 3) == b"AAA"
    assert unpack("r", pack_codes([65, 66, 256, 258, 1023]), 7) == b"ABABABA"
    # Samples 10 12 11 with the difference 2 * 12 - 10 - 11 in the header, as two high bytes and low bytes.
    words = bytes([0, 0, 0, 10, 12, 0])
    chunk = pack_codes([*words, 1023])
    content = len(chunk).to_bytes(4, "little") + b"\x01\0" + (3).to_bytes(2, "little") + chunk
    assert unpack_leads("r", content, 1, 3).tolist() == [[10, 12, 11]]
    for codes, expected in (([65, 300, 1023], 3), ([256, 1023], 1), ([65, 1023], 2), ([65, 256, 1023], 2)):
        with pytest.raises(RefusedRecordError, match="malformed"):
            unpack("r", pack_codes(codes), expected)


@pytest.mark.parametrize("kind", ["smooth", "noise", "constant", "extreme"])
def test_xli_both_ways(kind: str) -> None:
    chance = np.random.default_rng(0)
    counts = {
        "smooth": COUNTS,
        "noise": chance.integers(-4000, 4000, (8, 3000)),  # the table of strings is full long before the end
        "constant": np.full((2, 4000), -7),
        "extreme": np.stack([np.linspace(-32767, 32767, 5000), np.linspace(32767, -32767, 5000)]).round(),
    }[kind].astype(np.int16)
    leads = LEADS_12[: len(counts)]
    packed = b"".join(pack_lead(row.astype(np.int64)) for row in counts)
    np.testing.assert_array_equal(unpack_leads("r", packed, len(counts), counts.shape[1]), counts)
    assert max(lzw_codes(counts.tobytes())) == 1023
    if kind == "smooth":
        assert len(pack_leads(counts, leads)) < 0.8 * counts.nbytes
    assert base64.b64decode(base64.b64encode(packed)) == packed
