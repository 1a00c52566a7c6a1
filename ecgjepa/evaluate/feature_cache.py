"""Features of whole stores, computed once and kept as files for every task and read-out of an evaluation.

FOLDER/KEY.npy    (N, D) float32, a row for each record of the store
FOLDER/KEY.json   what they are of; KEY is a hash of it
FOLDER/tokens-KEY/   the same of all tokens, see `token_source`

Axes: N records, D width of the features.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy import ndarray

from ecgjepa.data.store import Store
from ecgjepa.evaluate.conditions import NoisyStore
from ecgjepa.evaluate.features import Pooling, embed_rows
from ecgjepa.evaluate.frozen import FrozenEncoder, fingerprint_of
from ecgjepa.evaluate.readouts.tokens import TokenPart, TokenSource, token_source
from ecgjepa.files import atomic_path, write_json


@dataclass(frozen=True)
class FeatureCache:
    """Where features are kept, and how they are computed where they are not there.

    Attributes:
        folder: None: nothing is kept, and only the rows that are asked for are computed.
        batch_size, device, progress: see `embed_rows`.
    """

    folder: Path | None = None
    batch_size: int = 64
    device: str | torch.device = "cpu"
    progress: bool = True

    def features(
        self,
        encoder: FrozenEncoder,
        store: Store,
        rows_N: Int64[ndarray, "n"],
        *,
        pooling: Pooling = "mean",
        description: str = "embedding",
    ) -> Float32[ndarray, "n d"]:
        """Features of some rows of a store; see `embed_rows`.

        An encoder that cannot say which weights it has is computed every time.
        """
        options: dict[str, Any] = {"pooling": pooling, "batch_size": self.batch_size, "device": self.device}
        options |= {"progress": self.progress, "description": description}
        fingerprint, every_N = fingerprint_of(encoder), np.arange(len(store))
        if self.folder is None or fingerprint is None:
            return embed_rows(encoder, store, rows_N, **options)
        if isinstance(store, NoisyStore):  # which is asked for few of its rows
            every_N = np.asarray(rows_N)
        described = {
            "encoder": fingerprint,
            "contract": encoder.contract.to_dict(),
            "store": store.info["checksums"],
            "pooling": pooling,
        }
        if isinstance(store, NoisyStore):
            described |= {"snr_db": store.snr_db, "seed": store.seed, "rows": hash_of(every_N)}
        key = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:24]
        file = self.folder / f"{key}.npy"
        if not file.is_file():
            features_ND = embed_rows(encoder, store, every_N, **options)
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / f"{key}.json", described)
            with atomic_path(file) as temporary, temporary.open("wb") as stream:
                np.save(stream, features_ND)
        kept_ND = np.load(file, mmap_mode="r", allow_pickle=False)
        if len(kept_ND) != len(every_N):
            raise ValueError(f"{file}: {len(kept_ND)} rows, expected {len(every_N)}; delete it")
        return np.array(kept_ND if isinstance(store, NoisyStore) else kept_ND[rows_N])

    def tokens(self, encoder: FrozenEncoder, store: Store, rows_N: Int64[ndarray, "n"]) -> TokenSource:
        """Tokens of some rows of a store, kept for all of its rows where they are kept at all; see `token_source`."""
        options: dict[str, Any] = {"batch_size": self.batch_size, "device": self.device, "progress": self.progress}
        fingerprint = fingerprint_of(encoder)
        if self.folder is None or fingerprint is None:
            return token_source(encoder, store, rows_N, **options)
        key = hashlib.sha256(json.dumps([fingerprint, store.info["checksums"]]).encode()).hexdigest()[:24]
        every = token_source(encoder, store, np.arange(len(store)), self.folder / f"tokens-{key}", **options)
        return TokenPart(every, np.asarray(rows_N))


def hash_of(rows_N: Int64[ndarray, "n"]) -> str:
    """Which rows: the SHA-256 of their numbers."""
    return hashlib.sha256(rows_N.astype("<i8").tobytes()).hexdigest()
