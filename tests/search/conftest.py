"""Tables of embeddings as `ecgjepa embed` makes them, of numbers that are drawn.

Axes: R rows, D width.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ecgjepa.embed.table import table_schema, to_column
from ecgjepa.search import SearchIndex, build_index

ABOUT = {
    "format": 1,
    "checkpoint": "runs/small",
    "weights_sha256": "ab" * 32,
    "contract": {"leads": ["I", "II"]},
    "options": {"windows": "first", "tokens": False, "layer": None},
}
LABELS = ("NORM", "MI", "CD")


def draw(rows: int, width: int = 12, seed: int = 0) -> np.ndarray:
    """(R, D) float32 in groups, every dimension with its own mean and scale."""
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((8, width)) * 2
    values = centres[chance.integers(0, 8, rows)] + chance.standard_normal((rows, width))
    return (values * np.linspace(0.1, 3, width) + np.linspace(-5, 5, width)).astype(np.float32)


def write_embeddings(
    file: Path, embeddings_RD: np.ndarray, about: dict[str, Any] | None = ABOUT, **columns: Any
) -> Path:
    """A table with these embeddings; `columns` replace what is usual, or are added."""
    rows, width = embeddings_RD.shape
    usual: dict[str, Any] = {
        "record": [f"r{row:05d}" for row in range(rows)],
        "path": [f"files/r{row:05d}.hea" for row in range(rows)],
        "row": pa.nulls(rows, pa.int64()),
        "window": pa.array([0] * rows, pa.int32()),
        "start_s": [0.0] * rows,
        "seconds": [10.0] * rows,
        "leads": [["I", "II"]] * rows,
        "changes": [[]] * rows,
        "flags": [[]] * rows,
        "embedding": to_column(embeddings_RD),
    }
    schema = table_schema(width, tokens=False)
    table = pa.table({name: usual[name] for name in schema.names}, schema=schema)
    for name, values in columns.items():
        array = values if isinstance(values, pa.Array) else pa.array(values)
        place = table.schema.get_field_index(name)
        table = table.append_column(name, array) if place < 0 else table.set_column(place, name, array)
    metadata = None if about is None else {b"ecgjepa": json.dumps(about).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), file)
    return file


def known(rows: int) -> dict[str, Any]:
    """Labels, age, sex and source in the table itself; every fifth row has none."""
    numbers = range(rows)
    return {
        "labels": pa.array([[LABELS[k % 3]] + ["RARE"] * (k % 100 == 7) if k % 5 else None for k in numbers]),
        "age": pa.array([20.0 + k % 60 if k % 5 else None for k in numbers]),
        "sex": pa.array([("female", "male")[k % 2] if k % 5 else None for k in numbers]),
        "source": pa.array(["one" if k < rows // 2 else "two" for k in numbers]),
    }


def build(table: Path, **options: Any) -> SearchIndex:
    """An index beside its table, without a map."""
    return build_index(table, table.parent / "index", project=False, progress=False, **options)
