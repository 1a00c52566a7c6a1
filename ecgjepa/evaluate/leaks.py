"""The guard against leaks: were records, or patients, of the evaluation seen in pretraining?"""

from typing import Any

import numpy as np

from ecgjepa.data.seen import Seen
from ecgjepa.data.store import Store
from ecgjepa.evaluate.divided_records import SPLITS, DividedRecords

SHOWN = 3


class LeakError(ValueError):
    """Test records, or their patients, were seen in pretraining; the message names them."""


def find_overlap(store: Store, targets: DividedRecords, seen: Seen | None, *, allow: bool) -> dict[str, Any]:
    """How many records of every split were seen in pretraining, by their signal or name, or by their patient.

    Args:
        targets: those that take part.
        seen: what the encoder was trained on; None if that is not known.
        allow: report an overlap of the test split, too, instead of refusing it.

    Returns:
        `known`; and if so `signals_compared`, `patients_compared`, and for each split `records` (of the evaluation),
        `seen` (the record itself) and `patient_seen` (it, or another record of the same patient).

    Raises:
        LeakError: a test record or its patient was seen and `allow` is False.
    """
    if seen is None:
        return {"known": False}
    found = seen.among(store, targets.rows_N)
    record_N = found["signal"] | found["record"]
    patient_N = record_N | found["patient"]
    test_N = targets.split_N == "test"
    if (leaked := np.flatnonzero(test_N & patient_N)).size and not allow:
        records = store.column("record")
        names = ", ".join(
            f"{records[int(targets.rows_N[k])].as_py()} ({'the record' if record_N[k] else 'its patient'})"
            for k in leaked[:SHOWN]
        )
        more = f" and {len(leaked) - SHOWN} more" if len(leaked) > SHOWN else ""
        raise LeakError(
            f"{len(leaked)} of {test_N.sum()} test records were seen in pretraining: {names}{more}. "
            "Pretrain without them, or --allow-overlap evaluates anyway and says so in the result"
        )
    overlap: dict[str, Any] = {
        "known": True,
        "signals_compared": seen.knows(store),
        "patients_compared": seen.names(store),
    }
    for split in SPLITS:
        of_N = targets.split_N == split
        overlap[split] = {
            "records": int(of_N.sum()),
            "seen": int((of_N & record_N).sum()),
            "patient_seen": int((of_N & patient_N).sum()),
        }
    return overlap


def overlap_warnings(overlap: dict[str, Any]) -> list[str]:
    """What a reader of the results must know of it."""
    if not overlap["known"]:
        return ["What the encoder was trained on is not known, so overlap with these records was not looked for."]
    warnings = []
    for split in ("validation", "test"):
        if count := overlap[split]["patient_seen"]:
            what = (
                f"{count} of {overlap[split]['records']} {split} records, or their patients, were seen in pretraining"
            )
            warnings.append(f"{what} ({overlap[split]['seen']} the records themselves).")
    if not overlap["signals_compared"]:
        warnings.append(
            "The encoder was trained on ECGs of another signal contract: overlap was looked for by names of records "
            "and patients within a data set only."
        )
    if not overlap["patients_compared"]:
        warnings.append(
            "The encoder was trained on other data sets than this one: patients have no names in common, so whether "
            "one is in both is not known."
        )
    return warnings
