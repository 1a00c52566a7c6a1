"""An index on disk, and what it says of itself.

    INDEX/index.json          what is below in `KEYS`, written last
          vectors.npy         float32 (R, D), the embeddings as they are in their table; read where they lie
          metric.safetensors  by which they are standardised
          engine.faiss        the approximate index of the rows, if there are many, see `ecgjepa.search.engine`
          engine.safetensors  the components that it was made of
          records.parquet     R rows: what is known of each, see `ecgjepa.search.rows`
          map.npy             float32 (R, 2), places on the map, if it was made

Axes: R rows, D width.
"""

import json
from pathlib import Path
from typing import Any

from ecgjepa.search.metric import METRIC

FORMAT = 1
DESCRIPTION = "index.json"
ENGINE, ENGINE_COMPONENTS = "engine.faiss", "engine.safetensors"
VECTORS, METRIC_FILE, RECORDS, MAP = "vectors.npy", "metric.safetensors", "records.parquet", "map.npy"
PARTS = {DESCRIPTION, ENGINE, ENGINE_COMPONENTS, VECTORS, METRIC_FILE, RECORDS, MAP}
# engine is None where every search is exact. levels: of each store that knows some row, the level of its labels.
# rows_unknown: of which neither a store nor the table says anything. weights_sha256, contract, embedding: of the table.
KEYS: dict[str, type | tuple[type, ...]] = {
    "format": int,
    "rows": int,
    "width": int,
    "metric": str,
    "engine": (dict, type(None)),
    "map": (dict, type(None)),
    "levels": dict,
    "rows_unknown": int,
    "weights_sha256": str,
    "contract": dict,
    "embedding": dict,
    "seed": int,
    "versions": dict,
    "command": str,
    "bytes": dict,
}


class IndexFolderError(ValueError):
    """A folder that is not a whole index, or a table that none can be made of; the message says what is wrong."""


def read_description(folder: Path) -> dict[str, Any]:
    """What `index.json` says, held against the sizes of the files.

    Raises:
        IndexFolderError: there is none, it is of another format, or a file is missing or cut.
    """
    file = folder / DESCRIPTION
    if not file.is_file():
        raise IndexFolderError(f"{folder} is not an index: no {DESCRIPTION} in it (make one with `ecgjepa index`)")
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
        version = info["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise IndexFolderError(f"{file} is not the description of an index: {error!r}") from error
    if version != FORMAT:
        raise IndexFolderError(f"{file}: index format {version!r}, expected {FORMAT}; make it again")
    if wrong := [key for key, kind in KEYS.items() if key not in info or not isinstance(info[key], kind)]:
        raise IndexFolderError(f"{file}: {', '.join(wrong)} missing or of another type")
    if info["metric"] != METRIC:
        raise IndexFolderError(f"{file}: metric {info['metric']!r}, expected {METRIC}; make it again")
    for name, expected in info["bytes"].items():
        if name not in PARTS:
            raise IndexFolderError(f"{file}: {name!r} is no file of an index")
        found = (folder / name).stat().st_size if (folder / name).is_file() else None
        if found != expected:
            raise IndexFolderError(
                f"{folder / name}: {'missing' if found is None else f'{found} bytes'}, expected {expected}"
            )
    return info
