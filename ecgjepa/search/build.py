"""A table of embeddings -> an index.

Axes: R rows, D width.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy import ndarray
from tqdm import tqdm

import ecgjepa
from ecgjepa.files import write_json
from ecgjepa.search.description import DESCRIPTION, FORMAT, MAP, METRIC_FILE, RECORDS, VECTORS
from ecgjepa.search.embeddings import EmbeddingTable, map_array, write_vectors
from ecgjepa.search.engine import build_engine, load_faiss
from ecgjepa.search.folder import building, refuse_out
from ecgjepa.search.index import EXACT_VALUES, SearchIndex
from ecgjepa.search.known import Known, know_rows
from ecgjepa.search.mapping import make_map
from ecgjepa.search.metric import METRIC, Metric, Moments
from ecgjepa.search.tuning import tune_probes


def build_index(
    embeddings: Path | str,
    out: Path | str,
    *,
    stores: Sequence[Path | str] = (),
    level: str | None = None,
    project: bool = True,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = True,
    command: str = "",
) -> SearchIndex:
    """Index every row of a table of embeddings; in bounded memory, whatever its size.

    Args:
        embeddings: the `.parquet` file of `ecgjepa embed`, without tokens.
        out: the folder to make.
        stores: where records are looked up by name whose path in the table is no store: their labels, age, sex, source.
        level: of the stores' labels; superdiagnostic where there is one, else the first, if None.
        project: make the map.
        seed: of the engine's and the map's samples.
        overwrite: replace an index that is there.
        command: what was typed.

    Raises:
        IndexFolderError: a table that is none of embeddings, an embedding that is not finite, stores that disagree.
        StoreError: a store that is not whole.
        FileExistsError: something is there that may not be replaced, or another process is at it.
    """
    embeddings, out = Path(embeddings), Path(out)
    refuse_out(out, overwrite)
    table = EmbeddingTable(embeddings)
    with building(out, overwrite) as folder:
        known = know_rows(table.columns(), [Path(store) for store in stores], level)
        pq.write_table(known.table, folder / RECORDS)
        metric = _copy_vectors(table, folder, progress)
        metric.save(folder / METRIC_FILE)
        vectors_RD = map_array(folder / VECTORS, (table.rows, table.width))
        engine = _make_engine(folder, vectors_RD, metric, seed, progress)
        places = _make_map(folder, vectors_RD, metric, seed, progress) if project else None
        _describe(folder, table, known, engine, places, seed, command)
        del vectors_RD
    return SearchIndex.open(out)


def _copy_vectors(table: EmbeddingTable, folder: Path, progress: bool) -> Metric:
    moments = Moments(table.width)
    with tqdm(total=table.rows, unit=" rows", desc="read", disable=not progress, file=sys.stderr) as bar:
        for embeddings_RD in write_vectors(folder / VECTORS, table):
            moments.add(embeddings_RD)
            bar.update(len(embeddings_RD))
    return moments.metric()


def _make_engine(folder: Path, vectors_RD: ndarray, metric: Metric, seed: int, progress: bool) -> dict[str, Any] | None:
    """What the engine is, in words; None where all rows are so few that they are compared one by one."""
    if vectors_RD.size <= EXACT_VALUES:
        return None
    with tqdm(total=len(vectors_RD), unit=" rows", desc="cells", disable=not progress, file=sys.stderr) as bar:
        engine = build_engine(vectors_RD, metric, seed, bar.update)
    tuned = tune_probes(engine, vectors_RD, metric, seed)
    engine.save(folder)
    return {
        "name": "faiss",
        "version": load_faiss().__version__,
        "components": engine.components,
        "cells": engine.cells,
        "probes": tuned.probes,
        "recall_at_10": round(tuned.recall, 4),
        "recall_queries": tuned.queries,
    }


def _make_map(folder: Path, vectors_RD: ndarray, metric: Metric, seed: int, progress: bool) -> dict[str, Any]:
    """How the map was made."""
    with tqdm(total=len(vectors_RD), unit=" rows", desc="map", disable=not progress, file=sys.stderr) as bar:
        places_R2, about = make_map(vectors_RD, metric, seed, bar.update)
    np.save(folder / MAP, places_R2, allow_pickle=False)
    return about


def _describe(
    folder: Path,
    table: EmbeddingTable,
    known: Known,
    engine: dict[str, Any] | None,
    places: dict[str, Any] | None,
    seed: int,
    command: str,
) -> None:
    info = {
        "format": FORMAT,
        "rows": table.rows,
        "width": table.width,
        "metric": METRIC,
        "engine": engine,
        "map": places,
        "levels": known.levels,
        "rows_unknown": known.unknown,
        "weights_sha256": table.about["weights_sha256"],
        "contract": table.about["contract"],
        "embedding": {
            "table": str(table.file),
            "checkpoint": table.about.get("checkpoint"),
            "options": table.about["options"],
        },
        "seed": seed,
        "versions": {"ecgjepa": ecgjepa.__version__, "numpy": np.__version__},
        "command": command,
        "bytes": {file.name: file.stat().st_size for file in sorted(folder.iterdir())},
    }
    write_json(folder / DESCRIPTION, info)
