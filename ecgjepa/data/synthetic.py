"""Archives of synthetic ECGs in the published layouts of PTB-XL, CODE-15% and LUDB, for demo, tests and benchmarks.

The records come from `population`; here they get the labels, folds, tables and files that a reader of the real sets
needs.
"""

import itertools
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from tqdm import tqdm

from ecgjepa.data.formats.annotations import write_waves
from ecgjepa.data.simulated.population import Patient, Stream, SyntheticECG, generator, patient_number, synthesize
from ecgjepa.data.simulated.waves import true_waves
from ecgjepa.files import atomic_path, write_text
from ecgjepa.leads import LEADS_12

# What each finding is called in scp_codes, with its likelihood (forms and rhythms have 0 there), and in the report.
_FINDINGS: dict[str, tuple[dict[str, float], str]] = {
    "normal": ({"NORM": 100.0}, "normal ecg"),
    "left_bundle": ({"CLBBB": 100.0}, "left bundle branch block"),
    "right_bundle": ({"CRBBB": 100.0}, "right bundle branch block"),
    "inferior_injury": ({"IMI": 100.0, "STE_": 0.0}, "st elevation, acute inferior infarction"),
    "anterior_injury": ({"ASMI": 100.0, "STE_": 0.0}, "st elevation, acute anteroseptal infarction"),
    "sinus": ({"SR": 0.0}, "sinus rhythm"),
    "fibrillation": ({"AFIB": 0.0}, "atrial fibrillation"),
}
# The rows and columns of the real scp_statements.csv that are used.
_STATEMENTS = """,description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass
NORM,normal ECG,1.0,,,NORM,NORM
IMI,inferior myocardial infarction,1.0,,,MI,IMI
ASMI,anteroseptal myocardial infarction,1.0,,,MI,AMI
CRBBB,complete right bundle branch block,1.0,,,CD,CRBBB
CLBBB,complete left bundle branch block,1.0,,,CD,CLBBB
STE_,non-specific ST elevation,,1.0,,,
SR,sinus rhythm,,,1.0,,
AFIB,atrial fibrillation,,,1.0,,
"""
# The first patients of every kind go here, then round again, so that a small archive has every kind in every split.
_FOLD_ORDER = (1, 10, 9, 2, 3, 4, 5, 6, 7, 8)
_STEPS_PER_MV = 1000
# Noise worth a note in the table.
_STRONG_DRIFT_MV, _STRONG_NOISE_MV = 0.05, 0.015

_LUDB_RHYTHMS = {"sinus": "Sinus rhythm", "fibrillation": "Atrial fibrillation"}

_CODE15_RATE_HZ, _CODE15_SAMPLES, _CODE15_SHORT_SAMPLES = 400, 4096, 2934
_CODE15_SHORT_SHARE = 0.2


def write_ptbxl_archive(
    directory: Path | str, records: int, seed: int, *, overwrite: bool = False, progress: bool = False
) -> pd.DataFrame:
    """Write records as PTB-XL is laid out: two tables, and `records500/00000/00001_hr.{hea,dat}`.

    500 Hz, 10 s, 12 leads, WFDB format 16, 1000 steps per mV. Folds 1-10 are by patient and balanced by kind of ECG.
    The files of 100 Hz that the table names are not written. Record k, its labels and its fold do not depend on
    `records`.

    Args:
        overwrite: write into a directory that is not empty; files of other names stay in it.
        progress: show a progress bar.

    Returns:
        The table written, `ptbxl_database.csv`.

    Raises:
        ValueError: the directory is not empty, or no record is asked for.
    """
    directory = _prepare(directory, records, overwrite, "ptbxl_database.csv")
    rows: list[dict[str, Any]] = []
    patients_of_kind: Counter[tuple[str, str]] = Counter()
    fold_of_patient: dict[int, int] = {}
    for index in tqdm(range(records), desc="synthetic PTB-XL", unit=" records", disable=not progress):
        ecg = synthesize(seed, index)
        patient = ecg.patient
        if patient.number not in fold_of_patient:
            kind = patient.rhythm, patient.ventricles
            fold_of_patient[patient.number] = _FOLD_ORDER[patients_of_kind[kind] % len(_FOLD_ORDER)]
            patients_of_kind[kind] += 1
        rows.append(_ptbxl_row(ecg, fold_of_patient[patient.number]))
        _write_wfdb(directory / rows[-1]["filename_hr"], ecg)
    table = pd.DataFrame(rows)
    write_text(directory / "scp_statements.csv", _STATEMENTS)
    write_text(directory / "ptbxl_database.csv", table.to_csv(index=False))
    return table


def write_code15_archive(
    directory: Path | str, records: int, seed: int, *, overwrite: bool = False, progress: bool = False
) -> pd.DataFrame:
    """Write exams as CODE-15% is laid out: `exams_part0.hdf5` and `exams.csv`.

    `tracings` is (records + 1, 4096, 12) float32 in mV at 400 Hz, leads DI, DII, DIII, AVR, AVL, AVF, V1-V6; `exam_id`
    is int64. A fifth of the exams last 7.3 s and are padded with zeros at both ends; the last row is all zero with
    exam_id 0. Mains noise is that of Brazil, 60 Hz.

    Args:
        overwrite: write into a directory that is not empty; files of other names stay in it.
        progress: show a progress bar.

    Returns:
        The table written, `exams.csv`.

    Raises:
        ValueError: the directory is not empty, or no exam is asked for.
    """
    directory = _prepare(directory, records, overwrite, "exams.csv")
    rows: list[dict[str, Any]] = []
    with atomic_path(directory / "exams_part0.hdf5") as path, h5py.File(path, "w") as file:
        tracings = file.create_dataset("tracings", (records + 1, _CODE15_SAMPLES, 12), np.float32)
        exam_ids = file.create_dataset("exam_id", (records + 1,), np.int64)
        for index in tqdm(range(records), desc="synthetic CODE-15%", unit=" exams", disable=not progress):
            ecg = synthesize(seed, index, _CODE15_RATE_HZ, _CODE15_SAMPLES / _CODE15_RATE_HZ, mains_hz=60.0)
            tracing = ecg.signal_mv.T.astype(np.float32)
            if generator(seed, Stream.ARCHIVE, index).random() < _CODE15_SHORT_SHARE:
                padding = (_CODE15_SAMPLES - _CODE15_SHORT_SAMPLES) // 2
                tracing[:padding] = tracing[-padding:] = 0
            tracings[index], exam_ids[index] = tracing, index + 1
            rows.append(_code15_row(index + 1, ecg.patient))
    table = pd.DataFrame(rows)
    write_text(directory / "exams.csv", table.to_csv(index=False))
    return table


def write_ludb_archive(
    directory: Path | str, records: int, seed: int, *, overwrite: bool = False, progress: bool = False
) -> pd.DataFrame:
    """Write records as LUDB is laid out: `data/1.{dat,hea}`, and the waves of every lead in `data/1.i` to `data/1.v6`.

    500 Hz, 10 s, 12 leads, one record a patient. The waves are those that the signal was made of, see
    `ecgjepa.data.simulated.waves`; age, sex and rhythm stand in the header.

    Args:
        overwrite: write into a directory that is not empty; files of other names stay in it.
        progress: show a progress bar.

    Returns:
        The table written, `ludb.csv`.

    Raises:
        ValueError: the directory is not empty, or no record is asked for.
    """
    directory = _prepare(directory, records, overwrite, "ludb.csv")
    of_new_patients = (index for index in itertools.count() if patient_number(seed, index) == index)
    rows: list[dict[str, Any]] = []
    for number in tqdm(range(1, records + 1), desc="synthetic LUDB", unit=" records", disable=not progress):
        ecg = synthesize(seed, next(of_new_patients))
        rhythm, sex = _LUDB_RHYTHMS[ecg.patient.rhythm], "F" if ecg.patient.female else "M"
        comments = [f"<age>: {ecg.patient.age}", f"<sex>: {sex}", "<diagnoses>:", f"Rhythm: {rhythm}."]
        _write_wfdb(directory / "data" / str(number), ecg, comments, small_letters=True)
        files = [directory / "data" / f"{number}.{lead.lower()}" for lead in LEADS_12]
        write_waves(files[0], true_waves(ecg))
        for file in files[1:]:
            shutil.copyfile(files[0], file)
        rows.append({"ID": number, "Sex": sex, "Age": ecg.patient.age, "Rhythms": rhythm})
    table = pd.DataFrame(rows)
    write_text(directory / "ludb.csv", table.to_csv(index=False))
    return table


def _prepare(directory: Path | str, records: int, overwrite: bool, table: str) -> Path:
    """Make the directory; the table is written last, so that an archive without it was cut short."""
    directory = Path(directory)
    if records < 1:
        raise ValueError(f"synthetic archive: expected at least one record, found {records}")
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"synthetic archive: {directory} is not a directory")
    if directory.is_dir() and any(directory.iterdir()) and not overwrite:
        raise ValueError(f"synthetic archive: {directory} is not empty, expected an empty directory or overwrite=True")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / table).unlink(missing_ok=True)
    return directory


def _ptbxl_row(ecg: SyntheticECG, fold: int) -> dict[str, Any]:
    """One row of `ptbxl_database.csv`, all columns of the real one; what a dipole does not have stays empty."""
    ecg_id, patient = ecg.index + 1, ecg.patient
    findings = [patient.ventricles, patient.rhythm]
    if patient.rhythm != "sinus" and patient.ventricles == "normal":
        findings = [patient.rhythm]  # a fibrillating heart is not a normal ECG, whatever its ventricles do
    folder = f"{ecg_id // 1000 * 1000:05d}"
    recorded = pd.Timestamp("2000-01-01 08:00:00") + pd.Timedelta(hours=ecg.index)
    noisy = ecg.noise.muscle_mv > _STRONG_NOISE_MV or ecg.noise.mains_mv > _STRONG_NOISE_MV
    return {
        "ecg_id": ecg_id,
        "patient_id": float(patient.number + 1),
        "age": float(patient.age) if patient.age < 90 else 300.0,  # PTB-XL writes 300 for "over 89"
        "sex": int(patient.female),  # 0 is male, 1 female
        "height": None,
        "weight": None,
        "nurse": None,
        "site": 0.0,
        "device": "dipole",
        "recording_date": str(recorded),
        "report": ". ".join(_FINDINGS[finding][1] for finding in findings),
        "scp_codes": str({code: value for finding in findings for code, value in _FINDINGS[finding][0].items()}),
        "heart_axis": None,
        "infarction_stadium1": "Stadium I" if patient.ventricles.endswith("injury") else None,
        "infarction_stadium2": None,
        "validated_by": None,
        "second_opinion": False,
        "initial_autogenerated_report": True,
        "validated_by_human": False,
        "baseline_drift": ", alles," if ecg.noise.drift_mv > _STRONG_DRIFT_MV else None,
        "static_noise": ", alles," if noisy else None,
        "burst_noise": None,
        "electrodes_problems": None,
        "extra_beats": None,
        "pacemaker": None,
        "strat_fold": fold,
        "filename_lr": f"records100/{folder}/{ecg_id:05d}_lr",
        "filename_hr": f"records500/{folder}/{ecg_id:05d}_hr",
    }


def _write_wfdb(path: Path, ecg: SyntheticECG, comments: Iterable[str] = (), *, small_letters: bool = False) -> None:
    """Write `path`.dat (format 16) and `path`.hea; `wfdb.wrsamp` needs 50 ms for the header, this a hundredth of it."""
    steps_SL = np.rint(ecg.signal_mv.T * _STEPS_PER_MV).astype("<i2")
    lines = [f"{path.name} {len(LEADS_12)} {ecg.sampling_rate_hz} {len(steps_SL)}"]
    for lead, steps_S in zip(LEADS_12, steps_SL.T, strict=True):
        checksum = int(steps_S.sum(dtype=np.int64)) % 65536
        gain = f"{_STEPS_PER_MV}.0(0)/mV"
        spelled = lead.lower() if small_letters else lead.upper()
        lines.append(f"{path.name}.dat 16 {gain} 16 0 {steps_S[0]} {checksum} 0 {spelled}")
    lines += [f"#{comment}" for comment in comments]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"{path.name}.dat").write_bytes(steps_SL.tobytes())
    path.with_name(f"{path.name}.hea").write_text("\n".join(lines) + "\n", encoding="ascii")


def _code15_row(exam_id: int, patient: Patient) -> dict[str, Any]:
    """One row of `exams.csv`, all columns of the real one."""
    return {
        "exam_id": exam_id,
        "age": patient.age,
        "is_male": not patient.female,
        "nn_predicted_age": None,
        "1dAVb": False,
        "RBBB": patient.ventricles == "right_bundle",
        "LBBB": patient.ventricles == "left_bundle",
        "SB": False,
        "ST": False,
        "AF": patient.rhythm == "fibrillation",
        "patient_id": patient.number + 1,
        "death": None,
        "timey": None,
        "normal_ecg": patient.rhythm == "sinus" and patient.ventricles == "normal",
        "trace_file": "exams_part0.hdf5",
    }
