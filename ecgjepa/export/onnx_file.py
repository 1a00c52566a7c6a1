"""Encoder -> one ONNX file for any batch, any of its leads and any number of whole patches, with its contract inside.

Axes: B records, L leads given, S samples, P patches, D width.
"""

import copy
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

import ecgjepa
from ecgjepa.export.onnx_encoder import FORMAT, ExportError, need
from ecgjepa.export.parity import check_parity
from ecgjepa.files import atomic_path
from ecgjepa.model.attention import attend_factorised
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.tokens import patchify

INPUTS = {
    "signal_mv": "float32 (batch, leads, samples): mV at the contract's sampling rate, finite; samples are the first "
    "whole patches of the contract's duration, or all of them",
    "lead": "int64 (leads): which lead each row of the signal is, as its index in the contract's leads; distinct",
}
OUTPUTS = {
    "embedding": "float32 (batch, width): the mean of all tokens",
    "tokens": "float32 (batch, leads, patches, width): the feature of every patch",
}
SIZES = {"width", "depth", "heads", "mlp_ratio", "patch_samples", "patch_norm"}
# One file of protocol buffers, which is what ONNX is, holds less than 2 GiB.
LARGEST_BYTES = 2**31 - 2**24


class Graph(nn.Module):
    """`Encoder.forward_features` and its mean, with leads as indices, which a graph can take, in place of names.

    Args:
        encoder: shared, not copied.
        layer: tokens after this block, without the final LayerNorm; with it where None.
    """

    def __init__(self, encoder: Encoder, layer: int | None) -> None:
        super().__init__()
        self.encoder, self.layer = encoder, layer

    def forward(
        self, signal_mv: Float[Tensor, "b l samples"], lead: Int[Tensor, "l"]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b l p d"]]:
        encoder = self.encoder
        patches_BLPS = patchify(signal_mv, encoder.config.patch_samples)
        leads, patches = patches_BLPS.shape[1:3]
        # The shape is spelled out, so that as many indices as rows are needed: a single one would be broadcast.
        position_BLPD = encoder.position_LPD.index_select(0, lead)[:, :patches].unflatten(0, (1, leads))
        tokens_BLPD = encoder.patch_embed(patches_BLPS)
        if encoder.config.patch_norm:
            tokens_BLPD = F.layer_norm(tokens_BLPD, tokens_BLPD.shape[-1:])
        tokens_BLPD = encoder.blocks(tokens_BLPD, position_BLPD, attend_factorised, None, self.layer)
        if self.layer is None:
            tokens_BLPD = encoder.norm(tokens_BLPD)
        return encoder.pool(tokens_BLPD), tokens_BLPD


def export_onnx(
    encoder: Encoder,
    path: Path,
    *,
    layer: int | None = None,
    notes: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> float:
    """Write an encoder as ONNX in float32; compared with it first, by `check_parity`.

    Args:
        encoder: on any device, in any precision; stays as it is.
        path: a name that ends in `.onnx`, in a folder that is there.
        layer: block whose tokens come out, 1 to depth, without the final LayerNorm; the encoder's output where None.
        notes: JSON values to keep in the file, such as `ecgjepa.checkpoint.public_notes`.
        overwrite: replace a file that is there.

    Returns:
        The largest difference that was found, at most 1e-4.

    Raises:
        ExportError: a package is missing, the encoder is too large or cannot be traced, or the file would compute other
            numbers; no file is written.
        FileExistsError: `path` is there already.
        ValueError: another suffix, or a layer that is not there.
    """
    check_target(path, overwrite)
    _check_encoder(encoder, layer)
    properties = _describe(encoder, layer, notes or {})
    encoder = copy.deepcopy(encoder).to("cpu", torch.float32).eval()
    with atomic_path(path) as temporary:
        program = _trace(encoder, layer)
        _label(program.model, properties)
        program.save(temporary, external_data=False)
        return check_parity(temporary, encoder, layer)


def check_target(path: Path, overwrite: bool) -> None:
    """Raise now what `export_onnx` would raise about a path, or about packages that are missing."""
    if path.suffix != ".onnx":
        raise ValueError(f"{path}: expected a name that ends in .onnx")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, expected the name of a file")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; --overwrite replaces it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} to write {path.name} to")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"no permission to write to the folder {path.parent}")
    for package in ("onnx", "onnxscript", "onnxruntime"):
        need(package)


def _check_encoder(encoder: Encoder, layer: int | None) -> None:
    if layer is not None and not 1 <= layer <= encoder.config.depth:
        raise ValueError(f"layer: expected 1 to {encoder.config.depth}, found {layer}")
    size = 4 * sum(weights.numel() for weights in encoder.parameters())
    if size > LARGEST_BYTES:
        raise ExportError(f"weights of {size / 1e9:.1f} GB, expected at most {LARGEST_BYTES / 1e9:.1f} GB in one file")


def _trace(encoder: Encoder, layer: int | None) -> torch.onnx.ONNXProgram:
    # Sizes of 1 would be taken for constants. Leads may be told twice: what is traced is shapes.
    patches = min(5, encoder.patches)
    signal_mv_BLS = torch.zeros(2, 3, patches * encoder.config.patch_samples)
    lead_L = torch.arange(3) % len(encoder.contract.leads)
    with _quiet():
        try:
            program = torch.onnx.export(
                Graph(encoder, layer),
                (signal_mv_BLS, lead_L),
                input_names=list(INPUTS),
                output_names=list(OUTPUTS),
                dynamic_shapes={"signal_mv": {0: "batch", 1: "leads", 2: "samples"}, "lead": {0: "leads"}},
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            reason = str(error).partition("\n")[0]
            raise ExportError(f"torch {torch.__version__} could not make a graph of the encoder: {reason}") from error
    assert program is not None
    return program


def _describe(encoder: Encoder, layer: int | None, notes: Mapping[str, Any]) -> dict[str, str]:
    sizes = encoder.config.model_dump(include=SIZES)
    return {
        "ecgjepa_format": FORMAT,
        "ecgjepa_version": ecgjepa.__version__,
        "contract": json.dumps(encoder.contract.to_dict()),
        "model": json.dumps({**sizes, "layer": layer}),
        "inputs": json.dumps(INPUTS),
        "outputs": json.dumps(OUTPUTS),
        "weights_sha256": encoder.weights_sha256(),
        "notes": json.dumps(dict(notes), allow_nan=False),
    }


def _label(model: Any, properties: Mapping[str, str]) -> None:
    """Write the description into a model of `onnx_ir`; take out what the tracer wrote on every node."""
    model.metadata_props.update(properties)
    model.doc_string = "Encoder of ECG-JEPA (arXiv:2410.08559), exported by ecgjepa; see the metadata."
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.doc_string = {**INPUTS, **OUTPUTS}[value.name]
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the tracer says of itself: torchvision is absent, its own names are old, one axis has two names."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
