"""Counting in parts gives what counting at once gives; quantiles of bins; equal hashes."""

import numpy as np
import pytest

from ecgjepa.audit.duplicates import find_duplicates
from ecgjepa.audit.findings import Findings
from ecgjepa.audit.tally import BINS, FIRST_NAMES, Tally, amplitude_bin, leads_word, length_word, quantiles_mv
from ecgjepa.leads import LEADS_8, LEADS_12


def found(k: int) -> Findings:
    if k % 7 == 3:
        return Findings(".hea", reason="short", detail=f"{k} s")
    noted = {"flat": ("II", "V1")} if k % 3 == 0 else {}
    return Findings(".hea", "mV", None, "", 500.0, 10.0, LEADS_12, noted, {"II": 0.1 + k})


def test_parts_in_any_order_give_the_same() -> None:
    whole, parts = Tally(), [Tally() for _ in range(4)]
    for k in range(100):
        whole.add(k, f"r{k}", k % 2, found(k))
        parts[k % 4].add(k, f"r{k}", k % 2, found(k))
    joined = Tally()
    for part in reversed(parts):
        joined.join(part)
    assert joined == whole
    assert [name for _, name, _ in joined.first["refused:short"]] == ["r3", "r10", "r17", "r24", "r31"]
    assert len(joined.first["noted:flat"]) == FIRST_NAMES
    assert joined.of("refused")["short"] == 14
    assert (
        joined.of("noted")["flat"] == joined.of("lead:V1")["flat"] == sum(k % 3 == 0 and k % 7 != 3 for k in range(100))
    )
    assert joined.of("rate", 0) + joined.of("rate", 1) == joined.of("rate") == {"500": 86}


def test_quantiles_are_right_to_a_percent() -> None:
    values_mv = np.random.default_rng(0).lognormal(0, 0.7, 20_000)
    tally = Tally()
    for k, mv in enumerate(values_mv.tolist()):
        tally.add(k, "", 0, Findings("store", amplitude_mv={"II": mv}))
    expected = np.quantile(values_mv, [0.05, 0.5, 0.95])
    np.testing.assert_allclose(quantiles_mv(tally.of("amplitude:II"), [0.05, 0.5, 0.95]), expected, rtol=0.01)
    assert np.isnan(quantiles_mv(tally.of("amplitude:I"), [0.5])[0])


def test_bins_hold_any_amplitude() -> None:
    assert [amplitude_bin(mv) for mv in (0.0, 1e-9, 1e300)] == [0, 0, BINS - 1]


@pytest.mark.parametrize(
    ("leads", "word"),
    [
        (LEADS_12, "12 standard"),
        (tuple(reversed(LEADS_12)), "12 standard"),
        (LEADS_8, "I II V1 V2 V3 V4 V5 V6"),
        (("II", "other", "other"), "II +2 others"),
        ((), "none"),
    ],
)
def test_sets_of_leads_are_few_words(leads: tuple[str, ...], word: str) -> None:
    assert leads_word(leads) == word


def test_lengths_are_few_words() -> None:
    assert [length_word(s) for s in (10.0, 10.239999, 0.004, 86399.998)] == ["10", "10.24", "0", "8.64e+04"]


def test_equal_hashes_are_found_in_groups() -> None:
    hash_N2 = np.random.default_rng(0).integers(1, 2**63, (50, 2)).astype(np.uint64)
    hash_N2[[40, 7, 20]] = hash_N2[20]
    hash_N2[[3, 49]] = hash_N2[3]
    hash_N2[[5, 6], 0] = 9  # half the same is not the same
    hash_N2[[11, 12, 13]] = 0  # no signal
    same = find_duplicates(hash_N2)
    assert same.number_D.tolist() == [3, 7, 20, 40, 49]
    assert same.group_D.tolist() == [0, 1, 1, 1, 0]
    assert list(same.first_groups()) == [([3, 49], 2), ([7, 20, 40], 3)]


@pytest.mark.parametrize("records", [0, 1, 2])
def test_none_the_same(records: int) -> None:
    same = find_duplicates(np.arange(1, 2 * records + 1, dtype=np.uint64).reshape(records, 2))
    assert (same.groups, same.number_D.tolist(), list(same.first_groups())) == (0, [], [])
