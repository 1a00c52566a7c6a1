"""EDF and DICOM that are malformed: counts, calibrations and lengths that do not fit."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.data.malformed_kind import Ground, Kind, of, replaced, written

Make = Callable[[Path, Ground], Path]
SIGNALS = 12
# Where the fields of an EDF header begin, and how long they are; of those of the signals, per signal.
_MAIN = {"version": (0, 8), "header": (184, 8), "records": (236, 8), "seconds": (244, 8), "signals": (252, 4)}
_PER_SIGNAL = {
    "label": (0, 16), "unit": (96, 8), "physical_min": (104, 8), "physical_max": (112, 8), "digital_min": (120, 8),
    "digital_max": (128, 8), "samples": (216, 8),
}  # fmt: skip


def edf(name: str, value: bytes, *, all_signals: bool = True) -> Make:
    """The sample EDF, one field changed."""

    def make(folder: Path, ground: Ground) -> Path:
        content = bytearray(ground.files["edf.edf"])
        if name in _MAIN:
            start, size = _MAIN[name]
            places = [start]
        else:
            start, size = _PER_SIGNAL[name]
            first = 256 + start * SIGNALS
            places = [first + size * k for k in range(SIGNALS if all_signals else 1)]
        for place in places:
            content[place : place + size] = value.ljust(size)[:size]
        return written(folder / "a.edf", bytes(content))

    return make


def discontinuous(second: bytes) -> Make:
    """EDF+D of two data records, the second of which begins when it is told."""

    def make(folder: Path, ground: Ground) -> Path:
        content = ground.files["edf_plus.edf"]
        content = replaced(content, b"EDF+C", b"EDF+D").replace(b"+0\x14\x14", second[:4].ljust(4, b"\x14"))
        return written(folder / "a.edf", content)

    return make


def dicom(change: Callable[[Dataset], object]) -> Make:
    """The sample DICOM, an element of it or of its rhythm changed."""

    def make(folder: Path, ground: Ground) -> Path:
        dataset = pydicom.dcmread(io.BytesIO(ground.files["dicom.dcm"]))
        change(dataset)
        dataset.save_as(folder / "a.dcm", enforce_file_format=True)
        return folder / "a.dcm"

    return make


def rhythm(**values: Any) -> Make:
    """Elements of the rhythm; None takes one out."""

    def change(dataset: Dataset) -> None:
        for name, value in values.items():
            if value is None:
                delattr(dataset.WaveformSequence[1], name)
            else:
                setattr(dataset.WaveformSequence[1], name, value)

    return dicom(change)


def channels(**values: Any) -> Make:
    def change(dataset: Dataset) -> None:
        for channel in dataset.WaveformSequence[1].ChannelDefinitionSequence:
            for name, value in values.items():
                setattr(channel, name, value)

    return dicom(change)


def nested(depth: int) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        item = Dataset()
        for _ in range(depth):
            outer = Dataset()
            outer.ConceptNameCodeSequence = Sequence([item])
            item = outer
        dataset.ConceptNameCodeSequence = Sequence([item])

    return change


def raw_nested(folder: Path, ground: Ground) -> Path:
    """Ten thousand sequences of unknown length in each other, which never end."""
    sequence = struct.pack("<HH2sHI", 0x0040, 0xA043, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    content = ground.files["dicom.dcm"]
    end_of_meta = 144 + struct.unpack_from("<I", content, 140)[0]
    return written(folder / "a.dcm", content[:end_of_meta] + sequence * 10_000)


def raw(change: Callable[[bytes], bytes]) -> Make:
    return lambda folder, ground: written(folder / "a.dcm", change(ground.files["dicom.dcm"]))


def waveform_length(content: bytes) -> bytes:
    """Waveform data that claims four gigabytes."""
    place = content.rindex(struct.pack("<HH", 0x5400, 0x1010)) + 8
    return content[:place] + b"\xfe\xff\xff\xff" + content[place + 4 : place + 4004]


def drop_group(dataset: Dataset) -> None:
    del dataset.WaveformSequence[1]


_EDF: tuple[tuple[str, Make, str], ...] = (
    ("10^8 - 1 data records", edf("records", b"99999999"), "unreadable"),
    ("-1 data records", edf("records", b"-1"), "unreadable"),
    ("no data records", edf("records", b"0"), "unreadable"),
    ("records in words", edf("records", b"many"), "unreadable"),
    ("9,999 signals", edf("signals", b"9999"), "unreadable"),
    ("no signals", edf("signals", b"0"), "unreadable not_an_ecg"),
    ("-1 signals", edf("signals", b"-1"), "unreadable not_an_ecg"),
    ("one signal too few", edf("signals", b"11"), "unreadable"),
    ("one signal too many", edf("signals", b"13"), "unreadable"),
    ("signals in words", edf("signals", b"many"), "unreadable"),
    ("records of 0 seconds", edf("seconds", b"0"), "unreadable malformed"),
    ("records of -1 seconds", edf("seconds", b"-1"), "malformed unreadable"),
    ("records of NaN seconds", edf("seconds", b"nan"), "malformed unreadable"),
    ("records of 1e-30 seconds", edf("seconds", b"1e-30"), "malformed unreadable"),
    ("records of 1e30 seconds", edf("seconds", b"1e30"), "malformed unreadable"),
    ("10^8 - 1 samples a record", edf("samples", b"99999999"), "unreadable"),
    ("no samples a record", edf("samples", b"0"), "unreadable malformed no_signals"),
    ("-250 samples a record", edf("samples", b"-250"), "unreadable malformed"),
    ("samples in words", edf("samples", b"many"), "unreadable"),
    ("one lead with more samples", edf("samples", b"251", all_signals=False), "unreadable malformed"),
    ("labels that are no leads", edf("label", b"EEG"), "not_an_ecg"),
    ("labels that are no text", edf("label", b"\xff\xfe\0\1"), "not_an_ecg unreadable"),
    ("one label for all", edf("label", b"I"), "duplicate_lead"),
    ("a unit of pressure", edf("unit", b"mmHg"), "unknown_unit"),
    ("no unit", edf("unit", b""), "unknown_unit"),
    ("a physical range of nothing", edf("physical_max", b"-32768"), "uncalibrated"),
    ("a physical range of NaN", edf("physical_max", b"nan"), "uncalibrated unreadable malformed"),
    ("an infinite physical range", edf("physical_max", b"inf"), "uncalibrated unreadable malformed"),
    ("a physical range to 1e999", edf("physical_max", b"1e999"), "uncalibrated unreadable malformed"),
    ("a physical range in words", edf("physical_max", b"high"), "unreadable"),
    ("a digital range of nothing", edf("digital_max", b"-32768"), "uncalibrated"),
    ("a digital range upside down", edf("digital_max", b"-99999"), "uncalibrated"),
    ("a digital range in words", edf("digital_max", b"high"), "unreadable"),
    ("a header that begins behind the file", edf("header", b"99999999"), "unreadable"),
    ("a header of no bytes", edf("header", b"0"), "unreadable"),
    ("a header of negative size", edf("header", b"-256"), "unreadable"),
    ("the version of BDF", edf("version", b"\xffBIOSEMI"), "unreadable not_an_ecg malformed"),
    ("gaps without times", discontinuous(b"xxxx"), "malformed"),
)  # fmt: skip

_DICOM: tuple[tuple[str, Make, str], ...] = (
    ("no signature", raw(lambda c: c[:128] + b"DICK" + c[132:]), "not_an_ecg"),
    ("cut behind the signature", raw(lambda c: c[:132]), "not_an_ecg unreadable"),
    ("cut within an element", raw(lambda c: c[:700]), "not_an_ecg unreadable malformed no_signals"),
    ("waveforms of four gigabytes", raw(waveform_length), "unreadable"),
    ("a syntax that is compressed",
     raw(lambda c: replaced(c, b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99\0")), "unreadable"),
    ("10^4 sequences in each other", raw_nested, "unreadable not_an_ecg malformed"),
    ("no waveforms", dicom(lambda d: d.__delattr__("WaveformSequence")), "not_an_ecg"),
    ("no groups", dicom(lambda d: setattr(d, "WaveformSequence", Sequence([]))), "not_an_ecg"),
    ("a median beat alone", dicom(drop_group), "no_signals"),
    ("no channels", rhythm(ChannelDefinitionSequence=Sequence([])), "no_signals malformed not_an_ecg"),
    ("no samples", rhythm(NumberOfWaveformSamples=0), "malformed"),
    ("a sample more", rhythm(NumberOfWaveformSamples=251), "unreadable"),
    ("2^32 - 1 samples", rhythm(NumberOfWaveformSamples=2**32 - 1), "unreadable"),
    ("one channel too few", rhythm(NumberOfWaveformChannels=11), "malformed"),
    ("65,535 channels", rhythm(NumberOfWaveformChannels=65_535), "malformed"),
    ("no data", rhythm(WaveformData=b""), "unreadable"),
    ("data cut", rhythm(WaveformData=bytes(100)), "unreadable"),
    ("no element of data", rhythm(WaveformData=None), "unreadable"),
    ("an unknown type", rhythm(WaveformSampleInterpretation="MB"), "malformed"),
    ("32 bits", rhythm(WaveformBitsAllocated=32), "malformed"),
    ("no rate", rhythm(SamplingFrequency=None), "malformed unknown_sampling_rate"),
    ("rate 0", rhythm(SamplingFrequency="0"), "malformed"),
    ("a negative rate", rhythm(SamplingFrequency="-250"), "malformed"),
    ("rate 1e30", rhythm(SamplingFrequency="1e30"), "malformed"),
    ("two rates", rhythm(SamplingFrequency=["250", "500"]), "malformed"),
    ("a rate in words", raw(lambda c: replaced(c, b"250 ", b"fast")), "malformed unreadable"),
    ("sensitivity 0", channels(ChannelSensitivity="0"), "uncalibrated"),
    ("a negative sensitivity", channels(ChannelSensitivity="-0.5"), "uncalibrated"),
    ("no sensitivity", channels(ChannelSensitivity=""), "uncalibrated"),
    ("sensitivity NaN", raw(lambda c: replaced(c, b"0.5 ", b"nan ")), "uncalibrated malformed unreadable"),
    ("an infinite sensitivity", raw(lambda c: replaced(c, b"0.5 ", b"inf ")), "uncalibrated malformed unreadable"),
    ("two sensitivities", channels(ChannelSensitivity=["1", "2"]), "uncalibrated malformed unreadable"),
    ("a baseline of 1e308", channels(ChannelBaseline="1e308"), "not_finite"),
    ("codes of one lead for all", channels(ChannelSourceSequence=Sequence([])), "not_an_ecg no_signals"),
    ("a unit of pressure", raw(lambda c: replaced(c, b"uV", b"Pa")), "unknown_unit"),
)  # fmt: skip


def kinds() -> list[Kind]:
    """All kinds of EDF and DICOM."""
    late = {"duplicate_lead", "not_finite"}
    return [
        Kind(name, what, make, of(reasons), by_contract=bool(late & set(reasons.split())))
        for name, table in (("EDF", _EDF), ("DICOM", _DICOM))
        for what, make, reasons in table
    ]
