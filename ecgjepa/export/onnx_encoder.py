"""An exported encoder, run by onnxruntime: the same numbers without torch.

Axes: B records, L leads given, S samples, P patches of a lead, D width.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from ecgjepa.signal import SignalContract

FORMAT = "1"


class ExportError(ValueError):
    """An encoder that cannot be exported, or a file that is not an exported encoder; the message says why."""


class OnnxEncoder:
    """An encoder that `ecgjepa export` wrote; takes signals that meet its contract, as `Encoder` does.

    Args:
        path: the `.onnx` file.
        threads: processors to use; all of them where None.

    Attributes:
        contract: leads, sampling rate, duration and unit of the signals it takes.
        sizes: `width`, `depth`, `heads`, `mlp_ratio`, `patch_samples`, `patch_norm`, and the `layer` whose tokens come
            out, None for those behind the final LayerNorm.
        notes: what is known about the weights: `provenance`, `training`, `seed`, `steps` and others.
        weights_sha256: `Encoder.weights_sha256` of the encoder.

    Raises:
        FileNotFoundError: no such file.
        ExportError: it is not ONNX, was not written by `ecgjepa export`, or in another format; onnxruntime is missing.
    """

    def __init__(self, path: Path | str, *, threads: int | None = None) -> None:
        self._session = open_session(Path(path), threads)
        properties = self._session.get_modelmeta().custom_metadata_map
        if properties.get("ecgjepa_format") != FORMAT:
            found = properties.get("ecgjepa_format", "none")
            raise ExportError(f"{path}: format {found} of exported encoders, expected {FORMAT}")
        try:
            self.contract = SignalContract.from_dict(json.loads(properties["contract"]))
            self.sizes: dict[str, Any] = json.loads(properties["model"])
            self.notes: dict[str, Any] = json.loads(properties["notes"])
            self.weights_sha256 = properties["weights_sha256"]
            self.patch_samples = int(self.sizes["patch_samples"])
        except (KeyError, TypeError, ValueError) as error:
            raise ExportError(f"{path}: the description in the file cannot be read: {error!r}") from error

    def forward(
        self, signal_mv_BLS: Float32[ndarray, "b l samples"], leads: Sequence[str] | None = None
    ) -> Float32[ndarray, "b d"]:
        """Representation of each record: the mean of the features of all its patches; see `forward_features`."""
        return self.run(("embedding",), signal_mv_BLS, leads)[0]

    def forward_features(
        self, signal_mv_BLS: Float32[ndarray, "b l samples"], leads: Sequence[str] | None = None
    ) -> Float32[ndarray, "b l p d"]:
        """Features of every patch.

        Args:
            signal_mv_BLS: (B, L, S) in mV, finite; S samples are the first whole patches of what the contract says,
                or all of them.
            leads: names of the L leads, in the order of the rows; all of the contract where None.

        Raises:
            ValueError: the shape of the signal is not that of the leads and the contract, a lead is unknown, or a
                sample is not finite.
        """
        return self.run(("tokens",), signal_mv_BLS, leads)[0]

    def run(
        self,
        outputs: Sequence[str],
        signal_mv_BLS: Float32[ndarray, "b l samples"],
        leads: Sequence[str] | None = None,
    ) -> list[ndarray]:
        """Several outputs of one pass, `embedding` and `tokens`; see `forward_features`."""
        names = self.contract.leads if leads is None else tuple(leads)
        unknown = [lead for lead in names if lead not in self.contract.leads]
        if unknown or not names or len(set(names)) != len(names):
            raise ValueError(f"leads: expected distinct ones of {self.contract.leads}, found {names}")
        shape = signal_mv_BLS.shape
        is_whole = len(shape) == 3 and 0 < shape[2] <= self.contract.samples and shape[2] % self.patch_samples == 0
        if not is_whole or shape[1] != len(names):
            raise ValueError(
                f"signal: expected shape (records, {len(names)} leads, {self.contract.samples} samples, or fewer that "
                f"are whole patches of {self.patch_samples}), found {shape}"
            )
        if not np.isfinite(signal_mv_BLS).all():
            raise ValueError("signal: samples that are not finite; expected leads and patches without gaps")
        lead_L = np.array([self.contract.leads.index(lead) for lead in names], dtype=np.int64)
        return self._session.run(list(outputs), {"signal_mv": signal_mv_BLS, "lead": lead_L})


def open_session(path: Path, threads: int | None = None) -> Any:
    """A session of onnxruntime on the CPU.

    Raises:
        FileNotFoundError: no such file.
        ExportError: onnxruntime cannot read it, or is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    onnxruntime = need("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base; the file is named
        raise ExportError(f"{path} cannot be read by onnxruntime: {error}") from error


def need(package: str) -> ModuleType:
    """An optional package, or an `ExportError` that says how to install it."""
    import importlib

    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ExportError(f"{error.name} is not installed: pip install 'ecgjepa[onnx]'") from error
