"""Records whose standardised signals are the same to the microvolt, found by their hashes.

Axes: N records, D of them that another is the same as.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt64
from numpy import ndarray

FIRST_GROUPS, NAMES_OF_GROUP = 5, 6


@dataclass(frozen=True)
class Duplicates:
    """Groups of records with the same signal.

    Attributes:
        number_D: the records, ascending.
        group_D: the group of each, counted from 0 in the order of their first records.
    """

    number_D: Int64[ndarray, "d"]
    group_D: Int64[ndarray, "d"]

    @property
    def groups(self) -> int:
        return int(self.group_D.max(initial=-1)) + 1

    def first_groups(self) -> Iterator[tuple[list[int], int]]:
        """Of the first groups the first records, and how many the group has."""
        for group in range(min(self.groups, FIRST_GROUPS)):
            members = self.number_D[self.group_D == group]
            yield members[:NAMES_OF_GROUP].tolist(), len(members)


def find_duplicates(hash_N2: UInt64[ndarray, "n 2"]) -> Duplicates:
    """Records with equal hashes of 128 bits; a hash of zeros is that of no signal.

    Needs 16 bytes a record for the hashes and about 17 more while it sorts.
    """
    order = np.argsort(hash_N2[:, 0], kind="stable")
    there = order[hash_N2[order].any(axis=1)]
    is_near = hash_N2[there[1:], 0] == hash_N2[there[:-1], 0]
    near = np.flatnonzero(np.append(is_near, False) | np.append(False, is_near)) if len(there) else there
    suspects = there[near]  # half of the hash is the same: few, or duplicates
    order = np.lexsort((suspects, hash_N2[suspects, 1], hash_N2[suspects, 0]))
    suspects = suspects[order]
    is_same = (hash_N2[suspects[1:]] == hash_N2[suspects[:-1]]).all(axis=1)
    begins = np.append(True, ~is_same)[: len(suspects)]
    run = np.cumsum(begins) - 1
    several = (np.bincount(run, minlength=1) > 1)[run]
    number, run = suspects[several], run[several]
    _, first, place = np.unique(run, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(number[first])] = np.arange(len(first))
    group = rank[place.reshape(-1)]
    order = np.argsort(number)
    return Duplicates(number[order].astype(np.int64), group[order])
