"""One's own ECGs as a listing: all of a folder, or those of a table with patients, splits and labels."""

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from jaxtyping import UInt64
from numpy import ndarray

from ecgjepa.data.formats.hints import NO_HINTS, Hints
from ecgjepa.data.listings.checks import check_table
from ecgjepa.data.listings.folders import Found, find_records, patient_finder
from ecgjepa.data.listings.labels import HEADER_LEVELS
from ecgjepa.data.listings.listing import PIECE, DatasetError, Listing, printable, to_piece
from ecgjepa.data.listings.rows import patient_name, some_of, table_rows
from ecgjepa.data.listings.splits import SHARES, Split, check_shares, split_of_patient
from ecgjepa.data.listings.tables import HINT_COLUMNS, LABELS, UserTable, refuse_near_names
from ecgjepa.data.readers import SUFFIXES

Shares = tuple[float, float, float]

# Columns of a table that a listing takes as they are.
_AS_THEY_ARE = ("fold", "age", "sex", "device", "site")
# What people call a column of paths.
_PATH_WORDS = frozenset({"file", "filename", "file_name", "filepath", "file_path", "paths", "ecg", "filename_hr"})


@dataclass(frozen=True)
class OwnListing(Listing):
    """A listing that says what it does not take.

    Attributes:
        ignored: files in the folder that are of no ECG format by suffix, and stores; complete when the pieces were gone
            through once, and counted anew with every time.
        unknown: columns of the table that are none of ours.
        has_patients: False where nothing says who the patients are.
    """

    ignored: Counter[str] = field(default_factory=Counter)
    unknown: tuple[str, ...] = ()
    has_patients: bool = False


def list_folder(
    folder: Path,
    *,
    patient: str | None = None,
    split: Split = "none",
    split_seed: int = 0,
    split_shares: Shares = SHARES,
    hints: Hints = NO_HINTS,
) -> OwnListing:
    """Every ECG of a folder, of any known format and at any depth; `Dx:` codes of WFDB headers are labels.

    A record is called by its path below the folder without suffix; a file of many gives one record per row.

    Args:
        folder: where to look; links to folders are followed once.
        patient: a regular expression, searched in the path below the folder without suffix (`p10/p10001725/s4/4`);
            its group `patient`, or its first, is the patient. Without one every record is a patient of its own.
        split: `patient` divides the patients, see `split_of_patient`; else there is no split.
        hints: what the files do not say about themselves.

    Raises:
        DatasetError: no ECG is there, or the expression cannot be used. While it is gone through: a file that the
            expression does not fit.
    """
    folder = folder.expanduser().resolve()
    check_shares(split_shares)
    patient_of = None if patient is None else patient_finder(patient)
    _refuse_without_ecg(folder)
    by_patient = split == "patient"
    split_of = _splitter(split_seed, split_shares) if by_patient else None
    ignored: Counter[str] = Counter()
    return OwnListing(
        "folder",
        partial(_folder_pieces, folder, patient_of, split_of, hints, ignored),
        dict.fromkeys(HEADER_LEVELS),
        HEADER_LEVELS,
        {**_options("patient" if by_patient else "none", split_seed, split_shares, hints), "patient_pattern": patient},
        ignored,
        has_patients=patient is not None,
    )


def list_table(
    table: Path,
    data_dir: Path | None = None,
    *,
    split: Split = "auto",
    split_seed: int = 0,
    split_shares: Shares = SHARES,
    hints: Hints = NO_HINTS,
) -> OwnListing:
    """The ECGs of a table (CSV, TSV or Parquet); its columns are those of `docs/own-data.md`.

    The table is gone through once here, so that what is wrong in its last line is known before any ECG is read.

    Args:
        table: the file.
        data_dir: what its paths are relative to; its own folder if None.
        split: `auto` takes the table's column, and divides the patients where there is none but labels are;
            `patient` divides them in any case; `none` gives no split.
        hints: what the files do not say about themselves; cells of the table come first.

    Raises:
        DatasetError: a column that is needed is missing, another is misspelt; a cell is none of what its column holds;
            an ECG is there twice; a patient is in two splits.
    """
    table = table.expanduser().resolve()
    base = (data_dir or table.parent).expanduser().resolve()
    if not base.is_dir():
        raise DatasetError(f"table: no folder {base}")
    check_shares(split_shares)
    opened = UserTable.open(table)
    refuse_near_names(opened)
    if "path" not in opened.columns and "record" not in opened.columns:
        near = [name for name in opened.unknown if name.strip().lower() in _PATH_WORDS]
        found = ", ".join([*opened.columns, *opened.unknown])
        meant = f"; is {near[0]!r} the path? Then call it so" if near else ""
        raise DatasetError(f"{table}: columns {found}, expected one named path or record{meant}")
    labels = {name: name for name in opened.columns if name.startswith(LABELS)}
    if "labels" in opened.columns:
        labels[f"{LABELS}labels"] = "labels"
    chosen = split if split != "auto" else "table" if "split" in opened.columns else "patient" if labels else "none"
    split_of = _splitter(split_seed, split_shares) if chosen == "patient" else None
    shared_stems = check_table(opened, base, with_splits=chosen == "table")
    if chosen != "table":
        opened = opened.without("split")
    return OwnListing(
        "table",
        partial(_table_pieces, opened, base, labels, split_of, hints, shared_stems),
        {name.removeprefix(LABELS): None for name in labels},
        options=_options(chosen, split_seed, split_shares, hints),
        unknown=opened.unknown,
        has_patients="patient" in opened.columns,
    )


def _folder_pieces(
    folder: Path,
    patient_of: Callable[[Found], str | None] | None,
    split_of: Callable[[str], str] | None,
    hints: Hints,
    ignored: Counter[str],
) -> Iterator[pa.Table]:
    ignored.clear()
    found = find_records(folder, ignored)
    while some := list(itertools.islice(found, PIECE)):
        records = [printable(each.record) for each in some]
        own = [None] * len(some) if patient_of is None else map(patient_of, some)
        patients = [patient_name(*each) for each in zip(own, records, strict=True)]
        columns: dict[str, Any] = {
            "record": records,
            "path": [each.path for each in some],
            "row": [each.row for each in some],
            "patient": patients,
            **({} if split_of is None else {"split": [split_of(each) for each in patients]}),
            **{name: [value] * len(some) for name, value in _told(hints).items()},
        }
        yield to_piece(columns, HEADER_LEVELS)


def _table_pieces(
    table: UserTable,
    base: Path,
    labels: dict[str, str],
    split_of: Callable[[str], str] | None,
    hints: Hints,
    shared_stems: UInt64[ndarray, "k"],
) -> Iterator[pa.Table]:
    """`labels`: column of a listing -> of the table; `split_of`: None if the table says the splits, or nobody."""
    told = _told(hints)
    for piece in table.pieces():
        rows = table_rows(table, piece, str(base), shared_stems)
        while some := list(itertools.islice(rows, PIECE)):
            records = [each.record for each in some]
            values = some_of(piece, [each.place for each in some]).values
            own = values.get("patient", [None] * len(some))
            patients = [patient_name(*each) for each in zip(own, records, strict=True)]
            columns: dict[str, Any] = {
                "record": records,
                "path": [each.path for each in some],
                "row": [each.row for each in some],
                "patient": patients,
                **{name: values[name] for name in ("split", *_AS_THEY_ARE, *HINT_COLUMNS) if name in values},
                **{name: values[spelled] for name, spelled in labels.items()},
            }
            for name, value in told.items():
                columns[name] = [value if own is None else own for own in columns.get(name, [None] * len(some))]
            if split_of is not None:
                columns["split"] = [split_of(patient) for patient in patients]
            yield to_piece(columns, [name.removeprefix(LABELS) for name in labels])


def _refuse_without_ecg(folder: Path) -> None:
    if not folder.is_dir():
        raise DatasetError(f"folder: no folder {folder}")
    ignored: Counter[str] = Counter()
    if next(find_records(folder, ignored), None) is None:
        found = ", ".join(f"{count} {kind}" for kind, count in ignored.most_common(5)) or "nothing"
        raise DatasetError(
            f"folder: no ECG below {folder}, found {found}, expected suffixes {', '.join(sorted(SUFFIXES))}"
        )


def _splitter(seed: int, shares: Shares) -> Callable[[str], str]:
    return functools.lru_cache(maxsize=PIECE)(partial(split_of_patient, seed=seed, shares=shares))


def _told(hints: Hints) -> dict[str, Any]:
    """The hints that say something, by the column of a listing."""
    return {name: value for name in HINT_COLUMNS if (value := getattr(hints, name)) is not None}


def _options(split: str, seed: int, shares: Shares, hints: Hints) -> dict[str, Any]:
    """What makes another listing of the same files, as JSON takes it."""
    divided = {"split_seed": seed, "split_shares": list(shares)} if split == "patient" else {}
    told = {name: list(value) if isinstance(value, tuple) else value for name, value in _told(hints).items()}
    return {"split": split, **divided, **told}
