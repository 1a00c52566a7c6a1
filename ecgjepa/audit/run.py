"""All records looked at, in parallel, in parts; nothing of a record is kept but counts and 16 bytes."""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt64
from numpy import ndarray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ecgjepa.audit.duplicates import Duplicates, find_duplicates
from ecgjepa.audit.findings import Findings
from ecgjepa.audit.inputs import Inputs
from ecgjepa.audit.tally import Tally
from ecgjepa.data.listings.listing import printable
from ecgjepa.data.preparing.engines import Engine, local
from ecgjepa.files import atomic_path

# Records of a part.
PART = 64
LIST_COLUMNS = ("record", "path", "row", "source", "status", "what", "leads", "detail")


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        duplicates: by numbers of the records.
        same: of the first groups of duplicates the first names, and how many the group has.
    """

    inputs: Inputs
    tally: Tally
    duplicates: Duplicates
    same: tuple[tuple[tuple[str, ...], int], ...]

    @property
    def refused(self) -> int:
        return self.tally.of("refused").total()


def look_over(
    inputs: Inputs,
    *,
    workers: int = 1,
    list_file: Path | None = None,
    progress: bool = False,
    engine: Engine = local,
) -> Audit:
    """Look at every record, then for records that are the same.

    Args:
        workers: processes; the result is the same for any number.
        list_file: a CSV file with a line for everything refused or noted, whatever its number; replaced if it is there.
        progress: show a bar.
    """
    tally, parts = Tally(), -(-inputs.records // PART)
    hash_N2 = np.zeros((inputs.records, 2), np.uint64)
    work = partial(look_at_part, inputs=inputs, with_list=list_file is not None)
    with tqdm(total=inputs.records, unit="record", desc="inspect", disable=not progress) as bar:
        for number, (some, hash_P2) in engine(work, range(parts), min(workers, max(parts, 1))):
            tally.join(some)
            hash_N2[number * PART : number * PART + len(hash_P2)] = hash_P2
            bar.update(len(hash_P2))
    duplicates = find_duplicates(hash_N2)
    for number, _, row in inputs.rows(duplicates.number_D.tolist()):
        tally.add_duplicate(number, printable(row["record"]), inputs.source_of(row))
    names = [([row["record"] for _, _, row in inputs.rows(some)], count) for some, count in duplicates.first_groups()]
    if list_file is not None:
        _write_list(list_file, inputs, parts, duplicates)
    return Audit(inputs, tally, duplicates, tuple((tuple(some), count) for some, count in names))


def look_at_part(number: int, *, inputs: Inputs, with_list: bool) -> tuple[Tally, UInt64[ndarray, "p 2"]]:
    """Look at one part: its tally, and the hash of each record, zeros where it has none."""
    first, last = number * PART, min((number + 1) * PART, inputs.records)
    tally, hash_P2 = Tally(), np.zeros((last - first, 2), np.uint64)
    lines: list[list[Any]] = []
    with threadpool_limits(1):  # one worker, one core
        for record, row, source, found in inputs.read(first, last):
            tally.add(record, printable(row["record"]), source, found)
            if found.signal_hash is not None:
                hash_P2[record - first] = np.frombuffer(found.signal_hash, "<u8")
            if with_list:
                lines += _lines(row, inputs.sources[source], found)
    if lines:
        with _part_file(inputs, number).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(lines)
    return tally, hash_P2


def _lines(row: dict[str, Any], source: str, found: Findings) -> Iterator[list[Any]]:
    who = _who(row, source)
    if found.reason is not None:
        yield [*who, "refused", found.reason, "", found.detail]
    for what, leads in found.noted.items():
        yield [*who, "noted", what, " ".join(leads), ""]


def _who(row: dict[str, Any], source: str) -> list[Any]:
    path = "" if row["path"] is None else printable(os.fsdecode(row["path"]))
    return [printable(row["record"]), path, row["row"], source]


def _write_list(path: Path, inputs: Inputs, parts: int, duplicates: Duplicates) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(LIST_COLUMNS)
        for number in range(parts):
            if (file := _part_file(inputs, number)).exists():
                with file.open(newline="", encoding="utf-8") as part:
                    out.writelines(part)
        groups = iter(duplicates.group_D.tolist())
        for _, _, row in inputs.rows(duplicates.number_D.tolist()):
            who = _who(row, inputs.sources[inputs.source_of(row)])
            writer.writerow([*who, "noted", "duplicate", "", f"group {next(groups)}"])


def _part_file(inputs: Inputs, number: int) -> Path:
    return inputs.scratch / f"{number:08d}.csv"
