"""What was found in any number of records, in memory that their number does not change.

Everything is a count or the first few names, so that parts of the records, joined in any order, give the same tally.
"""

import heapq
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ecgjepa.audit.findings import Findings
from ecgjepa.leads import LEADS_12

# Amplitudes are counted in bins of 1 %; what lies beyond is in the last one.
BIN_RATIO, SMALLEST_MV, BINS = 1.01, 1e-4, 1800
FIRST_NAMES = 5

# Source by its number, what is counted, and of what kind.
Key = tuple[int, str, str]


@dataclass
class Tally:
    """Counts by source.

    Attributes:
        counts: records with each `format`, `unit`, `rate`, `length`, `leads`, `refused` reason, and what is `noted`;
            `lead:II` counts what is noted of one lead, `amplitude:II` bins of amplitude; `records` counts all.
        first: refusal or note -> the first records by their numbers, with a name and a detail.
    """

    counts: Counter[Key] = field(default_factory=Counter)
    first: dict[str, list[tuple[int, str, str]]] = field(default_factory=dict)

    def add(self, number: int, name: str, source: int, found: Findings) -> None:
        """Count one record."""
        words = [("records", ""), ("format", found.kind), ("unit", found.unit)]
        if found.sampling_rate_hz is not None and found.seconds is not None and found.leads is not None:
            words += [("rate", f"{found.sampling_rate_hz:.4g}"), ("length", length_word(found.seconds))]
            words += [("leads", leads_word(found.leads)), ("read", "")]
        if found.reason is not None:
            words.append(("refused", found.reason))
            self._keep_first([(number, name, found.detail)], f"refused:{found.reason}")
        if found.has_einthoven:
            words.append(("comparable", "einthoven"))
        for what, leads in found.noted.items():
            words += [("noted", what), *((f"lead:{lead}", what) for lead in leads)]
            self._keep_first([(number, name, " ".join(leads))], f"noted:{what}")
        for lead, mv in found.amplitude_mv.items():
            words.append((f"amplitude:{lead}", str(amplitude_bin(mv))))
        self.counts.update((source, *word) for word in words)

    def add_duplicate(self, number: int, name: str, source: int) -> None:
        """Count a record that another is the same as."""
        self.counts[source, "noted", "duplicate"] += 1
        self._keep_first([(number, name, "")], "noted:duplicate")

    def join(self, other: "Tally") -> None:
        """Add what another has counted."""
        self.counts.update(other.counts)
        for what, records in other.first.items():
            self._keep_first(records, what)

    def of(self, what: str, source: int | None = None) -> Counter[str]:
        """Counts of one thing by its kinds, in one source or in all."""
        found: Counter[str] = Counter()
        for (number, name, kind), count in self.counts.items():
            if name == what and source in (None, number):
                found[kind] += count
        return found

    def _keep_first(self, records: Iterable[tuple[int, str, str]], what: str) -> None:
        self.first[what] = heapq.nsmallest(FIRST_NAMES, [*self.first.get(what, []), *records])


def length_word(seconds: float) -> str:
    """A length to four digits, at best to hundredths of a second: there are few of them."""
    return f"{round(seconds, 2):.4g}"


def leads_word(leads: tuple[str, ...]) -> str:
    """A set of leads in the standard order, the twelve as `12 standard`, others by their number."""
    there = [lead for lead in LEADS_12 if lead in leads]
    others = len(leads) - len(there)
    words = ["12 standard"] if len(there) == len(LEADS_12) else there
    return " ".join(words + [f"+{others} others"] * (others > 0)) or "none"


def amplitude_bin(mv: float) -> int:
    """The bin of an amplitude, 0 to `BINS` - 1."""
    place = math.log(max(mv, SMALLEST_MV) / SMALLEST_MV) / math.log(BIN_RATIO)
    return min(int(place), BINS - 1)


def quantiles_mv(bins: Counter[str], shares: Iterable[float]) -> list[float]:
    """Quantiles of amplitudes counted in bins, each the middle of its bin: right to half a percent; NaN of none."""
    count = np.zeros(BINS)
    for number, times in bins.items():
        count[int(number)] += times
    cumulative = count.cumsum()
    if not cumulative[-1]:
        return [math.nan for _ in shares]
    places = [int(np.searchsorted(cumulative, max(share * cumulative[-1], 1))) for share in shares]
    return [SMALLEST_MV * BIN_RATIO ** (place + 0.5) for place in places]
