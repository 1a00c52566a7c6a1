"""What server and reader processes say to each other: JSON and raw float32, never an object that is unpickled.

A request is its length (uint32) and JSON. A reply is the lengths of its head (uint32) and of its samples (uint64), the
head as JSON, and the samples of all windows one after the other. A reader may have been taken over by what it read, so
the server believes nothing of a reply that it has not checked.

Axes: L leads, S samples.
"""

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ecgjepa.data.formats.hints import Hints
from ecgjepa.patches import Windows
from ecgjepa.signal import SignalContract
from ecgjepa.windows import Window

REQUEST = struct.Struct("<I")
REPLY = struct.Struct("<IQ")
# A window has a hundred words about it.
HEAD_BYTES_PER_WINDOW, HEAD_BYTES = 8 * 1024, 64 * 1024


class BadReplyError(ValueError):
    """A reply that no reader of ours gives."""


@dataclass(frozen=True)
class Request:
    """What a reader is asked for.

    Attributes:
        folder: that holds the file, and what else it needs.
        file: to open.
        record: what to call it.
        count: only count the ECGs in it.
        row: which of them.
        max_windows: of one recording.
        hints, contracts, patch_samples, windows: see `ecgjepa.serve.reading.pool.Wanted`.
    """

    folder: str
    file: str
    record: str
    hints: Hints
    contracts: tuple[SignalContract, ...]
    patch_samples: tuple[int, ...]
    windows: Windows
    max_windows: int
    count: bool = False
    row: int | None = None

    def pack(self) -> bytes:
        """As bytes, with their length before."""
        values = {**asdict(self), "contracts": [contract.to_dict() for contract in self.contracts]}
        content = json.dumps(values).encode()
        return REQUEST.pack(len(content)) + content

    @classmethod
    def unpack(cls, content: bytes) -> "Request":
        """From the JSON of `pack`."""
        values = json.loads(content)
        values["hints"] = Hints(**values["hints"])
        values["contracts"] = tuple(map(SignalContract.from_dict, values["contracts"]))
        return cls(**values)

    @property
    def most_samples_bytes(self) -> int:
        """Bytes of the samples of the longest reply."""
        return sum(4 * self.max_windows * len(contract.leads) * contract.samples for contract in self.contracts)

    @property
    def most_head_bytes(self) -> int:
        """Bytes of the longest head of a reply."""
        return HEAD_BYTES + HEAD_BYTES_PER_WINDOW * self.max_windows * len(self.contracts)


def pack_reply(head: dict[str, Any], windows: Sequence[Sequence[Window]] = ()) -> bytes:
    """A reply; the windows of each contract are described in its head."""
    described = [
        [
            {
                "leads": window.leads,
                "samples": window.signal_mv.shape[1],
                "start_s": window.start_s,
                "changes": window.changes,
                "flags": window.flags,
            }
            for window in each
        ]
        for each in windows
    ]
    content = json.dumps({**head, "windows": described}).encode()
    samples = b"".join(np.ascontiguousarray(window.signal_mv, "<f4").tobytes() for each in windows for window in each)
    return REPLY.pack(len(content), len(samples)) + content + samples


class _WindowHead(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    leads: list[str] = Field(min_length=1, max_length=12)
    samples: int = Field(ge=1)
    start_s: float = Field(ge=0, allow_inf_nan=False)
    changes: list[str]
    flags: list[str]


class ReplyHead(BaseModel):
    """What a reply says beside samples.

    Attributes:
        refused: reason and detail, where there is no ECG.
        count: of ECGs, where that was asked for; None of a file that holds one.
        is_spent: the reader met an end of its memory, and is to be ended.
        seconds, sampling_rate_hz: of the recording.
        windows: what is to be known of the windows of each contract.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    refused: tuple[str, str] | None = None
    count: int | None = Field(None, ge=0)
    is_spent: bool = False
    seconds: float = Field(0.0, ge=0, allow_inf_nan=False)
    sampling_rate_hz: float = Field(0.0, ge=0, allow_inf_nan=False)
    windows: list[list[_WindowHead]] = Field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Reply:
    """A reply that was checked."""

    head: ReplyHead
    windows: tuple[list[Window], ...]


def check_reply(request: Request, head: bytes, samples: bytes) -> Reply:
    """A reply, if it is one to the request.

    Raises:
        BadReplyError: it is not.
    """
    try:
        said = ReplyHead.model_validate_json(head)
    except ValidationError as error:
        raise BadReplyError("a head that is none") from error
    if said.refused is not None or request.count:
        if samples or said.windows:
            raise BadReplyError("samples that were not asked for")
        return Reply(said, ())
    numbers = [[len(window.leads) * window.samples for window in each] for each in said.windows]
    if len(numbers) != len(request.contracts) or 4 * sum(map(sum, numbers)) != len(samples):
        raise BadReplyError("samples that do not fit to their head")
    values, start, windows = np.frombuffer(samples, "<f4").astype(np.float32), 0, []
    for contract, each in zip(request.contracts, said.windows, strict=True):
        if not 1 <= len(each) <= request.max_windows:
            raise BadReplyError(f"{len(each)} windows")
        taken = []
        for window in each:
            leads = tuple(window.leads)
            known = leads == tuple(lead for lead in contract.leads if lead in leads)
            if not known or window.samples > contract.samples:
                raise BadReplyError("a window that is not of its contract")
            size = len(leads) * window.samples
            signal_mv = values[start : start + size].reshape(len(leads), window.samples)
            start += size
            taken.append(Window(signal_mv, leads, window.start_s, tuple(window.changes), tuple(window.flags)))
        windows.append(taken)
    if not (math.isfinite(said.seconds) and said.sampling_rate_hz > 0):
        raise BadReplyError("a recording of no rate")
    return Reply(said, tuple(windows))
