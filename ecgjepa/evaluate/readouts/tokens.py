"""Tokens of frozen encoders, for read-outs that pool by themselves: from a file, or computed whenever asked for.

400 tokens of width 768 are 1.2 MB a record in float32: 7,000 records fill 8 GiB.

Axes: N records, T tokens of a record, D width.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy import ndarray
from torch import Tensor
from tqdm import tqdm

from ecgjepa.data.store import Store
from ecgjepa.evaluate.features import check_rows, check_tokens, outputs_of
from ecgjepa.evaluate.frozen import FrozenEncoder, fingerprint_of
from ecgjepa.files import atomic_path, write_json

TOKENS, DESCRIPTION = "tokens.npy", "tokens.json"
LIMIT_BYTES = 8 * 2**30


@runtime_checkable
class TokenSource(Protocol):
    """Tokens of N records."""

    def __len__(self) -> int:
        """N."""

    @property
    def width(self) -> int:
        """D."""

    def tokens(self, positions: Int64[ndarray, "n"]) -> Float32[Tensor, "n t d"]:
        """Tokens of some of the records, (n, T, D) on the CPU."""


@dataclass(frozen=True)
class TokenPart:
    """Some records of a source, as a source."""

    source: TokenSource
    positions: Int64[ndarray, "n"]

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def width(self) -> int:
        return self.source.width

    def tokens(self, positions: Int64[ndarray, "n"]) -> Float32[Tensor, "n t d"]:
        return self.source.tokens(self.positions[positions])


@dataclass(frozen=True)
class ComputedTokens:
    """Tokens that an encoder computes whenever they are asked for."""

    encoder: FrozenEncoder
    store: Store
    rows: Int64[ndarray, "n"]
    batch_size: int = 64
    device: str | torch.device = "cpu"

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> int:
        return self.encoder.width

    def tokens(self, positions: Int64[ndarray, "n"]) -> Float32[Tensor, "n t d"]:
        batches = outputs_of(
            self.encoder,
            self.store,
            self.rows[positions],
            lambda run, signal_mv_BLS: run.tokens(signal_mv_BLS),  # type: ignore[attr-defined]
            batch_size=self.batch_size,
            device=self.device,
        )
        # Out of inference mode they may take part in a graph.
        return torch.cat([batch.clone() for batch in batches])


@dataclass(frozen=True)
class CachedTokens:
    """Tokens in a float32 `.npy` file, read where they lie."""

    file: Path
    array_NTD: ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "array_NTD", np.load(self.file, mmap_mode="r", allow_pickle=False))

    def __len__(self) -> int:
        return len(self.array_NTD)

    @property
    def width(self) -> int:
        return self.array_NTD.shape[2]

    def tokens(self, positions: Int64[ndarray, "n"]) -> Float32[Tensor, "n t d"]:
        return torch.from_numpy(self.array_NTD[positions])


def token_source(
    encoder: FrozenEncoder,
    store: Store,
    rows: Sequence[int] | ndarray,
    cache: Path | str | None = None,
    *,
    limit_bytes: int = LIMIT_BYTES,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> TokenSource:
    """Tokens of some rows of a store: written once to a folder and read from there, or computed every time.

    Args:
        cache: the folder; computed every time where None, or where the file would be larger than `limit_bytes`.
        limit_bytes: of the file. A `ComputedTokens` for a given `cache` says that it was too large.

    Raises:
        ValueError: no row, contracts that do not agree, an encoder without tokens, a token that is not finite, or a
            folder that holds the tokens of something else.
    """
    rows = check_rows(encoder, store, rows, batch_size)
    check_tokens(encoder)
    computed = ComputedTokens(encoder, store, rows, batch_size, device)
    if cache is None:
        return computed
    first_1TD = computed.tokens(np.arange(1))
    shape = (len(rows), *first_1TD.shape[1:])
    if 4 * int(np.prod(shape, dtype=np.int64)) > limit_bytes:
        return computed
    folder = Path(cache)
    described = _describe(encoder, store, rows, shape)
    if (folder / DESCRIPTION).is_file() and (folder / TOKENS).is_file():
        found = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if found != described or described["encoder"] is None:
            differ = [name for name in described if found.get(name) != described[name]] or ["encoder"]
            raise ValueError(f"{folder} holds the tokens of another {' and '.join(differ)}; choose another folder")
        return CachedTokens(folder / TOKENS)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / TOKENS) as temporary:
        _write(temporary, computed, shape, progress)
    write_json(folder / DESCRIPTION, described)
    return CachedTokens(folder / TOKENS)


def _describe(encoder: FrozenEncoder, store: Store, rows: ndarray, shape: tuple[int, ...]) -> dict[str, Any]:
    return {
        "encoder": fingerprint_of(encoder),
        "contract": encoder.contract.to_dict(),
        "store": store.info.get("checksums"),
        "rows": hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest(),
        "shape": list(shape),
    }


def _write(file: Path, computed: ComputedTokens, shape: tuple[int, ...], progress: bool) -> None:
    out_NTD = np.lib.format.open_memmap(file, "w+", np.float32, shape)
    with tqdm(total=shape[0], desc="tokens", unit=" records", disable=not progress) as bar:
        for start in range(0, shape[0], computed.batch_size):
            positions = np.arange(start, min(start + computed.batch_size, shape[0]))
            tokens_BTD = computed.tokens(positions).numpy()
            if not np.isfinite(tokens_BTD).all():
                row = computed.rows[start + np.argmin(np.isfinite(tokens_BTD).all(axis=(1, 2)))]
                record = computed.store.records["record"].iloc[row]
                raise ValueError(f"tokens: those of {record} are not finite")
            out_NTD[positions] = tokens_BTD
            bar.update(len(positions))
    out_NTD.flush()
