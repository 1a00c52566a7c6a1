"""What an encoder makes of a stretch of a recording, as a shading of its picture and lines of its caption.

Axes: L leads, S samples, P patches.
"""

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from ecgjepa.errors import RefusedRecordError
from ecgjepa.evaluate.attention_map import Layer, attention_received
from ecgjepa.evaluate.head import Head
from ecgjepa.evaluate.occlusion import Score, embed_present, occlusion_map
from ecgjepa.evaluate.shading import Shading
from ecgjepa.model.encoder import Encoder
from ecgjepa.patches import present_patches
from ecgjepa.signal import Recording
from ecgjepa.windows import take_windows


def attention_shading(
    stretch: Recording, encoder: Encoder, layer: Layer | None = None
) -> tuple[Shading, tuple[str, ...]]:
    """Attention that each patch receives, as a multiple of what it would if all received the same; and what it is.

    Raises:
        ValueError: nothing of the stretch is of use to the encoder, or there is no such layer.
    """
    signal_mv_LS, leads, start_s = _seen(stretch, encoder)
    share_LP = attention_received(encoder, signal_mv_LS, leads, layer)
    depth = encoder.config.depth
    which = f"rolled out over all {depth} layers" if layer == "rollout" else f"in layer {layer or depth} of {depth}"
    label = "attention received (1: as much as if all received the same)"
    shading = Shading(share_LP * np.isfinite(share_LP).sum(), leads, _patch_s(encoder), label, start_s)
    return shading, (f"Shaded: attention that a patch receives from the others, {which}, mean over heads",)


def occlusion_shading(
    stretch: Recording,
    encoder: Encoder,
    head: Head,
    class_name: str,
    *,
    stretch_s: float = 0.4,
    all_leads: bool = False,
    score: Score = "probability",
    batch_size: int = 32,
    progress: bool = False,
) -> tuple[Shading, tuple[str, ...]]:
    """How far the score of a class falls without each part of the stretch, and what the score is with all of it.

    Probabilities are in percentage points.

    Raises:
        ValueError: as `occlusion_map`, or `stretch_s` is not a whole number of patches.
    """
    patch_s = _patch_s(encoder)
    patches = round(stretch_s / patch_s)
    if patches < 1 or abs(patches * patch_s - stretch_s) > 1e-6:
        raise ValueError(f"occlusion: stretches of {stretch_s:g} s, expected a multiple of the patch, {patch_s:g} s")
    signal_mv_LS, leads, start_s = _seen(stretch, encoder)
    fall_LP = occlusion_map(
        encoder, head, signal_mv_LS, leads, class_name,
        stretch_patches=patches, all_leads=all_leads, score=score, batch_size=batch_size, progress=progress,
    )  # fmt: skip
    present_BLP = present_patches(signal_mv_LS, encoder.config.patch_samples)[None]
    probabilities_1K = head.predict_proba(embed_present(encoder, signal_mv_LS, leads, present_BLP))
    column = head.index(class_name)
    facts = [f"{class_name}: probability {100 * probabilities_1K[0, column]:.1f} %"]
    if head.thresholds_K is not None:
        facts.append(f"threshold {100 * head.thresholds_K[column]:.1f} %")
    facts.append("called" if head.decide(probabilities_1K)[0, column] else "not called")
    scale, what = (100, "percentage points of probability") if score == "probability" else (1, "log-odds")
    label = f"{what} lost when hidden (+ speaks for the class, - against it)"
    shading = Shading(scale * fall_LP, leads, patch_s, label, start_s, diverging=True)
    where = "in all leads at once" if all_leads else "in one lead at a time"
    return shading, (" · ".join(facts), f"Shaded: what {class_name} loses when {stretch_s:g} s are hidden, {where}")


def _seen(stretch: Recording, encoder: Encoder) -> tuple[Float32[ndarray, "l s"], tuple[str, ...], float]:
    """Whole patches of the leads that the encoder knows, their names, and where they begin in the stretch."""
    window = take_windows(stretch, encoder.contract, "first")[0]
    patch_samples = encoder.config.patch_samples
    patches = window.signal_mv.shape[1] // patch_samples
    if not patches:
        raise RefusedRecordError(stretch.name, "short", f"less than a patch of {patch_samples} samples")
    return window.signal_mv[:, : patches * patch_samples], window.leads, window.start_s


def _patch_s(encoder: Encoder) -> float:
    return encoder.config.patch_samples / encoder.contract.sampling_rate_hz
