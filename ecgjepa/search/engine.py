"""The approximate index of many rows: a few directions hold nearly all of their variance, cells divide them.

Of each row its principal components are kept, with one byte each, in the cell whose centre is nearest. A search looks
into the cells that are nearest to the query and gives candidates, whose exact order is found with the vectors
themselves (`ecgjepa.search.exact`). The engine is faiss, an inverted file with scalar quantisation, read where it lies.

Axes: R rows, S rows of a sample, Q queries, C candidates, D width, P principal components.
"""

import functools
import importlib
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy import ndarray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ecgjepa.search.description import ENGINE, ENGINE_COMPONENTS, IndexFolderError
from ecgjepa.search.embeddings import PIECE_ROWS
from ecgjepa.search.metric import Metric

# Of the rows' variance, what the components hold; and how many rows say so.
VARIANCE, SAMPLE_ROWS = 0.98, 50_000
# A projection that keeps more than this part of the width saves nothing.
WORTH_IT = 0.75
# Rows for each centre, in training; passes over them.
TRAINING_ROWS, PASSES = 40, 8
# Candidates for K neighbours: `PER_NEIGHBOUR * K + AT_LEAST`.
PER_NEIGHBOUR, AT_LEAST = 4, 40
# Neighbours that the number of probes was measured with (ten, and the row itself), and the power by which it grows with
# more of them: of 100 neighbours among 100,000 rows 98.2 % were found without, 99.6 % with.
PROBES_ARE_FOR, MORE_CELLS = 11, 0.3
# Queries that are divided over threads.
WORTH_THREADS = 16


class Engine:
    """Cells of rows, opened for searching; threads may share it.

    Attributes:
        components_DP: directions on which the rows were projected; None if they were not.
        probes: cells that a search without filters looks into.
        cells, components: how many there are.
    """

    def __init__(self, index: Any, components_DP: Float32[ndarray, "d p"] | None, probes: int) -> None:
        self._index, self.components_DP, self.probes = index, components_DP, probes
        self.cells, self.components, self.rows = int(index.nlist), int(index.d), int(index.ntotal)

    @classmethod
    def open(cls, folder: Path, info: dict[str, Any], rows: int) -> "Engine":
        """As `save` wrote it; the cells stay on disk.

        Raises:
            IndexFolderError: the files do not fit the description.
        """
        faiss = load_faiss()
        try:
            components = load_file(folder / ENGINE_COMPONENTS) if (folder / ENGINE_COMPONENTS).is_file() else {}
            index = faiss.read_index(str(folder / ENGINE), faiss.IO_FLAG_MMAP_IFC)
        except (RuntimeError, SafetensorError) as error:
            raise IndexFolderError(f"{folder}: its engine cannot be read: {error}") from error
        engine = cls(index, components.get("components"), info["probes"])
        if engine.rows != rows or engine.components != info["components"]:
            raise IndexFolderError(
                f"{folder / ENGINE}: {engine.rows} rows of {engine.components} components, "
                f"expected {rows} of {info['components']}"
            )
        return engine

    def save(self, folder: Path) -> None:
        """Write the cells, and the components if there are any."""
        load_faiss().write_index(self._index, str(folder / ENGINE))
        if self.components_DP is not None:
            save_file({"components": self.components_DP}, folder / ENGINE_COMPONENTS)

    def candidates(
        self,
        directions_QD: Float32[ndarray, "q d"],
        k: int,
        allowed_R: Bool[ndarray, "r"] | None = None,
        probes: int | None = None,
    ) -> Int64[ndarray, "q c"]:
        """Rows among which the K nearest are, with high probability; -1 where there are no more.

        Args:
            allowed_R: which rows may be found; all if None. The fewer they are, the more cells are looked into.
            probes: cells, in place of `self.probes`.
        """
        faiss = load_faiss()
        share = 1.0 if allowed_R is None else max(int(allowed_R.sum()), 1) / self.rows
        further = max(1.0, k / PROBES_ARE_FOR) ** MORE_CELLS
        chosen = min(self.cells, math.ceil((probes or self.probes) * further / share))
        how = faiss.SearchParametersIVF(nprobe=chosen)
        if allowed_R is not None:
            bits = np.packbits(allowed_R, bitorder="little")
            how.sel = selector = faiss.IDSelectorBitmap(bits)
            how.selector = selector  # faiss keeps no reference
        count = min(PER_NEIGHBOUR * k + AT_LEAST, self.rows)
        with _few_threads(faiss, len(directions_QD)):
            return self._index.search(project(directions_QD, self.components_DP), count, params=how)[1]


def build_engine(vectors_RD: Float32[ndarray, "r d"], metric: Metric, seed: int, tell: Any = None) -> Engine:
    """Put all rows into cells.

    Args:
        vectors_RD: embeddings as in their table, on disk.
        seed: of the samples that components and centres are learned from.
        tell: called with the number of rows after each piece.
    """
    faiss = load_faiss()
    rows, width = vectors_RD.shape
    chance = np.random.default_rng(seed)
    components_DP = principal_components(_sample(vectors_RD, metric, SAMPLE_ROWS, chance, None))
    size = width if components_DP is None else components_DP.shape[1]
    count = 2 ** round(math.log2(4 * math.sqrt(rows)))
    cells = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatL2(size), size, count, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT, False
    )
    cells.cp.niter, cells.cp.seed, cells.cp.max_points_per_centroid = PASSES, seed % 2**31, TRAINING_ROWS
    cells.cp.min_points_per_centroid = 1  # of few rows there are few for each, which faiss would print
    cells.train(_sample(vectors_RD, metric, TRAINING_ROWS * count, chance, components_DP))
    for start in range(0, rows, PIECE_ROWS):
        piece_RD = vectors_RD[start : start + PIECE_ROWS]
        cells.add(project(metric.directions(piece_RD), components_DP))
        if tell is not None:
            tell(len(piece_RD))
    return Engine(cells, components_DP, probes=1)


def principal_components(directions_SD: Float32[ndarray, "s d"]) -> Float32[ndarray, "d p"] | None:
    """The fewest directions, a multiple of 8, that hold `VARIANCE` of the rows; None if these are most of all."""
    squares_DD = directions_SD.T.astype(np.float64) @ directions_SD
    share_D, all_DD = np.linalg.eigh(squares_DD)
    held_D = np.cumsum(share_D[::-1]) / share_D.sum()
    size = 8 * math.ceil((int(np.searchsorted(held_D, VARIANCE)) + 1) / 8)
    if size > WORTH_IT * len(held_D):
        return None
    return np.ascontiguousarray(all_DD[:, ::-1][:, :size], dtype=np.float32)


def project(directions_RD: Float32[ndarray, "r d"], components_DP: Float32[ndarray, "d p"] | None) -> ndarray:
    """(R, P) float32; as they are where there are no components."""
    return np.ascontiguousarray(directions_RD if components_DP is None else directions_RD @ components_DP)


@contextmanager
def _few_threads(faiss: Any, queries: int) -> Iterator[None]:
    """One for a few queries: on a busy machine threads that share so little wait longer than they work."""
    before = faiss.omp_get_max_threads()  # of this thread of Python alone
    if queries < WORTH_THREADS:
        faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@functools.cache  # a search must not change how this process warns, which all its threads share
def load_faiss() -> Any:
    """The engine.

    Raises:
        EngineMissingError: it is not installed; how to do so is said.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its SWIG wrappers, on newer Pythons
        try:
            return importlib.import_module("faiss")
        except ImportError as error:
            raise EngineMissingError("faiss is not installed: pip install 'ecgjepa[serve]'") from error


class EngineMissingError(ValueError):
    """An index of many rows needs a package that is not installed; the message says which."""


def _sample(
    vectors_RD: ndarray, metric: Metric, count: int, chance: np.random.Generator, components_DP: ndarray | None
) -> ndarray:
    """Directions of some rows, projected, piece by piece: of a sample of a million the whole width is not needed."""
    rows = np.sort(chance.choice(len(vectors_RD), min(count, len(vectors_RD)), replace=False))
    pieces = (rows[start : start + PIECE_ROWS] for start in range(0, len(rows), PIECE_ROWS))
    return np.concatenate([project(metric.directions(vectors_RD[piece]), components_DP) for piece in pieces])
