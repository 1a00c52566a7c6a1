"""An audit as tables of words, the same for the terminal and for the page."""

import math
from collections import Counter
from dataclasses import dataclass

from ecgjepa.audit.findings import NOTED
from ecgjepa.audit.run import Audit
from ecgjepa.audit.tally import Tally, quantiles_mv
from ecgjepa.data.amplitude import AMPLITUDE_FACTOR
from ecgjepa.leads import LEADS_12

KINDS = 6
ABOUT = {"format": "format", "unit": "unit in the file", "rate": "rate, Hz", "length": "length, s", "leads": "leads"}
SHARES = (0.05, 0.5, 0.95)
LEAD_NOTES = tuple(what for what in NOTED if what not in ("einthoven", "amplitude_low", "amplitude_high", "duplicate"))


@dataclass(frozen=True)
class Table:
    """Rows of words under a head; the first column is a name, the others are numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Finding:
    """One reason or note: how many records, of which, the first names with details."""

    what: str
    meaning: str
    count: int
    of: int
    by_source: dict[str, int]
    first: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Range:
    """Amplitudes of one lead in one source in mV: 5 %, median, 95 %."""

    source: str
    lead: str
    low_mv: float
    median_mv: float
    high_mv: float


def share(count: int, of: int) -> str:
    """A share in percent, to two digits; never 0 for something."""
    if not of or not count:
        return "0 %"
    percent = 100 * count / of
    return f"{percent:.3g} %" if percent >= 99.5 else "<0.01 %" if percent < 0.01 else f"{percent:.2g} %"


def sources(audit: Audit) -> dict[str, dict[str, str]]:
    """What there is of each source, in words: `records`, `would be refused`, and what `ABOUT` names."""
    return {name: _about(audit, place) for place, name in enumerate(audit.inputs.sources)}


def all_sources(audit: Audit) -> dict[str, str]:
    """The same of all of them together."""
    return _about(audit, None)


def _about(audit: Audit, place: int | None) -> dict[str, str]:
    records, refused = audit.tally.of("records", place).total(), audit.tally.of("refused", place).total()
    about = {"records": f"{records:,}", "would be refused": f"{refused:,}"}
    return about | {word: _kinds(audit.tally.of(what, place)) for what, word in ABOUT.items()}


def _kinds(counts: Counter[str]) -> str:
    """`500 (390), 1000 (10)`: the most frequent first."""
    ranked = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    words = [f"{kind} ({count:,})" for kind, count in ranked[:KINDS]]
    if rest := ranked[KINDS:]:
        words.append(f"{len(rest)} other{'s' * (len(rest) > 1)} ({sum(count for _, count in rest):,})")
    return ", ".join(words) or "none could be read"


def refused(audit: Audit) -> list[Finding]:
    """What `prepare` would refuse, by reason, most frequent first."""
    counts = audit.tally.of("refused")
    ranked = sorted(counts, key=lambda reason: (-counts[reason], reason))
    return [_finding(audit, "refused", reason, "", audit.inputs.records, "records") for reason in ranked]


def noted(audit: Audit) -> list[Finding]:
    """What is odd, in the order of `NOTED`, also what was not found; a share is of the records that could be read."""
    findings = []
    for what, meaning in NOTED.items():
        base = "comparable" if what == "einthoven" else "read"
        findings.append(_finding(audit, "noted", what, meaning, audit.tally.of(base).total(), base))
    return findings


def _finding(audit: Audit, kind: str, what: str, meaning: str, of: int, base: str) -> Finding:
    names = audit.inputs.sources
    by_source = {name: audit.tally.of(kind, place)[what] for place, name in enumerate(names)}
    first = tuple((name, detail) for _, name, detail in audit.tally.first.get(f"{kind}:{what}", []))
    return Finding(what, meaning, sum(by_source.values()), of, by_source, first)


def by_lead(audit: Audit) -> Table:
    """Records in which each lead has something; only what was found in any."""
    found = {lead: audit.tally.of(f"lead:{lead}") for lead in LEADS_12}
    what = [name for name in LEAD_NOTES if any(counts[name] for counts in found.values())]
    rows = tuple((lead, *(f"{counts[name]:,}" for name in what)) for lead, counts in found.items())
    return Table(("lead", *what), rows if what else ())


def amplitudes(audit: Audit) -> list[Range]:
    """Of every lead and source that has any, in the order of the leads."""
    found = []
    for lead in LEADS_12:
        for place, source in enumerate(audit.inputs.sources):
            bins = audit.tally.of(f"amplitude:{lead}", place)
            if bins:
                found.append(Range(source, lead, *quantiles_mv(bins, SHARES)))
    return found


def all_amplitudes(audit: Audit) -> list[Range]:
    """Of every lead, all sources together."""
    bins = {lead: audit.tally.of(f"amplitude:{lead}") for lead in LEADS_12}
    return [Range("all", lead, *quantiles_mv(each, SHARES)) for lead, each in bins.items() if each]


def amplitude_table(ranges: list[Range], some: tuple[str, ...]) -> Table:
    """Median and 5 to 95 % of some sources."""
    word = {(each.lead, each.source): f"{each.median_mv:.3g} ({each.low_mv:.2g}-{each.high_mv:.2g})" for each in ranges}
    leads = [lead for lead in LEADS_12 if any((lead, source) in word for source in some)]
    return Table(("lead", *some), tuple((lead, *(word.get((lead, source), "-") for source in some)) for lead in leads))


def measured(tally: Tally, place: int) -> int:
    """Records of a source in which the lead that most records have has an amplitude."""
    return max(tally.of(f"amplitude:{lead}", place).total() for lead in LEADS_12)


def scale_warnings(audit: Audit, ranges: list[Range]) -> list[str]:
    """One line for each source whose scale is not that of the largest one, with the factor.

    The scale is the median over the common leads of the ratio of their median amplitudes.
    """
    records = {source: measured(audit.tally, place) for place, source in enumerate(audit.inputs.sources)}
    known = {source: count for source, count in records.items() if count}
    if len(known) < 2:
        return []
    reference = max(known, key=lambda source: (known[source], source))
    median_mv = {(each.source, each.lead): each.median_mv for each in ranges}
    lines = []
    for source in known:
        ratios = sorted(
            median_mv[source, lead] / median_mv[reference, lead]
            for lead in LEADS_12
            if (source, lead) in median_mv and (reference, lead) in median_mv
        )
        factor = ratios[len(ratios) // 2] if ratios else math.nan
        if max(factor, 1 / factor) > AMPLITUDE_FACTOR:
            way = "larger" if factor > 1 else "smaller"
            lines.append(
                f"{source} is {_times(max(factor, 1 / factor))} times {way} in amplitude than {reference} "
                f"({known[source]:,} and {known[reference]:,} records). Unless their patients differ so, one of them "
                "is not in the unit that it claims."
            )
    return lines


def head_line(audit: Audit, what: str, seed: int) -> str:
    """What was looked at."""
    inputs = audit.inputs
    if inputs.records < inputs.listed:
        return f"{what}: a random sample of {inputs.records:,} of {inputs.listed:,} records (seed {seed})"
    return f"{what}: {inputs.records:,} records"


def same_lines(audit: Audit) -> list[str]:
    """The first groups of records with the same signal."""
    lines = []
    for names, count in audit.same:
        more = f" and {count - len(names)} more" if count > len(names) else ""
        lines.append(" = ".join(names) + more)
    return lines


def _times(factor: float) -> str:
    return f"{factor:.2g}" if factor < 10 else f"{factor:,.0f}"
