"""An audit for the terminal, in at most 100 columns."""

import textwrap
from collections.abc import Iterator

from ecgjepa.audit import summary
from ecgjepa.audit.run import Audit
from ecgjepa.audit.summary import Finding, Range, Table

WIDTH = 98
SOURCES_BESIDE = 4
# Of more, the terminal shows what they have in common; the page shows all.
SOURCES_IN_FULL = 8


def as_text(audit: Audit, what: str, seed: int, already_refused: dict[str, int] | None = None) -> str:
    """The whole audit; of a name, signs that a terminal would obey are shown as `?`.

    Args:
        what: that was looked at.
        already_refused: of a store, what was refused when it was prepared.
    """
    lines = _lines(audit, what, seed, already_refused or {})
    return "\n".join("".join(sign if sign.isprintable() else "?" for sign in line) for line in lines)


def _lines(audit: Audit, what: str, seed: int, already_refused: dict[str, int]) -> Iterator[str]:
    yield summary.head_line(audit, what, seed)
    ranges = summary.amplitudes(audit)
    for line in summary.scale_warnings(audit, ranges):
        yield from _wrapped(f"warning: {line}", "", "         ")
    yield from _sources(audit)
    yield from _amplitudes(audit, ranges)
    yield from ("", "noted, of the records that could be read")
    found = summary.noted(audit)
    for finding in found:
        if finding.count:
            yield from _finding(finding)
    yield from _wrapped(", ".join(each.what for each in found if not each.count), "  not found: ", " " * 13)
    for line in summary.same_lines(audit):
        yield from _wrapped(line, "  same signal: ", " " * 15)
    if (leads := summary.by_lead(audit)).rows:
        yield from ("", "records with it, by lead", *_table(leads))
    yield ""
    yield from _refused(audit, already_refused)


def _sources(audit: Audit) -> Iterator[str]:
    found = summary.sources(audit)
    several = len(found) > SOURCES_IN_FULL
    for name, about in ({"all sources": summary.all_sources(audit)} if several else found).items():
        yield from ("", name)
        for word, value in about.items():
            yield from _wrapped(value, f"  {word:<18}", " " * 20)
    if several:
        heads = ("records", "would be refused")
        rows = tuple((name, *(about[head] for head in heads)) for name, about in found.items())
        yield from ("", *_table(Table(("source", *heads), rows)))


def _amplitudes(audit: Audit, ranges: list[Range]) -> Iterator[str]:
    names = audit.inputs.sources
    if len(names) > SOURCES_IN_FULL:
        ranges, names = summary.all_amplitudes(audit), ("all",)
    if ranges:
        seconds = audit.inputs.contract.seconds
        yield from ("", f"peak-to-peak amplitude, mV, 0.67-40 Hz, first {seconds:g} s: median (5-95 %)")
    for first in range(0, len(names), SOURCES_BESIDE):
        table = summary.amplitude_table(ranges, names[first : first + SOURCES_BESIDE])
        if table.rows:
            yield from _table(table)


def _refused(audit: Audit, already_refused: dict[str, int]) -> Iterator[str]:
    if audit.inputs.store is not None:
        before = ", ".join(f"{reason} {count:,}" for reason, count in already_refused.items())
        yield from _wrapped(before or "nothing", "refused when the store was prepared: ", " " * 4)
        return
    found = summary.refused(audit)
    yield "`prepare` would refuse" + ("" if found else " none of them")
    for finding in found:
        yield from _finding(finding)


def _finding(finding: Finding) -> Iterator[str]:
    yield f"  {finding.what:<22}{finding.count:>11,}{summary.share(finding.count, finding.of):>10}"
    several = {source: count for source, count in finding.by_source.items() if count}
    if len(finding.by_source) > 1:
        yield from _wrapped(", ".join(f"{source} {count:,}" for source, count in several.items()), "    in ", " " * 7)
    if finding.meaning:
        yield from _wrapped(finding.meaning, "    ", "    ")
    for name, detail in finding.first:
        yield textwrap.shorten(f"{name}: {detail}" if detail else name, WIDTH - 6, placeholder=" ...").join(
            ("      ", "")
        )


def _table(table: Table) -> Iterator[str]:
    columns = list(zip(table.head, *table.rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    for row in (table.head, *table.rows):
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  " + "  ".join([f"{row[0]:<{widths[0]}}", *cells])


def _wrapped(text: str, first: str, later: str) -> list[str]:
    if not text:
        return []
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)
