"""An ONNX file as a frozen encoder, ours or anyone's; run by onnxruntime on the CPU.

Axes: B records, L leads, S samples, T tokens of a record, D width.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from ecgjepa.data.store import sha256_of
from ecgjepa.export.onnx_encoder import ExportError, open_session
from ecgjepa.signal import SignalContract


class OnnxEncoder:
    """A frozen encoder in an ONNX file.

    A file of `ecgjepa export` says its contract, and gives tokens too. A file from elsewhere needs a contract, one
    input (B, L, S) of float32, and an output (B, D): the named one, or the only one of two axes. A fixed batch size is
    filled up by repeating the last record.

    Args:
        path: the file.
        contract: the signals it takes; of an exported file, None or what the file says.
        output: name of the output, where several have two axes.
        threads: processors to use; all of them where None.

    Attributes:
        contract, width: as of every frozen encoder.
        tokens: (B, L, S) -> (B, T, D) of an exported file, else None.
        notes: what an exported file says of its weights; empty for others.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not ONNX, has no such input or output, or does not fit the contract; onnxruntime is missing.
    """

    def __init__(
        self,
        path: Path | str,
        contract: SignalContract | None = None,
        *,
        output: str | None = None,
        threads: int | None = None,
    ) -> None:
        self.path = Path(path)
        self._session = open_session(self.path, threads)
        described = self._session.get_modelmeta().custom_metadata_map
        self._is_ours = "ecgjepa_format" in described
        self.notes: dict[str, Any] = {}
        self.tokens: Callable[[Tensor], Tensor] | None = None
        self._batch: int | None = None
        self._inputs: tuple[str, ...]
        if self._is_ours:
            self._take_ours(described, contract, output)
        else:
            self._take_foreign(contract, output)

    def __call__(self, signal_mv_BLS: Float[Tensor, "b l s"]) -> Float[Tensor, "b d"]:
        """Features of each record, on the CPU."""
        return self._run(self._output, signal_mv_BLS)

    def to(self, device: Any) -> "OnnxEncoder":
        """Itself: it runs on the CPU, wherever the signals are."""
        return self

    def weights_sha256(self) -> str:
        """SHA-256 of the file, hexadecimal."""
        return sha256_of(self.path)

    def _take_ours(self, described: dict[str, str], contract: SignalContract | None, output: str | None) -> None:
        try:
            self.contract = SignalContract.from_dict(json.loads(described["contract"]))
            self.width, self.notes = int(json.loads(described["model"])["width"]), json.loads(described["notes"])
        except (KeyError, TypeError, ValueError) as error:
            raise ExportError(f"{self.path}: the description in the file cannot be read: {error!r}") from error
        if contract not in (None, self.contract):
            raise ValueError(f"{self.path}: contract {contract}, but the file was exported with {self.contract}")
        if output not in (None, "embedding"):
            raise ValueError(f"{self.path}: output {output!r}, expected embedding in a file of `ecgjepa export`")
        self._output, self._inputs = "embedding", ("signal_mv", "lead")
        self.tokens = lambda signal_mv_BLS: self._run("tokens", signal_mv_BLS).flatten(1, 2)

    def _take_foreign(self, contract: SignalContract | None, output: str | None) -> None:
        if contract is None:
            raise ValueError(
                f"{self.path} was not written by `ecgjepa export` and says no contract: give one (leads, "
                "sampling_rate_hz, seconds), on the command line as --contract FILE.json"
            )
        self.contract = contract
        inputs = self._session.get_inputs()
        found = ", ".join(f"{each.name} {each.type} {each.shape}" for each in inputs)
        expected = f"one input tensor(float) of (records, {len(contract.leads)} leads, {contract.samples} samples)"
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 3:
            raise ValueError(f"{self.path}: inputs {found or 'none'}, expected {expected}")
        batch, *shape = inputs[0].shape
        wanted = (len(contract.leads), contract.samples)
        if any(isinstance(size, int) and size != need for size, need in zip(shape, wanted, strict=True)):
            raise ValueError(f"{self.path}: input {found}, expected {expected}")
        self._batch = batch if isinstance(batch, int) else None
        self._inputs, self._output = (inputs[0].name,), self._choose_output(output)
        trial = self._run(self._output, torch.zeros(1, *wanted))
        if trial.ndim != 2:
            raise ValueError(f"{self.path}: output {self._output} of shape {tuple(trial.shape)}, expected (records, D)")
        self.width = trial.shape[1]

    def _choose_output(self, name: str | None) -> str:
        outputs = self._session.get_outputs()
        found = ", ".join(f"{each.name} {each.shape}" for each in outputs)
        if name is not None and name not in [each.name for each in outputs]:
            raise ValueError(f"{self.path}: no output {name!r}, found {found}")
        flat = [each.name for each in outputs if len(each.shape) == 2]
        if name is None and len(flat) != 1:
            raise ValueError(f"{self.path}: outputs {found}, expected one of two axes (records, D), or a name of one")
        return name or flat[0]

    def _run(self, output: str, signal_mv_BLS: Tensor) -> Tensor:
        shape = (len(self.contract.leads), self.contract.samples)
        if signal_mv_BLS.ndim != 3 or tuple(signal_mv_BLS.shape[1:]) != shape:
            raise ValueError(
                f"{self.path}: signal of shape {tuple(signal_mv_BLS.shape)}, expected (records, {shape[0]} leads, "
                f"{shape[1]} samples)"
            )
        signal_BLS = signal_mv_BLS.detach().cpu().float().numpy()
        size = self._batch or len(signal_BLS)
        parts = [self._pass(output, signal_BLS[at : at + size], size) for at in range(0, len(signal_BLS), size)]
        return torch.from_numpy(np.concatenate(parts))

    def _pass(self, output: str, signal_BLS: ndarray, size: int) -> ndarray:
        records = len(signal_BLS)
        filled = np.concatenate([signal_BLS, np.repeat(signal_BLS[-1:], size - records, axis=0)])
        feed: dict[str, ndarray] = {self._inputs[0]: np.ascontiguousarray(filled)}
        if self._is_ours:
            feed["lead"] = np.arange(len(self.contract.leads), dtype=np.int64)
        try:
            found = np.asarray(self._session.run([output], feed)[0], dtype=np.float32)
        except Exception as error:  # the errors of onnxruntime have no common base; the file is named
            raise ValueError(
                f"{self.path}: onnxruntime cannot run it on signals of {feed[self._inputs[0]].shape}: {error}"
            ) from error
        if found.ndim < 2 or len(found) != size:
            raise ValueError(
                f"{self.path}: output {output} of shape {found.shape}, expected {size} records of D features"
            )
        return found[:records]
