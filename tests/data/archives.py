"""Small archives of smooth signals in the layouts of their publishers, for tests that need files but no physiology."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import wfdb

from ecgjepa.leads import LEADS_12


def smooth_signal(seed: int, samples: int = 5000, leads: int = 12) -> np.ndarray:
    """(samples, leads) float64 in mV: three random sines per lead."""
    chance = np.random.default_rng(seed)
    time_s = np.arange(samples)[:, None] / 500
    waves = [chance.uniform(0.2, 1) * np.sin(2 * np.pi * chance.uniform(1, 20, leads) * time_s) for _ in range(3)]
    return np.sum(waves, axis=0)


def write_wfdb(
    folder: Path, name: str, signal: np.ndarray, *, comments: list[str] | None = None, **changes: object
) -> Path:
    """Write a format-16 record with gain 1000/mV; returns the header's path."""
    folder.mkdir(parents=True, exist_ok=True)
    leads = signal.shape[1]
    settings: dict = {
        "fs": 500,
        "units": ["mV"] * leads,
        "sig_name": list(LEADS_12[:leads]),
        "fmt": ["16"] * leads,
        "adc_gain": [1000.0] * leads,
        "baseline": [0] * leads,
        "comments": comments or [],
    }
    wfdb.wrsamp(name, p_signal=signal, write_dir=str(folder), **{**settings, **changes})
    return folder / f"{name}.hea"


def write_ptbxl(folder: Path, records: int = 12, absent: int = 3) -> Path:
    """PTB-XL's layout: record k belongs to fold 1 + k % 10, the last `absent` records of the table have no file."""
    codes = ["{'NORM': 100.0, 'SR': 0.0}", "{'IMI': 50.0, 'SR': 0.0}", "{'AFIB': 0.0}"]
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for k in range(records + absent):
        name = f"records500/00000/{k + 1:05d}_hr"
        rows.append((k + 1, 100.0 + k // 2, 300 if k == 0 else 50 + k, k % 2, codes[k % 3], 1 + k % 10, name))
        if k < records:
            write_wfdb(folder / "records500/00000", f"{k + 1:05d}_hr", smooth_signal(k))
    columns = ["ecg_id", "patient_id", "age", "sex", "scp_codes", "strat_fold", "filename_hr"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "ptbxl_database.csv", index=False)
    statements = pd.DataFrame(
        {
            "diagnostic": [1.0, 1.0, None, None],
            "form": [None] * 4,
            "rhythm": [None, None, 1.0, 1.0],
            "diagnostic_class": ["NORM", "MI", None, None],
            "diagnostic_subclass": ["NORM", "IMI", None, None],
        },
        index=["NORM", "IMI", "AFIB", "SR"],
    )
    statements.to_csv(folder / "scp_statements.csv")
    return folder


def write_code15(folder: Path, exams: int = 4) -> Path:
    """CODE-15%'s layout: full exams, but the second, which is a padded one of 7 s; a last row of zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    tracings = np.stack([smooth_signal(k, 4096) for k in range(exams + 1)]).astype(np.float32)
    tracings[1, :581] = tracings[1, -581:] = 0
    tracings[-1] = 0
    with h5py.File(folder / "exams_part0.hdf5", "w") as file:
        file["tracings"] = tracings
        file["exam_id"] = np.array([*range(1000, 1000 + exams), 0])
    flags = {name: [k % 2 == 0 for k in range(exams)] for name in ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF")}
    table = pd.DataFrame(
        {"exam_id": range(1000, 1000 + exams), "age": 50, "is_male": True, "patient_id": range(exams), **flags}
    )
    table.assign(trace_file="exams_part0.hdf5").to_csv(folder / "exams.csv", index=False)
    return folder
