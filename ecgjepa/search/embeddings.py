"""A table of embeddings -> its vectors in one file, and the rest of its columns; piece by piece.

Axes: R rows, D width.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32
from numpy import ndarray

from ecgjepa.search.description import IndexFolderError

# Rows that are read at once: 50 MB at a width of 768.
PIECE_ROWS = 16_384
_ABOUT = b"ecgjepa"
_NEEDED = ("record", "path", "row", "window", "start_s")
_OF_TOKENS = ("lead", "patch")
_PERHAPS = ("labels", "age", "sex", "source")
# What an index must know of the encoder, so that nothing of another encoder is ever compared with its rows.
_OF_ENCODER = {"weights_sha256": str, "contract": dict, "options": dict}


class EmbeddingTable:
    """A table that `ecgjepa embed` made, read piece by piece.

    Attributes:
        about: what it says of what made it.
        rows, width: of it.

    Raises:
        IndexFolderError: the file is no such table, or one of tokens or predictions, or of no rows.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file, expected a table of `ecgjepa embed`")
        try:
            self._schema, self.rows = pq.read_schema(file), pq.read_metadata(file).num_rows
        except pa.ArrowException as error:
            raise IndexFolderError(f"{file} is no Parquet table: {error}") from error
        names = self._schema.names
        if tokens := [name for name in _OF_TOKENS if name in names]:
            raise IndexFolderError(
                f"{file} is a table of tokens (column {tokens[0]}), expected a row for each ECG or window: "
                "embed without --tokens"
            )
        if missing := [name for name in (*_NEEDED, "embedding") if name not in names]:
            raise IndexFolderError(f"{file} is no table of embeddings: it lacks the columns {', '.join(missing)}")
        kind = self._schema.field("embedding").type
        if not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.float32() or not kind.list_size:
            raise IndexFolderError(
                f"{file}: column embedding is of type {kind}, expected lists of float32 of one length"
            )
        if not self.rows:
            raise IndexFolderError(f"{file} has no rows")
        self.width: int = kind.list_size
        self.about = self._read_about()

    def _read_about(self) -> dict[str, Any]:
        said = (self._schema.metadata or {}).get(_ABOUT)
        if said is None:
            raise IndexFolderError(
                f"{self.file} does not say which encoder made it (Parquet metadata {_ABOUT.decode()!r}); "
                "a table that was changed must keep the metadata of `ecgjepa embed`"
            )
        try:
            about = json.loads(said)
            wrong = [key for key, kind in _OF_ENCODER.items() if not isinstance(about[key], kind)]
        except (ValueError, KeyError, TypeError) as error:
            raise IndexFolderError(f"{self.file}: unusable metadata {_ABOUT.decode()!r}: {error!r}") from error
        if wrong:
            raise IndexFolderError(f"{self.file}: {', '.join(wrong)} in its metadata are of another type")
        if "head_sha256" in about:
            raise IndexFolderError(f"{self.file} is a table of predictions, expected one of `ecgjepa embed`")
        return about

    def columns(self) -> pa.Table:
        """All rows without their embeddings."""
        perhaps = [name for name in _PERHAPS if name in self._schema.names]
        return pq.read_table(self.file, columns=[*_NEEDED, *perhaps])

    def pieces(self) -> Iterator[Float32[ndarray, "r d"]]:
        """The embeddings, some thousand rows at a time.

        Raises:
            IndexFolderError: one is missing or not finite; its record is named.
        """
        with pq.ParquetFile(self.file) as table:
            for piece in table.iter_batches(PIECE_ROWS, columns=["record", "embedding"]):
                column = piece.column("embedding")
                if column.null_count:
                    place = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
                    raise IndexFolderError(f"{self.file}: record {piece.column('record')[place]} has no embedding")
                embeddings_RD = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, self.width)
                finite_R = np.isfinite(embeddings_RD).all(axis=1)
                if not finite_R.all():
                    record = piece.column("record")[int(np.flatnonzero(~finite_R)[0])]
                    raise IndexFolderError(f"{self.file}: the embedding of record {record} is not finite")
                yield embeddings_RD


def write_vectors(file: Path, table: EmbeddingTable) -> Iterator[Float32[ndarray, "r d"]]:
    """Write the embeddings as one array (R, D); gives every piece when it is written."""
    with file.open("wb") as out:
        shape = (table.rows, table.width)
        np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for embeddings_RD in table.pieces():
            out.write(np.ascontiguousarray(embeddings_RD, dtype="<f4").data)
            yield embeddings_RD


def map_array(file: Path, shape: tuple[int, int]) -> Float32[ndarray, "r d"]:
    """An array of float32 where it lies on disk.

    Raises:
        IndexFolderError: it is of another shape or type.
    """
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise IndexFolderError(f"{file}: {error}") from error
    if array.shape != shape or array.dtype != np.float32:
        raise IndexFolderError(f"{file}: {array.dtype} {array.shape}, expected float32 {shape}")
    return array
