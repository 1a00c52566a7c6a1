"""True files of every format, all holding the same ECG.

Amplitudes are whole microvolts within +-32.767 mV, which all of these formats hold exactly; what is given is rounded to
them first. Readings of these files therefore agree to the rounding of float32, far below 1e-3 mV.

Axes: L leads, S samples.
"""

import base64
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import wfdb
from edfio import Edf, EdfAnnotation, EdfSignal
from numpy import ndarray

from ecgjepa.data.formats.hints import NO_HINTS, Hints
from ecgjepa.leads import LEADS_8
from tests.data.sample_dicom import write_dicom
from tests.data.sample_xli import pack_leads

LIMIT_UV = 32_767


def write_samples(
    folder: Path, signal_mv_LS: ndarray, leads: Sequence[str], sampling_rate_hz: float
) -> dict[str, tuple[Path, Hints]]:
    """Write one ECG in all formats.

    Args:
        folder: made if absent.
        signal_mv_LS: (L, S) in mV, finite, within +-32.767 mV.
        leads: L names, as the eight I, II, V1-V6 or all twelve.
        sampling_rate_hz: any that a whole number of milliseconds holds whole samples of (Philips states milliseconds).

    Returns:
        Name of the format -> file, and what a reader must be told of it. MUSE files hold the eight independent leads
        only, as the real ones do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    signal_uv = np.rint(np.asarray(signal_mv_LS, dtype=np.float64) * 1000)
    if not np.abs(signal_uv).max() <= LIMIT_UV:
        raise ValueError(f"sample files hold +-{LIMIT_UV} uV, found {np.abs(signal_uv).max()} uV")
    signal_uv, leads = np.ascontiguousarray(signal_uv, dtype=np.int16), tuple(leads)
    no_words = Hints(sampling_rate_hz, leads, "mV")
    return {key: (write(folder, signal_uv, leads, sampling_rate_hz), NO_HINTS) for key, write in WRITERS.items()} | {
        "npy": (write_npy(folder, signal_uv), no_words)
    }


def write_wfdb_16(folder: Path, signal_uv: ndarray, leads: tuple[str, ...], rate_hz: float) -> Path:
    """Format 16, interleaved."""
    n = len(leads)
    wfdb.wrsamp(
        "wfdb",
        fs=rate_hz,
        units=["mV"] * n,
        sig_name=list(leads),
        d_signal=signal_uv.T.astype(np.int64),
        fmt=["16"] * n,
        adc_gain=[1000.0] * n,
        baseline=[0] * n,
        write_dir=str(folder),
    )
    return folder / "wfdb.hea"


def write_wfdb_mat(folder: Path, signal_uv: ndarray, leads: tuple[str, ...], rate_hz: float) -> Path:
    """`.mat` with a header, as in the PhysioNet challenges: a MATLAB 4 matrix `val` (L, S), samples after 24 bytes."""
    matrix = np.array([30, *signal_uv.shape, 0, 4], "<i4").tobytes() + b"val\0"
    (folder / "wfdb_mat.mat").write_bytes(matrix + signal_uv.astype("<i2").tobytes(order="F"))
    lines = [f"wfdb_mat {len(leads)} {rate_hz:g} {signal_uv.shape[1]}"]
    for lead, row in zip(leads, signal_uv.astype(np.int64), strict=True):
        checksum = int(row.sum()) % 65536
        lines.append(f"wfdb_mat.mat 16+24 1000/mV 16 0 {row[0]} {checksum} 0 {lead}")
    (folder / "wfdb_mat.hea").write_text("\n".join([*lines, "#Age: 50", ""]))
    return folder / "wfdb_mat.mat"


def write_hdf5(folder: Path, signal_uv: ndarray, leads: tuple[str, ...], rate_hz: float) -> Path:
    """A data set `ecg` (S, L) in mV with attributes, compressed."""
    with h5py.File(folder / "hdf5.h5", "w") as file:
        data = file.create_dataset("ecg", data=(signal_uv.T / 1000).astype(np.float32), compression="gzip")
        data.attrs.update({"fs": rate_hz, "lead_names": list(leads), "unit": "mV"})
    return folder / "hdf5.h5"


def write_npy(folder: Path, signal_uv: ndarray) -> Path:
    """(L, S) float64 in mV; says nothing about itself."""
    np.save(folder / "npy.npy", signal_uv / 1000)
    return folder / "npy.npy"


def write_npz(folder: Path, signal_uv: ndarray, leads: tuple[str, ...], rate_hz: float) -> Path:
    """(L, S) int16 in uV, with all that is to be said."""
    np.savez(folder / "npz.npz", signal=signal_uv, sampling_rate_hz=rate_hz, leads=np.array(leads), unit="uV")
    return folder / "npz.npz"


def write_csv(folder: Path, signal_uv: ndarray, leads: tuple[str, ...], rate_hz: float) -> Path:
    """A column of time and one per lead, in mV with three decimals."""
    table = pd.DataFrame({f"{lead} [mV]": row / 1000 for lead, row in zip(leads, signal_uv, strict=True)})
    table.insert(0, "time_ms", np.arange(len(table)) / rate_hz * 1000)
    table.round(6).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def edf_signals(signal_uv: ndarray, leads: tuple[str, ...], rate_hz: float, label: str) -> list[EdfSignal]:
    """One count per microvolt."""
    full = (-32_768, 32_767)
    return [
        EdfSignal.from_digital(
            row, rate_hz, label=label + lead, physical_dimension="uV", physical_range=full, digital_range=full
        )
        for lead, row in zip(leads, signal_uv, strict=True)
    ]


def record_seconds(samples: int, rate_hz: float) -> float:
    """Data records of a second where that divides the recording, else one of its whole duration."""
    seconds = samples / rate_hz
    return 1 if seconds.is_integer() and float(rate_hz).is_integer() else seconds


def write_edf(folder: Path, signal_uv: ndarray, leads: tuple[str, ...], rate_hz: float) -> Path:
    """Plain EDF, labels without prefix."""
    seconds = record_seconds(signal_uv.shape[1], rate_hz)
    Edf(edf_signals(signal_uv, leads, rate_hz, ""), data_record_duration=seconds).write(folder / "edf.edf")
    return folder / "edf.edf"


def write_edf_plus(folder: Path, signal_uv: ndarray, leads: tuple[str, ...], rate_hz: float) -> Path:
    """EDF+C with the standard's labels, annotations, and a signal that is no ECG."""
    resp = EdfSignal.from_digital(-signal_uv[0], rate_hz, label="Resp nasal", physical_dimension="")
    edf = Edf(
        [resp, *edf_signals(signal_uv, leads, rate_hz, "ECG ")],
        data_record_duration=record_seconds(signal_uv.shape[1], rate_hz),
        annotations=[EdfAnnotation(0.5, None, "start of recording")],
    )
    edf.write(folder / "edf_plus.edf")
    return folder / "edf_plus.edf"


def write_muse(folder: Path, signal_uv: ndarray, leads: tuple[str, ...], rate_hz: float) -> Path:
    """A median beat, then the rhythm; of twelve leads the eight independent ones."""
    rows = {lead: row for lead, row in zip(leads, signal_uv, strict=True) if lead in LEADS_8 or len(leads) < 8}
    waveforms = [_muse_waveform("Median", {lead: row[:600] for lead, row in rows.items()}, rate_hz)]
    waveforms.append(_muse_waveform("Rhythm", rows, rate_hz))
    head = '<?xml version="1.0" encoding="ISO-8859-1"?>\n<!DOCTYPE RestingECG SYSTEM "restecg.dtd">\n'
    (folder / "muse.xml").write_text(f"{head}<RestingECG>\n{''.join(waveforms)}</RestingECG>\n")
    return folder / "muse.xml"


def _muse_waveform(kind: str, rows: dict[str, ndarray], rate_hz: float) -> str:
    leads = ""
    for lead, row in rows.items():
        content = row.astype("<i2").tobytes()
        leads += (
            f"<LeadData><LeadByteCountTotal>{len(content)}</LeadByteCountTotal><LeadTimeOffset>0</LeadTimeOffset>"
            f"<LeadSampleCountTotal>{len(row)}</LeadSampleCountTotal>"
            "<LeadAmplitudeUnitsPerBit>1</LeadAmplitudeUnitsPerBit><LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits>"
            f"<LeadID>{lead}</LeadID><LeadSampleSize>2</LeadSampleSize><LeadOff>FALSE</LeadOff>"
            f"<LeadDataCRC32>{zlib.crc32(content)}</LeadDataCRC32>\n"
            f"<WaveFormData>\n{base64.encodebytes(content).decode()}</WaveFormData></LeadData>\n"
        )
    return (
        f"<Waveform><WaveformType>{kind}</WaveformType><NumberofLeads>{len(rows)}</NumberofLeads>"
        f"<SampleBase>{rate_hz:g}</SampleBase><SampleExponent>0</SampleExponent>\n{leads}</Waveform>\n"
    )


def write_philips(folder: Path, signal_uv: ndarray, leads: tuple[str, ...], rate_hz: float) -> Path:
    """Version 1.04, plain samples, lead after lead, at 1 uV per count."""
    return _write_philips(folder / "philips.xml", signal_uv.astype("<i2").tobytes(), signal_uv, leads, rate_hz, "")


def write_philips_xli(folder: Path, signal_uv: ndarray, leads: tuple[str, ...], rate_hz: float) -> Path:
    """As `write_philips`, compressed by XLI."""
    content = pack_leads(signal_uv, leads)
    method = 'compression="XLI"'
    return _write_philips(folder / "philips_xli.xml", content, signal_uv, leads, rate_hz, method)


def _write_philips(
    path: Path, content: bytes, signal_uv: ndarray, leads: tuple[str, ...], rate_hz: float, method: str
) -> Path:
    duration_ms = signal_uv.shape[1] / rate_hz * 1000
    path.write_text(
        f"""<?xml version="1.0" encoding="UTF-8"?>
<restingecgdata xmlns="http://www3.medical.philips.com">
  <documentinfo><documenttype>PhilipsECG</documenttype><documentversion>1.04</documentversion></documentinfo>
  <dataacquisition><signalcharacteristics><samplingrate>{rate_hz:g}</samplingrate>
    <signalresolution>1</signalresolution><acquisitiontype>STD-12</acquisitiontype><bitspersample>16</bitspersample>
  </signalcharacteristics></dataacquisition>
  <waveforms><parsedwaveforms dataencoding="Base64" {method} numberofleads="{len(leads)}" leadlabels="{" ".join(leads)}"
    durationperchannel="{duration_ms:g}" samplespersecond="{rate_hz:g}" resolution="1" signaloffset="0"
    bitspersample="16">
{base64.encodebytes(content).decode()}</parsedwaveforms>
    <repbeats dataencoding="Base64"><repbeat leadname="I">AAAA</repbeat></repbeats>
  </waveforms>
</restingecgdata>
"""
    )
    return path


WRITERS: dict[str, Callable[[Path, ndarray, tuple[str, ...], float], Path]] = {
    "wfdb": write_wfdb_16,
    "wfdb_mat": write_wfdb_mat,
    "hdf5": write_hdf5,
    "npz": write_npz,
    "csv": write_csv,
    "edf": write_edf,
    "edf_plus": write_edf_plus,
    "dicom": write_dicom,
    "muse": write_muse,
    "philips": write_philips,
    "philips_xli": write_philips_xli,
}
