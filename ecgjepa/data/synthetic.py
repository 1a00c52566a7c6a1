"""Archives of synthetic ECGs in the published layouts of PTB-XL and CODE-15%, for the demo, tests and benchmarks.

The records come from `population`; here they get the labels, tables, folds and files that a reader of the real set expects.
"""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from tqdm import tqdm

from ecgjepa.data.population import Patient, Stream, SyntheticECG, generator, synthesize
from ecgjepa.signal import LEADS_12

# What each finding is called in scp_codes, with its likelihood; forms and rhythms have 0 there, as in PTB-XL.
_SCP_CODES = {
    "normal": {"NORM": 100.0},
    "left_bundle": {"CLBBB": 100.0},
    "right_bundle": {"CRBBB": 100.0},
    "inferior_injury": {"IMI": 100.0, "STE_": 0.0},
    "anterior_injury": {"ASMI": 100.0, "STE_": 0.0},
    "sinus": {"SR": 0.0},
    "fibrillation": {"AFIB": 0.0},
}
_REPORT = {
    "normal": "normal ecg",
    "left_bundle": "left bundle branch block",
    "right_bundle": "right bundle branch block",
    "inferior_injury": "st elevation, acute inferior infarction",
    "anterior_injury": "st elevation, acute anteroseptal infarction",
    "sinus": "sinus rhythm",
    "fibrillation": "atrial fibrillation",
}
# The rows of PTB-XL's scp_statements.csv that are used: description, diagnostic, form, rhythm, class, subclass, category.
_STATEMENTS = {
    "NORM": ("normal ECG", 1, None, None, "NORM", "NORM", "Normal/abnormal"),
    "IMI": ("inferior myocardial infarction", 1, None, None, "MI", "IMI", "Myocardial Infarction"),
    "ASMI": ("anteroseptal myocardial infarction", 1, None, None, "MI", "AMI", "Myocardial Infarction"),
    "CRBBB": (
        "complete right bundle branch block",
        *(1, None, None, "CD", "CRBBB"),
        "Intraventricular and intra-atrial Conduction disturbances",
    ),
    "CLBBB": (
        "complete left bundle branch block",
        *(1, None, None, "CD", "CLBBB"),
        "Intraventricular and intra-atrial Conduction disturbances",
    ),
    "STE_": (
        "non-specific ST elevation",
        *(None, 1, None, None, None),
        "Basic roots for coding ST-T changes and abnormalities",
    ),
    "SR": (
        "sinus rhythm",
        *(None, None, 1, None, None),
        "Statements related to impulse formation (abnormalities)",
    ),
    "AFIB": (
        "atrial fibrillation",
        *(None, None, 1, None, None),
        "Statements related to impulse formation (abnormalities)",
    ),
}
_STATEMENT_COLUMNS = ("description", "diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass")
_STATEMENT_COLUMNS += ("Statement Category",)
# The first patients of every kind go here, then round again, so that a small archive has every kind in every split.
_FOLD_ORDER = (1, 10, 9, 2, 3, 4, 5, 6, 7, 8)
_GAIN_PER_MV = 1000
_STRONG_DRIFT_MV, _STRONG_NOISE_MV = 0.05, 0.015

_CODE15_RATE_HZ, _CODE15_SAMPLES, _CODE15_SHORT_SAMPLES = 400, 4096, 2934
_CODE15_SHORT_SHARE = 0.2


def write_ptbxl_archive(
    directory: Path | str, records: int, seed: int, *, overwrite: bool = False, progress: bool = False
) -> pd.DataFrame:
    """Write records as PTB-XL is laid out: `ptbxl_database.csv`, `scp_statements.csv`, `records500/00000/00001_hr.{hea,dat}`.

    500 Hz, 10 s, 12 leads, WFDB format 16, 1000 steps per mV. Folds 1-10 are drawn by patient and balanced by kind of ECG.
    The files of 100 Hz that the table names are not written. Record k, its labels and its fold do not depend on `records`.

    Args:
        overwrite: write into a directory that is not empty; files of other names stay in it.
        progress: show a progress bar.

    Returns:
        The table written, `ptbxl_database.csv`.

    Raises:
        ValueError: the directory is not empty, or no record is asked for.
    """
    import wfdb

    directory = _prepare(directory, records, overwrite)
    rows, patients_of_kind, fold_of_patient = [], {}, {}
    for index in tqdm(range(records), desc="synthetic PTB-XL", unit="records", disable=not progress):
        ecg = synthesize(seed, index)
        patient = ecg.patient
        if patient.number not in fold_of_patient:
            kind = patient.rhythm, patient.ventricles
            rank = patients_of_kind[kind] = patients_of_kind.get(kind, -1) + 1
            fold_of_patient[patient.number] = _FOLD_ORDER[rank % 10]
        row = _ptbxl_row(ecg, fold_of_patient[patient.number])
        rows.append(row)
        name = Path(row["filename_hr"])
        (directory / name.parent).mkdir(parents=True, exist_ok=True)
        wfdb.wrsamp(
            name.name,
            fs=ecg.sampling_rate_hz,
            units=["mV"] * 12,
            sig_name=[lead.upper() for lead in LEADS_12],
            d_signal=np.rint(ecg.signal_mv.T * _GAIN_PER_MV).astype(np.int16),
            fmt=["16"] * 12,
            adc_gain=[float(_GAIN_PER_MV)] * 12,
            baseline=[0] * 12,
            write_dir=str(directory / name.parent),
        )
    table = pd.DataFrame(rows)
    statements = pd.DataFrame.from_dict(_STATEMENTS, orient="index", columns=_STATEMENT_COLUMNS)
    statements.to_csv(directory / "scp_statements.csv")
    table.to_csv(directory / "ptbxl_database.csv", index=False)  # last: an archive without it was cut short
    return table


def write_code15_archive(
    directory: Path | str, records: int, seed: int, *, overwrite: bool = False, progress: bool = False
) -> pd.DataFrame:
    """Write exams as CODE-15% is laid out: `exams_part0.hdf5` and `exams.csv`.

    `tracings` is (records + 1, 4096, 12) float32 in mV at 400 Hz, leads DI, DII, DIII, AVR, AVL, AVF, V1-V6; `exam_id` is
    int64. A fifth of the exams last 7.3 s and are padded with zeros at both ends; the last row is all zero with exam_id 0.
    Mains noise is that of Brazil, 60 Hz.

    Args:
        overwrite: write into a directory that is not empty; files of other names stay in it.
        progress: show a progress bar.

    Returns:
        The table written, `exams.csv`.

    Raises:
        ValueError: the directory is not empty, or no exam is asked for.
    """
    directory = _prepare(directory, records, overwrite)
    rows = []
    with h5py.File(directory / "exams_part0.hdf5", "w") as file:
        tracings = file.create_dataset("tracings", (records + 1, _CODE15_SAMPLES, 12), np.float32)
        exam_ids = file.create_dataset("exam_id", (records + 1,), np.int64)
        for index in tqdm(range(records), desc="synthetic CODE-15%", unit="exams", disable=not progress):
            ecg = synthesize(seed, index, _CODE15_RATE_HZ, _CODE15_SAMPLES / _CODE15_RATE_HZ, mains_hz=60.0)
            tracing = ecg.signal_mv.T.astype(np.float32)
            if generator(seed, Stream.ARCHIVE, index).random() < _CODE15_SHORT_SHARE:
                padding = (_CODE15_SAMPLES - _CODE15_SHORT_SAMPLES) // 2
                tracing[:padding] = tracing[-padding:] = 0
            tracings[index], exam_ids[index] = tracing, index + 1
            rows.append(_code15_row(index + 1, ecg.patient))
    table = pd.DataFrame(rows)
    table.to_csv(directory / "exams.csv", index=False)
    return table


def _prepare(directory: Path | str, records: int, overwrite: bool) -> Path:
    directory = Path(directory)
    if records < 1:
        raise ValueError(f"synthetic archive: expected at least one record, found {records}")
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"synthetic archive: {directory} is not a directory")
    if directory.is_dir() and any(directory.iterdir()) and not overwrite:
        raise ValueError(
            f"synthetic archive: {directory} is not empty, expected an empty directory or overwrite=True"
        )
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _ptbxl_row(ecg: SyntheticECG, fold: int) -> dict[str, object]:
    """One row of `ptbxl_database.csv`, all columns of the real one; what a dipole does not have stays empty."""
    ecg_id, patient = ecg.index + 1, ecg.patient
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
        "report": f"{_REPORT[patient.rhythm]}. {_REPORT[patient.ventricles]}.",
        "scp_codes": str(_scp_codes(patient)),
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


def _scp_codes(patient: Patient) -> dict[str, float]:
    """A heart that fibrillates is not a normal ECG, whatever its ventricles do."""
    healthy_ventricles_only = patient.ventricles == "normal" and patient.rhythm != "sinus"
    ventricles = {} if healthy_ventricles_only else _SCP_CODES[patient.ventricles]
    return {**ventricles, **_SCP_CODES[patient.rhythm]}


def _code15_row(exam_id: int, patient: Patient) -> dict[str, object]:
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
