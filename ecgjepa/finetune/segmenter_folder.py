"""A segmenter on disk: the encoder as a model folder, and the layer on its tokens beside.

config.json             sizes, contract, notes; see `ecgjepa.checkpoint`
model.safetensors       the encoder
segmenter.safetensors   `weight` (patch samples * C, D) and `bias`; its header says classes and origin

Axes: N records, B records of a batch, L leads, S samples, C classes of a sample.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int8, Int64
from numpy import ndarray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tqdm import tqdm

import ecgjepa
from ecgjepa.checkpoint import PUBLISHED_HEADS, Which, load_model
from ecgjepa.data.store import Store
from ecgjepa.evaluate.features import contract_warnings, read_for
from ecgjepa.evaluate.head import HeadError
from ecgjepa.finetune.classifier_folder import PARTS, replace_folder
from ecgjepa.finetune.records import leads_of, take_leads
from ecgjepa.model.segmenter import Segmenter

LAYER = "segmenter.safetensors"
KEY, FORMAT = "ecgjepa_segmenter", 1


@dataclass(frozen=True, eq=False)
class LoadedSegmenter:
    """An encoder with the layer that reads its tokens.

    Attributes:
        network: float32 on the CPU until it is moved.
        classes: C names of what a sample can be.
        about: what it was learned on.
        notes: what `config.json` says.
        folder: where it lies.
    """

    network: Segmenter
    classes: tuple[str, ...]
    about: dict[str, Any]
    notes: dict[str, Any]
    folder: Path

    @property
    def leads(self) -> tuple[str, ...]:
        """Those that it looks at, in the order of the contract."""
        stated = self.about.get("leads")
        return leads_of(self.network.encoder.contract, None if stated is None else tuple(stated))


def save_segmenter(
    folder: Path, segmenter: LoadedSegmenter, *, seen: Path | None = None, overwrite: bool = False
) -> None:
    """Write a segmenter that is either whole or not there.

    Raises:
        FileExistsError: the folder exists and `overwrite` is False, or it holds anything but a segmenter.
    """
    header = {"format": FORMAT, "version": ecgjepa.__version__, "classes": list(segmenter.classes)}
    header |= {"about": segmenter.about}
    state = segmenter.network.linear.state_dict()
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    with replace_folder(
        folder, segmenter.network.encoder, LAYER, seen=seen, overwrite=overwrite, **segmenter.notes
    ) as finished:
        save_file(tensors, finished / LAYER, metadata={KEY: json.dumps(header, ensure_ascii=False, allow_nan=False)})


def load_segmenter(source: Path | str, *, which: Which | None = None, heads: int = PUBLISHED_HEADS) -> LoadedSegmenter:
    """Load a segmenter, ready to use: its folder, or a run of `ecgjepa finetune` (its `best`, else its `last`).

    Raises:
        CheckpointError: no model is there.
        HeadError: no layer is there, or it is not that of the encoder.
    """
    candidates = [Path(source), *(Path(source) / part for part in PARTS)]
    folder = next((each for each in candidates if (each / LAYER).is_file()), None)
    if folder is None:
        raise HeadError(f"no segmenter at {source}: expected a folder with {LAYER}")
    model, file = load_model(folder, which, heads=heads), folder / LAYER
    network = Segmenter(model.encoder)
    try:
        with safe_open(file, framework="pt") as opened:
            described = json.loads((opened.metadata() or {})[KEY])
            state = {name: opened.get_tensor(name).float().clone() for name in ("weight", "bias")}
        if described["format"] != FORMAT:
            raise HeadError(f"{file}: segmenter format {described['format']}, expected {FORMAT}")
        network.linear.load_state_dict(state)
        classes, about = tuple(map(str, described["classes"])), dict(described["about"])
    except (SafetensorError, OSError, KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
        raise HeadError(f"{file} is not the layer of a segmenter: {type(error).__name__}: {error}") from error
    if about.get("weights_sha256") not in (None, model.encoder.weights_sha256()):
        raise HeadError(f"{file}: it was learned on an encoder of other weights")
    return LoadedSegmenter(network.eval(), classes, about, model.notes, folder)


def segment_rows(
    segmenter: LoadedSegmenter,
    store: Store,
    rows: Int64[ndarray, "n"],
    *,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> Int8[ndarray, "n l s"]:
    """The most probable class of every sample of the leads it looks at, places in `classes`, (N, L, S).

    Always in float32; the filter of the encoder's contract is applied.

    Raises:
        ValueError: the store is of another contract.
    """
    network, leads = segmenter.network.to(device), segmenter.leads
    contract = network.encoder.contract
    contract_warnings(store.contract, contract)
    called_NLS = np.empty((len(rows), len(leads), contract.samples), np.int8)
    with tqdm(total=len(rows), desc="segmenting", unit=" records", disable=not progress) as bar:
        for start in range(0, len(rows), batch_size):
            signal_mv_BLS = take_leads(read_for(contract, store, rows[start : start + batch_size]), contract, leads)
            with torch.inference_mode():
                logits_BLSC = network(torch.from_numpy(signal_mv_BLS).to(device), leads)
            called_NLS[start : start + batch_size] = logits_BLSC.argmax(dim=3).cpu().numpy()
            bar.update(len(signal_mv_BLS))
    return called_NLS
