"""Stores whose records are nothing but names and labels."""

from pathlib import Path

import pandas as pd

from ecgjepa.data.store import DESCRIPTION, RECORDS, read_description
from ecgjepa.files import write_json
from tests.data.stores import write_store as write_plain_store


def write_store(folder: Path, records: list[str], labels: dict[str, list[list[str] | None]], source: str) -> Path:
    """Records of these names; `labels` are those of each level."""
    write_plain_store(folder, len(records))
    table = pd.read_parquet(folder / RECORDS).drop(columns="labels_kind")
    table["record"], table["source"] = records, source
    for level, of_records in labels.items():
        table[f"labels_{level}"] = of_records
    table.to_parquet(folder / RECORDS, index=False)
    description = read_description(folder)
    names = {level: {name for each in some for name in each or ()} for level, some in labels.items()}
    description["levels"] = {level: sorted(some) for level, some in names.items()}
    write_json(folder / DESCRIPTION, description)
    return folder
