"""A 12-lead ECG object of DICOM: the rhythm, and a median beat that must not be taken for it."""

from pathlib import Path

import numpy as np
from numpy import ndarray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, TwelveLeadECGWaveformStorage, generate_uid

# In the order of the standard twelve; both coding schemes give these numbers to them.
NUMBERS = {"I": 1, "II": 2, "III": 61, "aVR": 62, "aVL": 63, "aVF": 64} | {f"V{k}": k + 2 for k in range(1, 7)}


def write_dicom(folder: Path, signal_uv: ndarray, leads: tuple[str, ...], rate_hz: float) -> Path:
    """Leads are coded by SCP-ECG and MDC in turn."""
    dataset = ecg_object(signal_uv, leads, rate_hz)
    dataset.save_as(folder / "dicom.dcm", enforce_file_format=True)
    return folder / "dicom.dcm"


def ecg_object(signal_uv: ndarray, leads: tuple[str, ...], rate_hz: float) -> Dataset:
    """The object in memory, for tests to change."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = TwelveLeadECGWaveformStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["ecg"])
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = TwelveLeadECGWaveformStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.Modality = "ECG"
    median = group(signal_uv[:, :600], leads, rate_hz, "DERIVED", "MEDIAN BEAT")
    dataset.WaveformSequence = Sequence([median, group(signal_uv, leads, rate_hz, "ORIGINAL", "RHYTHM")])
    return dataset


def group(signal_uv: ndarray, leads: tuple[str, ...], rate_hz: float, originality: str, label: str) -> Dataset:
    """One multiplex group; all but the first lead lie 3 counts higher, which the baseline takes off again."""
    item = Dataset()
    item.WaveformOriginality = originality
    item.MultiplexGroupLabel = label
    item.NumberOfWaveformChannels = len(leads)
    item.NumberOfWaveformSamples = signal_uv.shape[1]
    item.SamplingFrequency = f"{rate_hz:g}"
    item.WaveformBitsAllocated = 16
    item.WaveformSampleInterpretation = "SS"
    shift_L = np.where(np.arange(len(leads)) == 0, 0, 3)
    item.WaveformData = (signal_uv + shift_L[:, None]).astype("<i2").T.tobytes()
    item.ChannelDefinitionSequence = Sequence([channel(lead, i, int(shift_L[i])) for i, lead in enumerate(leads)])
    return item


def channel(lead: str, index: int, shift: int) -> Dataset:
    """Sensitivity 0.5 x correction 2 = 1 uV per count."""
    item = Dataset()
    item.ChannelSensitivity, item.ChannelSensitivityCorrectionFactor = "0.5", "2"
    item.ChannelBaseline = str(-shift)
    item.WaveformBitsStored = 16
    scheme, code = ("MDC", f"2:{NUMBERS[lead]}") if index % 2 else ("SCPECG", f"5.6.3-9-{NUMBERS[lead]}")
    item.ChannelSourceSequence = Sequence([coded(code, scheme, f"Lead {lead}")])
    item.ChannelSensitivityUnitsSequence = Sequence([coded("uV", "UCUM", "microvolt")])
    return item


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    """An item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
