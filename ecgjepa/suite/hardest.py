"""The errors of which a model was surest, drawn as ECGs.

Axes: M test records, K classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from numpy import ndarray

from ecgjepa.data.store import Store
from ecgjepa.evaluate.paper import ecg_paper


class Error(NamedTuple):
    """A record for which a model was sure and wrong about a class.

    Attributes:
        place: among the records that were given.
        class_: column.
        missed: labelled and not seen; else seen and not labelled.
        probability: of the class.
    """

    place: int
    class_: int
    missed: bool
    probability: float


def hardest_errors(
    labels_MK: Bool[ndarray, "m k"], probabilities_MK: Float[ndarray, "m k"], each_kind: int = 2
) -> list[Error]:
    """Of missed and of false calls the surest, each of another record and, as far as there are, another class.

    Only those on the wrong side of one half are errors.
    """
    errors: list[Error] = []
    for missed in (True, False):
        wrong_MK = labels_MK & (probabilities_MK < 0.5) if missed else ~labels_MK & (probabilities_MK >= 0.5)
        surest_MK = np.where(wrong_MK, np.abs(probabilities_MK - 0.5), -1.0)
        order = np.argsort(-surest_MK, axis=None, kind="stable")[: int(wrong_MK.sum())]
        candidates = [(int(flat // labels_MK.shape[1]), int(flat % labels_MK.shape[1])) for flat in order]
        errors += _pick(candidates, probabilities_MK, missed, each_kind, {error.place for error in errors})
    return errors


def _pick(
    candidates: Sequence[tuple[int, int]], probabilities_MK: ndarray, missed: bool, number: int, used: set[int]
) -> list[Error]:
    found: list[Error] = []
    for new_class in (True, False):
        for place, class_ in candidates:
            taken = {error.place for error in found} | used
            known = {error.class_ for error in found}
            if len(found) < number and place not in taken and (class_ not in known or not new_class):
                found.append(Error(place, class_, missed, float(probabilities_MK[place, class_])))
    return found


def draw_error(
    store: Store, row: int, error: Error, classes: Sequence[str], labels_K: Bool[ndarray, "k"], model: str
) -> Figure:
    """The record on paper, with what it is labelled and what was said."""
    labelled = [name for name, there in zip(classes, labels_K, strict=True) if there]
    name = classes[error.class_]
    what = f"{name} missed" if error.missed else f"{name} called, not labelled"
    record = store.column("record")[row].as_py()
    caption = (
        f"{record}: {what}, probability {error.probability:.3f} by {model}",
        f"labels: {', '.join(labelled) or 'none'}",
    )
    signal_mv = store.signals_mv([row])[0]
    return ecg_paper(signal_mv, store.contract.leads, store.contract.sampling_rate_hz, caption=caption)
