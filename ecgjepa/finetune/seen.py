"""What a fine-tuned encoder was trained on: what its pretraining saw, and the records of the fine-tuning."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int64
from numpy import ndarray

from ecgjepa.data.seen import Seen, namespace, write_seen
from ecgjepa.data.store import Store
from ecgjepa.files import atomic_path


def extend_seen(path: Path, before: Path | None, store: Store, rows_N: Int64[ndarray, "n"]) -> None:
    """Write the list of the pretraining and of some rows of a store together.

    Args:
        before: the list of the pretraining; None where nothing was seen before (random weights).
    """
    write_seen(path, [(store, rows_N)])
    if before is None:
        return
    own, earlier = pq.read_table(path), pq.read_table(before)
    about = {
        key: json.dumps([*json.loads(earlier.schema.metadata[key]), *json.loads(own.schema.metadata[key])])
        for key in (b"contracts", b"namespaces")
    }
    with atomic_path(path) as temporary:
        both = pa.concat_tables([earlier.replace_schema_metadata(None), own.replace_schema_metadata(None)])
        pq.write_table(both.replace_schema_metadata(about), temporary, use_dictionary=False)


def nothing_seen(store: Store) -> Seen:
    """What random weights were trained on: nothing, and that is known of a store's signals and names."""
    none = np.empty(0, np.uint64)
    name = hashlib.sha256(namespace(store).encode()).hexdigest()
    return Seen(none, none, none, (store.contract.to_dict(),), (name,))
