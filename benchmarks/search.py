"""Nearest neighbours of an index against brute force, in one run: recall, queries a second, size, start-up, filters.

    python benchmarks/search.py [--rows 1000000] [--width 768] [--keep FOLDER] [--isotropic]

The embeddings are simulated, as no archive of a million ECGs is at hand: 300 groups of unequal size, half of the
variance between them, with a spectrum that falls as 1/r and faster beyond r = 40, rotated at random, every dimension
with its own mean and scale. 90 % of the variance lies in 40 directions and 99 % in 149. That is harder than embeddings
of trained encoders are: of the standardised embeddings of 2,620 records of PTB-XL (width 256) 10 directions held 90 %
and 42 held 99 %. `--isotropic` is the worst case, independent normal numbers without any structure to be used.

Queries are drawn like the rows and are none of them. Both sides get the same number of threads. Brute force has all
standardised rows in memory; the index leaves its vectors on disk.

Axes: R rows, Q queries, K neighbours, D width.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from ecgjepa.embed.table import to_column
from ecgjepa.search import NO_FILTERS, Filters, SearchIndex, build_index
from ecgjepa.search.engine import load_faiss
from ecgjepa.search.metric import Metric
from ecgjepa.search.tuning import recall_of

GROUPS, PIECE, K = 300, 16_384, 10
ABOUT = {"weights_sha256": "0" * 64, "contract": {}, "options": {"windows": "first", "layer": None}}
START = """
import sys, time
import numpy as np
began = time.perf_counter()
from ecgjepa.search import SearchIndex
imported = time.perf_counter()
index = SearchIndex.open(sys.argv[1])
index.nearest(np.load(sys.argv[2])[:1], 10)
print(imported - began, time.perf_counter() - imported)
"""


class Simulated:
    """Embeddings that are drawn piece by piece."""

    def __init__(self, width: int, isotropic: bool) -> None:
        self.chance, self.isotropic, self.width = np.random.default_rng(0), isotropic, width
        rank = np.arange(1, width + 1)
        spectrum = 1 / (rank + 1) / (1 + (rank / 40) ** 2)
        rotation, _ = np.linalg.qr(self.chance.standard_normal((width, width)))
        self.mixing_DD = (np.sqrt(spectrum)[:, None] * rotation).astype(np.float32)
        self.centres_GD = self.chance.standard_normal((GROUPS, width)).astype(np.float32)
        self.share_G = 1 / np.arange(1, GROUPS + 1)
        self.mean_D, self.scale_D = self.chance.normal(0, 0.4, width), self.chance.uniform(0.1, 0.7, width)

    def draw(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows, D) float32 and the group of each."""
        noise_RD = self.chance.standard_normal((rows, self.width), dtype=np.float32)
        group_R = self.chance.choice(GROUPS, rows, p=self.share_G / self.share_G.sum())
        if not self.isotropic:
            noise_RD = (noise_RD + self.centres_GD[group_R]) @ self.mixing_DD
        return (noise_RD * self.scale_D + self.mean_D).astype(np.float32), group_R


def write_table(file: Path, simulated: Simulated, rows: int) -> None:
    """A table as `ecgjepa embed` makes it, with labels that go with the groups: five frequent ones and rare ones."""
    schema = pa.schema(
        [
            ("record", pa.string()),
            ("path", pa.string()),
            ("row", pa.int64()),
            ("window", pa.int32()),
            ("start_s", pa.float64()),
            ("labels", pa.list_(pa.string())),
            ("age", pa.float64()),
            ("sex", pa.string()),
            ("source", pa.string()),
            ("embedding", pa.list_(pa.float32(), simulated.width)),
        ],
        {b"ecgjepa": json.dumps(ABOUT).encode()},
    )
    chance = np.random.default_rng(1)
    with pq.ParquetWriter(file, schema) as writer:
        for start in range(0, rows, PIECE):
            count = min(PIECE, rows - start)
            embeddings_RD, group_R = simulated.draw(count)
            columns = {
                "record": [f"{row:08d}" for row in range(start, start + count)],
                "path": ["simulated"] * count,
                "row": pa.nulls(count, pa.int64()),
                "window": np.zeros(count, np.int32),
                "start_s": np.zeros(count),
                "labels": [[f"often{group % 5}", *([f"rare{group}"] if group >= 100 else [])] for group in group_R],
                "age": chance.uniform(18, 90, count),
                "sex": chance.choice(["female", "male"], count),
                "source": chance.choice(["a", "b", "c"], count),
                "embedding": to_column(embeddings_RD),
            }
            writer.write_table(pa.table(columns, schema=schema))


def seconds_each(search: Callable[[np.ndarray], object], queries_QD: np.ndarray, at_once: int) -> float:
    """Seconds a query, `at_once` together."""
    search(queries_QD[:at_once])
    began = time.perf_counter()
    for start in range(0, len(queries_QD), at_once):
        search(queries_QD[start : start + at_once])
    return (time.perf_counter() - began) / len(queries_QD)


def exact_neighbours(directions_RD: np.ndarray, queries_QD: np.ndarray, rows_N: np.ndarray | None = None) -> np.ndarray:
    """(Q, K) nearest rows by comparing with all of them, or with some."""
    rows_N = np.arange(len(directions_RD)) if rows_N is None else rows_N
    best, where = np.full((len(queries_QD), K), -2, np.float32), np.full((len(queries_QD), K), -1)
    for start in range(0, len(rows_N), PIECE):
        some = rows_N[start : start + PIECE]
        best = np.hstack([best, queries_QD @ directions_RD[some].T])
        where = np.hstack([where, np.broadcast_to(some, (len(queries_QD), len(some)))])
        keep = np.argsort(-best, axis=1)[:, :K]
        best, where = np.take_along_axis(best, keep, 1), np.take_along_axis(where, keep, 1)
    return where


def brute_force(directions_RD: np.ndarray, queries_QD: np.ndarray) -> np.ndarray:
    """(Q, K) in one matrix product."""
    similar_QR = queries_QD @ directions_RD.T
    return np.argpartition(-similar_QR, K, axis=1)[:, :K]


def forget(folder: Path) -> None:
    """Ask the system to drop the files from its cache, so that they are read from the disk."""
    for file in folder.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(folder: Path, arguments: argparse.Namespace) -> None:
    """Make table and index where they are not there, then compare."""
    table, out = folder / "embeddings.parquet", folder / "index"
    simulated = Simulated(arguments.width, arguments.isotropic)
    queries_QD, _ = simulated.draw(arguments.queries)
    np.save(folder / "queries.npy", queries_QD)
    if not table.exists():
        write_table(table, simulated, arguments.rows)
    if not out.exists():
        began, cpu = time.perf_counter(), time.process_time()
        build_index(table, out, project=arguments.map, progress=False)
        print(f"build: {time.perf_counter() - began:.0f} s, {time.process_time() - cpu:.0f} s of processor time")
    sizes = {file.name: file.stat().st_size for file in out.iterdir()}
    engine = sum(size for name, size in sizes.items() if name.startswith("engine"))
    print(f"on disk: {sum(sizes.values()) / 1e6:,.0f} MB, of which the engine's {engine / 1e6:,.0f} MB")
    for said in ("read from the disk", "in the system's cache"):
        if said == "read from the disk":
            forget(out)
        command = [sys.executable, "-c", START, str(out), str(folder / "queries.npy")]
        imports, opened = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        print(
            f"start, {said}: {float(opened):.2f} s from opening to the first answer ({float(imports):.2f} s of imports)"
        )
    index = SearchIndex.open(out)
    print(f"engine: {index.info['engine']}")
    metric = Metric.load(out / "metric.safetensors")
    vectors_RD = np.load(out / "vectors.npy", mmap_mode="r")
    directions_RD = np.empty(vectors_RD.shape, np.float32)
    for start in range(0, len(vectors_RD), PIECE):
        directions_RD[start : start + PIECE] = metric.directions(vectors_RD[start : start + PIECE])
    directions_QD = metric.directions(queries_QD)
    truth_QK = exact_neighbours(directions_RD, directions_QD)
    for k in (K,):
        print(
            f"recall@{k}: {recall_of(index.nearest(queries_QD, k).rows_QK, truth_QK):.4f} of {len(queries_QD)} queries"
        )
    flat = load_faiss().IndexFlatIP(arguments.width)
    flat.add(directions_RD)
    for at_once in (1, 64):
        ours = seconds_each(lambda some: index.nearest(some, K), queries_QD, at_once)
        few_QD = directions_QD[: max(20, 2 * at_once)]
        others = {
            "NumPy": seconds_each(lambda some: brute_force(directions_RD, some), few_QD, at_once),
            "faiss, exact": seconds_each(lambda some: flat.search(some, K), few_QD, at_once),
        }
        said = "; ".join(f"{name} {1 / each:,.1f} a second, {each / ours:,.0f} x" for name, each in others.items())
        print(f"{at_once} at a time: index {1 / ours:,.0f} a second ({1e3 * ours:.2f} ms each); {said}")
    of_filters(index, queries_QD, directions_QD, directions_RD)


def of_filters(
    index: SearchIndex, queries_QD: np.ndarray, directions_QD: np.ndarray, directions_RD: np.ndarray
) -> None:
    """Recall and time of filters, from those that half of the rows pass to those that a few do."""
    rare = index.label_counts[-1][0]
    middle = next(name for name, count in index.label_counts if name.startswith("rare") and count < len(index) / 100)
    for said, filters in {
        "none": NO_FILTERS,
        "a sex": Filters(sexes=("female",)),
        "a label of every fifth group": Filters(labels=("often3",)),
        "this label, sex, source, 40 to 60 years": Filters(("often3",), ("female",), ("a",), 40, 60),
        "a rare label": Filters(labels=(middle,)),
        "the rarest label": Filters(labels=(rare,)),
    }.items():
        _, count = index.find("", filters, 0, 0)
        rows_N = np.array(index.find("", filters, 0, len(index))[0])
        truth_QK = exact_neighbours(directions_RD, directions_QD, rows_N)
        recall = recall_of(index.nearest(queries_QD, K, filters=filters).rows_QK, truth_QK)
        search = functools.partial(index.nearest, k=K, filters=filters)
        each = seconds_each(search, queries_QD[:100], 1)
        print(f"filter {said}: {count:,} rows pass, recall@{K} {recall:.4f}, {1e3 * each:.2f} ms each")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--isotropic", action="store_true", help="the worst case")
    parser.add_argument("--map", action="store_true", help="make the map as well")
    parser.add_argument("--keep", type=Path, help="folder for table and index; those that are there are used again")
    arguments = parser.parse_args()
    print(f"{arguments.rows:,} rows of width {arguments.width}, {arguments.threads} threads, one run")
    load_faiss().omp_set_num_threads(arguments.threads)
    with threadpool_limits(arguments.threads), tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        measure(folder, arguments)


if __name__ == "__main__":
    main()
