"""A folder of ECG files -> one record after the other, by name, whatever their number.

What lies in memory at once are the names of one folder and of those above it.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ecgjepa.data.listings.cells import one_spelling
from ecgjepa.data.listings.listing import DatasetError, printable
from ecgjepa.data.readers import MANY_SUFFIXES, SUFFIXES, count_records, read
from ecgjepa.data.store import DESCRIPTION, SIGNALS
from ecgjepa.errors import RefusedRecordError

# Of a WFDB record the header is the record; its signal files are records only where no header is beside them.
SIGNAL_SUFFIXES = frozenset({".dat", ".mat"})
# A store that is being prepared, and a file that tells it from a folder of another kind.
BUILDING_SUFFIX = ".building"
BUILDING_FILES = frozenset({"plan.json", "listing.arrow"})
# Of a header, which has some kilobytes.
HEADER_BYTES = 2**20
STORE = "store"
_KNOWN = (*SUFFIXES, *SIGNAL_SUFFIXES)
_LONGEST_FIRST = sorted(_KNOWN, key=len, reverse=True)
_LIKE_A_ROW = re.compile(r"\[\d+\]$")


class Found(NamedTuple):
    """One ECG in a folder.

    Attributes:
        record: path of the file below the folder, without suffix unless another file has the same; `[row]` of many.
        below: path of the file below the folder, without suffix, with `/`.
        path: whole path of the file.
        row: in a file that holds many, else None.
    """

    record: str
    below: str
    path: str
    row: int | None


def find_records(folder: Path, ignored: Counter[str], leaving_out: str | None = None) -> Iterator[Found]:
    """Every ECG below a folder: files of each folder by name, then the folders within.

    Links to folders are followed unless they lead to what is searched anyway. A file that holds many and cannot be
    counted is one record, which is refused by name when it is read; so is a signal file without its header.

    Args:
        folder: where to look.
        ignored: is counted up: files of no ECG format by suffix; stores, which are no raw data, as `store`.
        leaving_out: files whose name ends like this are passed over.

    Raises:
        OSError: a folder that cannot be read.
    """
    trees = [os.path.realpath(folder)]
    waiting = [iter([(str(folder), trees[0], "")])]
    while waiting:
        if (place := next(waiting[-1], None)) is None:
            waiting.pop()
            continue
        path, real, below = place
        files, folders, links = _names(path)
        if _is_store(path, files):
            ignored[STORE] += 1
            continue
        for record, stem, name in _records_among(path, files, ignored, leaving_out):
            yield from _rows(below + record, below + stem, os.path.join(path, name))
        waiting.append(_folders_to_search(path, real, below, folders, links, trees))


def rows_of(path: str) -> int | None:
    """How many records a file holds, if it is one that may hold many and can be counted."""
    if not path.lower().endswith(tuple(MANY_SUFFIXES)):
        return None
    try:
        return count_records(path)
    except RefusedRecordError:
        return None  # it is refused again, by name, when it is read


def without_suffix(name: str) -> str:
    """A file's name without the suffix of its format."""
    return name[: len(name) - len(_ecg_suffix(name))]


def patient_finder(expression: str) -> Callable[[Found], str | None]:
    """Record of a folder -> its patient; None for a file that is no ECG anyway, such as a table beside the ECGs.

    Args:
        expression: a regular expression, searched in the path below the folder without suffix; its group `patient`, or
            else the first that is not empty, is the patient.

    Raises:
        DatasetError: it is none, or has no group; from what is returned: it does not fit an ECG.
    """
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise DatasetError(f"patient pattern {expression!r} is no regular expression: {error}") from error
    if not pattern.groups:
        raise DatasetError(f"patient pattern {expression!r} has no group, expected one such as /p([0-9]+)/")
    is_named = "patient" in pattern.groupindex

    def patient_of(found: Found) -> str | None:
        below = printable(found.below)
        match = pattern.search(below)
        groups = () if match is None else (match["patient"],) if is_named else match.groups()
        patient = next(filter(None, (one_spelling(group or "") for group in groups)), None)
        if patient is None and not _is_no_ecg(found):
            raise DatasetError(f"{printable(found.path)}: patient pattern {expression!r} finds no patient in {below!r}")
        return patient

    return patient_of


def _is_no_ecg(found: Found) -> bool:
    try:
        read(found.path, found.row)
    except RefusedRecordError as refusal:
        return refusal.reason == "not_an_ecg"
    return False


def _ecg_suffix(name: str) -> str:
    lower = name.lower()
    return next((suffix for suffix in _LONGEST_FIRST if lower.endswith(suffix)), "") if lower.endswith(_KNOWN) else ""


def _names(path: str) -> tuple[list[str], list[str], set[str]]:
    """Names of the files, of the folders, and those of the folders that are links."""
    files, folders, links = [], [], set()
    with os.scandir(path) as entries:
        for entry in entries:
            if not _is_folder(entry):
                files.append(entry.name)
                continue
            folders.append(entry.name)
            if entry.is_symlink():
                links.add(entry.name)
    return sorted(files), sorted(folders), links


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, which is refused by name if it is called like an ECG
        return False


def _folders_to_search(
    path: str, real: str, below: str, folders: list[str], links: set[str], trees: list[str]
) -> Iterator[tuple[str, str, str]]:
    """The folders within one; of links, those that lead out of all `trees`, to which they are then added."""
    for name in folders:
        target = os.path.realpath(os.path.join(path, name)) if name in links else os.path.join(real, name)
        if name in links:
            if any(target == tree or target.startswith(tree.rstrip("/") + "/") for tree in trees):
                continue
            trees.append(target)
        elif len(trees) > 1 and target in trees:
            continue  # searched through a link already
        yield os.path.join(path, name), target, f"{below}{name}/"


def _is_store(path: str, files: list[str]) -> bool:
    """Whether a folder is a store, or one that is being prepared."""
    is_building = path.endswith(BUILDING_SUFFIX) and not BUILDING_FILES.isdisjoint(files)
    return is_building or {DESCRIPTION, SIGNALS} <= set(files)


def _records_among(
    folder: str, names: list[str], ignored: Counter[str], leaving_out: str | None
) -> Iterator[tuple[str, str, str]]:
    """Record, name without suffix, and name of the files that are ECGs; a record is called like no other of them."""
    headers = {name.removesuffix(".hea") for name in names if name.endswith(".hea")}
    listed: list[tuple[str, str]] = []
    for name in names:
        if leaving_out is not None and name.endswith(leaving_out):
            continue
        suffix = _ecg_suffix(name)
        stem = name[: len(name) - len(suffix)]
        if suffix in SUFFIXES or (suffix and stem not in headers):
            listed.append((stem, name))
        elif not suffix:
            ignored[os.path.splitext(name)[1].lower() or name] += 1
    alone = {name for stem, name in listed if name[len(stem) :].lower() in SIGNAL_SUFFIXES}
    if alone and headers and (named := _named_by(folder, headers, set(names), alone)):
        listed = [(stem, name) for stem, name in listed if name not in named]
    stems, whole = Counter(stem for stem, _ in listed), {name for _, name in listed}
    for stem, name in listed:
        is_free = stem and stems[stem] == 1 and stem not in whole and not _LIKE_A_ROW.search(stem)
        yield (stem if is_free else name), stem, name


def _named_by(folder: str, headers: set[str], names: set[str], files: set[str]) -> set[str]:
    """Those of some signal files that a header beside them names: `r.hea` may name `r_1.dat` and `r_2.dat`."""
    named: set[str] = set()
    # First the headers without a file of their own name, which must name others.
    for header in sorted(headers, key=lambda stem: (f"{stem}.dat" in names or f"{stem}.mat" in names, stem)):
        named |= files & _file_names(os.path.join(folder, f"{header}.hea"))
        if named == files:
            break
    return named


def _file_names(header: str) -> set[str]:
    """The first words of a header's lines below the first; none where it cannot be read, which its record will say."""
    try:
        if not stat.S_ISREG(os.stat(header).st_mode):  # a pipe would keep whoever opens it waiting
            return set()
        with open(header, "rb") as file:
            lines = file.read(HEADER_BYTES).splitlines()
    except OSError:
        return set()
    words = [line.split(maxsplit=1)[0] for line in lines if line.strip()]
    return {os.fsdecode(word) for word in [word for word in words if word[:1] != b"#"][1:]}


def _rows(record: str, below: str, path: str) -> Iterator[Found]:
    if (rows := rows_of(path)) is None:
        yield Found(record, below, path, None)
    else:
        yield from (Found(f"{record}[{row}]", below, path, row) for row in range(rows))
