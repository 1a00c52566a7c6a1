"""Where a data set's records, labels, patients and splits are.

Each function takes the folder as its publisher lays it out and returns a `Listing`: one row per record that the data
set *should* have, so that what is absent can be counted. Nothing is read here but tables and directory entries.
"""

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ecgjepa.data.formats.claims import check_claim
from ecgjepa.data.formats.hdf5 import own_data_set
from ecgjepa.data.formats.machine import refusal_of_trouble
from ecgjepa.data.listings.labels import (
    CODE15_CLASSES,
    CPSC2018_CLASSES,
    HEADER_LEVELS,
    HeaderNotes,
    cpsc2018_labels,
    ptbxl_labels,
    ptbxl_levels,
    read_scp_codes,
    rhythm_labels,
)
from ecgjepa.data.listings.listing import DatasetError, Listing, printable
from ecgjepa.data.listings.own import list_folder

PTBXL_SPLITS = {**dict.fromkeys(range(1, 9), "train"), 9: "validation", 10: "test"}


def list_records(dataset: str, data_dir: Path | str) -> Listing:
    """List the records of one of `DATASETS` in its published layout.

    Raises:
        DatasetError: the folder is absent, empty, or not of that layout.
    """
    if dataset not in DATASETS:
        raise DatasetError(f"unknown data set {dataset!r}, expected one of {', '.join(DATASETS)}")
    folder = Path(data_dir).expanduser().resolve()
    if not folder.is_dir():
        raise DatasetError(f"{dataset}: no folder {folder}")
    return DATASETS[dataset](folder)


def list_ptbxl(folder: Path) -> Listing:
    """PTB-XL (Wagner et al. 2020): two tables and `records500/`; folds 9 and 10 are validation and test."""
    expected = ["patient_id", "age", "sex", "scp_codes", "strat_fold", "filename_hr"]
    table = _read_csv(folder, "ptbxl_database.csv", expected)
    _check_ptbxl(table)
    if (unknown := ~table["strat_fold"].isin(PTBXL_SPLITS)).any():
        first = table[unknown].iloc[0]
        raise DatasetError(
            f"ptbxl_database.csv, {first['filename_hr']}: strat_fold {first['strat_fold']}, expected 1 to 10"
        )
    statements = _read_csv(folder, "scp_statements.csv", ["diagnostic", "diagnostic_class"], index_col=0)
    levels = ptbxl_levels(statements)
    files = [f"{name}.hea" for name in table["filename_hr"].tolist()]
    names = [os.path.basename(file).removesuffix(".hea") for file in files]
    codes_of = []
    read_codes = functools.cache(read_scp_codes)  # a quarter of the texts are distinct
    for name, text in zip(names, table["scp_codes"].tolist(), strict=True):
        try:
            codes_of.append(read_codes(text))
        except ValueError as error:
            raise DatasetError(f"ptbxl_database.csv, record {name}: {error}") from error
    columns = {
        "record": names,
        "path": _present(folder, files),
        "patient": _patients(table["patient_id"], names),
        "fold": table["strat_fold"],
        "split": table["strat_fold"].map(PTBXL_SPLITS),
        "age": table["age"].clip(upper=90),  # the table writes 300 for "over 89"
        "sex": table["sex"].map({0: "male", 1: "female"}),
        **{name: _groups(table[name]) for name in ("device", "site") if name in table.columns},
    }
    for level, class_of in levels.items():
        labels_of = functools.cache(functools.partial(ptbxl_labels, class_of=class_of))
        columns[f"labels_{level}"] = [labels_of(codes) for codes in codes_of]
    classes: dict[str, list[str] | None] = {level: sorted(set(each.values())) for level, each in levels.items()}
    return Listing.of_columns("ptbxl", columns, classes, folder=folder)


def _check_ptbxl(table: pd.DataFrame) -> None:
    for column in ("strat_fold", "age", "sex"):
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise DatasetError(f"ptbxl_database.csv, column {column}: of type {table[column].dtype}, expected numbers")
    for column in ("scp_codes", "filename_hr"):
        if not table[column].map(lambda cell: isinstance(cell, str)).all():
            raise DatasetError(f"ptbxl_database.csv, column {column}: a cell is empty or a number, expected texts")


def list_shaoxing(folder: Path) -> Listing:
    """Chapman-Shaoxing-Ningbo (ecg-arrhythmia, Zheng et al. 2022): `WFDBRecords/`, two levels of folders."""
    root = folder / "WFDBRecords" if (folder / "WFDBRecords").is_dir() else folder
    headers = sorted(root.glob("*/*/*.hea"))
    if not headers:
        raise DatasetError(f"shaoxing: no header in {root}, expected two levels of folders with JS*.hea")
    levels: dict[str, list[str] | None] = dict.fromkeys(HEADER_LEVELS)
    return Listing.of_columns("shaoxing", _wfdb_records(headers), levels, HEADER_LEVELS, folder=folder)


def list_cpsc2018(folder: Path) -> Listing:
    """CPSC2018 in the form of the PhysioNet/CinC Challenge 2020: folders `g1` to `g7`; `g7` is the test split."""
    headers = sorted(folder.glob("g[1-7]/*.hea"))
    if not headers:
        raise DatasetError(f"cpsc: no header in {folder}, expected folders g1 to g7 with A*.hea")
    records = _wfdb_records(headers)
    records["fold"] = [int(header.parent.name[1:]) for header in headers]
    records["split"] = ["test" if fold == 7 else "train" for fold in records["fold"]]
    levels: dict[str, list[str] | None] = {"diagnosis": sorted(CPSC2018_CLASSES.values())}
    return Listing.of_columns("cpsc", records, levels, {"diagnosis": _cpsc2018}, folder=folder)


def list_ludb(folder: Path) -> Listing:
    """LUDB (Kalyakulina et al. 2020): `data/1.hea` ..., each of another patient, no split; waves beside the signals.

    The waves are read by `ecgjepa.evaluate.segmentation_targets`, which divides the patients.
    """
    root = folder / "data" if (folder / "data").is_dir() else folder
    headers = sorted(root.glob("*.hea"), key=lambda header: (not header.stem.isdecimal(), len(header.stem), header))
    if not headers:
        raise DatasetError(f"ludb: no header in {root}, expected 1.hea, 2.hea, ... in {folder} or in its folder data")
    levels: dict[str, list[str] | None] = {"rhythm": None}
    return Listing.of_columns("ludb", _wfdb_records(headers), levels, {"rhythm": rhythm_labels}, folder=folder)


def list_code15(folder: Path) -> Listing:
    """CODE-15% (Ribeiro et al. 2021): `exams_part*.hdf5`, and `exams.csv` with labels and patients.

    Without `exams.csv` every exam is a patient of its own and has no labels. Exams that the table places in a part
    file which cannot be opened, or is not there, are listed as well.
    """
    parts = sorted([*folder.glob("exams_part*.hdf5"), *folder.glob("exams_part*.h5")])
    if not parts:
        raise DatasetError(f"code15: no exams_part*.hdf5 in {folder}")
    rows = []
    for part in parts:
        exam_ids = _exam_ids(part)
        # The last row of a part is padding with exam_id 0; it gets a name, is read and refused like any other. A part
        # that cannot be read has a line of its own.
        stem, path = printable(part.stem), os.fsencode(part)  # pandas takes no text that is not UTF-8
        rows += [(str(i) if i else f"{stem}[{row}]", i, path, row) for row, i in enumerate(exam_ids or [])]
        rows += [(stem, -1, path, -1)] if exam_ids is None else []
    found = pd.DataFrame(rows, columns=["record", "exam_id", "path", "row"]).astype({"row": "Int64"})
    if not (folder / "exams.csv").is_file():
        columns = found.assign(patient=found["record"]).drop(columns="exam_id")
        return Listing.of_columns("code15", columns.to_dict("series"), {}, folder=folder)
    table = _read_csv(folder, "exams.csv", ["exam_id", "patient_id", "trace_file", "age", "is_male", *CODE15_CLASSES])
    if not table[[*CODE15_CLASSES]].isin([True, False]).all(axis=None):
        raise DatasetError(f"{folder / 'exams.csv'}: the columns {', '.join(CODE15_CLASSES)} must be True or False")
    if len(found) and not found["exam_id"].isin(table["exam_id"]).any() and (found["row"] >= 0).any():
        raise DatasetError(
            f"{folder / 'exams.csv'} knows none of the exams in {', '.join(printable(part.name) for part in parts)}"
        )
    part_paths = {part.name: os.fsencode(part) for part in parts}
    absent = table.loc[~table["exam_id"].isin(found["exam_id"]), ["exam_id", "trace_file"]]
    absent = absent.assign(
        record=absent["exam_id"].astype(str),
        path=absent["trace_file"].map(part_paths.get),
        row=pd.array([-1] * len(absent), "Int64"),
    )
    readable = set(found.loc[found["row"] >= 0, "path"])
    absent["path"] = absent["path"].where(~absent["path"].isin(readable))  # an open file without this exam: absent
    found = pd.concat([found, absent.drop(columns="trace_file")], ignore_index=True)
    found = found.merge(table.drop(columns="trace_file"), on="exam_id", how="left")
    flags = found[list(CODE15_CLASSES)].to_numpy()
    records = pd.DataFrame(
        {
            **{name: found[name] for name in ("record", "path", "row", "age")},
            "patient": _patients(found["patient_id"], found["record"]),
            "sex": found["is_male"].map({True: "male", False: "female"}),
            "labels_abnormality": [
                None
                if pd.isna(row).any()
                else [name for name, is_there in zip(CODE15_CLASSES, row, strict=True) if is_there]
                for row in flags
            ],
        }
    )
    return Listing.of_columns("code15", records.to_dict("series"), {"abnormality": list(CODE15_CLASSES)}, folder=folder)


DATASETS: dict[str, Callable[[Path], Listing]] = {
    "ptbxl": list_ptbxl,
    "shaoxing": list_shaoxing,
    "code15": list_code15,
    "cpsc": list_cpsc2018,
    "ludb": list_ludb,
    "folder": list_folder,
}


def _cpsc2018(notes: HeaderNotes) -> list[str] | None:
    return cpsc2018_labels(notes.codes)


def _wfdb_records(headers: list[Path]) -> dict[str, Any]:
    names = [printable(header.stem) for header in headers]
    return {"record": names, "path": headers, "patient": names}


def _present(folder: Path, files: list[str]) -> list[str | None]:
    """Whole paths, None for those that are not there; each folder is read once, not asked for every file."""
    parts = [file.rpartition("/") for file in files]
    for file in files:
        if os.path.isabs(file) or os.path.normpath(file).startswith("..") or not file.isprintable():
            raise DatasetError(f"the table names the file {file[:200]!r}, expected one below {folder}")
    there = {
        place: {entry.name for entry in os.scandir(folder / place)} if (folder / place).is_dir() else set()
        for place in {place for place, _, _ in parts}
    }
    return [f"{folder}/{file}" if part[2] in there[part[0]] else None for file, part in zip(files, parts, strict=True)]


def _patients(ids: pd.Series, records: Iterable[str]) -> list[str]:
    """Names of the patients; a record without one is a patient of its own."""
    if not pd.api.types.is_numeric_dtype(ids):
        return [record if pd.isna(i) else str(i) for i, record in zip(ids, records, strict=True)]
    return [record if i != i else f"{i:.0f}" for i, record in zip(ids.tolist(), records, strict=True)]


def _groups(column: pd.Series) -> list[str | None]:
    """Devices or sites: numbers without decimals, one blank where PTB-XL has several (`CS100    3`)."""
    if pd.api.types.is_numeric_dtype(column):
        return [None if value != value else f"{value:g}" for value in column.tolist()]
    return [None if pd.isna(value) else " ".join(str(value).split()) or None for value in column.tolist()]


def _exam_ids(part: Path) -> list[int] | None:
    """Exam id of every tracing of a part file; None if they cannot be read, are elsewhere, or are not one for each."""
    import h5py

    try:
        with h5py.File(part, "r") as file:
            exam_ids, tracings = own_data_set(file, "exam_id"), own_data_set(file, "tracings")
            if exam_ids is None or tracings is None or exam_ids.shape != tracings.shape[:1]:
                return None
            check_claim(part.stem, 8 * len(exam_ids), exam_ids.id.get_storage_size(), "exam_id")
            return [int(exam_id) for exam_id in exam_ids[:]]
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if (trouble := refusal_of_trouble(part.stem, error)) is not None:
            raise DatasetError(f"{part}: {trouble.detail}; its exams cannot be listed now") from error
        return None


def _read_csv(folder: Path, name: str, expected: list[str], index_col: int | None = None) -> pd.DataFrame:
    path = folder / name
    if not path.is_file():
        raise DatasetError(f"no {name} in {folder}")
    try:
        table = pd.read_csv(path, index_col=index_col, low_memory=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as a table: {error}") from error
    if missing := [column for column in expected if column not in table.columns]:
        raise DatasetError(f"{path} lacks the columns {missing}, found {str(list(table.columns))[:500]}")
    return table
