"""What an encoder can take of a recording: windows with at least one whole patch, and which patches are there.

Axes: L leads, S samples, P patches.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32
from numpy import ndarray

from ecgjepa.errors import RefusedRecordError
from ecgjepa.signal import Recording, SignalContract
from ecgjepa.windows import Window, take_windows

# Of what is longer than the contract's seconds: the first window, all of them, or their mean weighted by tokens.
Windows = Literal["first", "all", "mean"]


def take_embeddable(
    recording: Recording, contract: SignalContract, patch_samples: int, windows: Windows
) -> list[Window]:
    """The windows of a recording, those without a single whole patch left out.

    Raises:
        RefusedRecordError: as `take_windows`, or `not_finite` where gaps leave no whole patch.
    """
    taken = take_windows(recording, contract, "first" if windows == "first" else "all")
    taken = [window for window in taken if present_patches(window.signal_mv, patch_samples).any()]
    if not taken:
        seconds = patch_samples / contract.sampling_rate_hz
        raise RefusedRecordError(recording.name, "not_finite", f"no whole patch of {seconds:g} s without a gap")
    return taken


def present_patches(signal_mv: Float32[ndarray, "leads samples"], patch_samples: int) -> Bool[ndarray, "leads patches"]:
    """Which whole patches of each lead have no missing sample; the rest of a patch at the end is left out."""
    patches = signal_mv.shape[1] // patch_samples
    whole_LPS = signal_mv[:, : patches * patch_samples].reshape(len(signal_mv), patches, patch_samples)
    return ~np.isnan(whole_LPS).any(axis=-1)
