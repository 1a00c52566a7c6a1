"""Tables and XML that are malformed: torn rows, other encodings, bombs, counts that do not fit the samples."""

import base64
import gzip
import re
import struct
from collections.abc import Callable
from pathlib import Path

from tests.data.malformed_kind import Ground, Kind, of, replaced, written

Make = Callable[[Path, Ground], Path]
Change = Callable[[bytes], bytes]


def table(change: Change, suffix: str = ".csv") -> Make:
    """The sample table, changed."""
    return lambda folder, ground: written(folder / f"a{suffix}", change(ground.files["table.csv"]))


def text(content: str | bytes, suffix: str = ".csv") -> Make:
    return lambda folder, _: written(folder / f"a{suffix}", content)


def swap(old: bytes, new: bytes, count: int = 1) -> Change:
    return lambda content: replaced(content, old, new, count)


def encoded(encoding: str) -> Change:
    return lambda content: content.decode("latin-1").encode(encoding)


def zipped_bomb(folder: Path, _: Ground) -> Path:
    with gzip.open(folder / "a.csv.gz", "wb") as file:
        file.write(b"time_ms,I [mV],II [mV]\n")
        for _k in range(70):
            file.write(bytes(2**23))
    return folder / "a.csv.gz"


def xml(sample: str, change: Change) -> Make:
    """A sample of XML, changed."""
    return lambda folder, ground: written(folder / "a.xml", change(ground.files[f"{sample}.xml"]))


def samples(sample: str, change: Change) -> Make:
    """A sample of XML, its last samples changed: the rhythm's of MUSE, all of Philips."""

    def edit(content: bytes) -> bytes:
        pattern = rb"<WaveFormData>([^<]*)<" if sample == "muse" else rb"<parsedwaveforms[^>]*>([^<]*)<"
        match = list(re.finditer(pattern, content))[-1]
        changed = base64.b64encode(change(base64.b64decode(match[1])))
        return content[: match.start(1)] + changed + content[match.end(1) :]

    return xml(sample, edit)


def of_other_file(head: str) -> Make:
    """XML that refers to a file outside."""

    def make(folder: Path, ground: Ground) -> Path:
        return written(folder / "a.xml", head.format(ground.outside / "muse.xml") + "<RestingECG>&a;</RestingECG>")

    return make


def entities() -> str:
    names = "abcdefgh"
    rows = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip(names, "bcdefghi", strict=True))
    return f'<!DOCTYPE x [<!ENTITY a "lol">{rows}]><RestingECG>&i;</RestingECG>'


def chunk(size: int, place: int = 0) -> Change:
    """Another size of an XLI chunk."""
    return lambda content: content[:place] + struct.pack("<i", size) + content[place + 4 :]


_TABLES: tuple[tuple[str, Make, str], ...] = (
    ("no rows", table(lambda c: c.split(b"\n")[0] + b"\n"), "no_signals"),
    ("no names", table(lambda c: c.split(b"\n", 1)[1]), "not_an_ecg"),
    ("no leads", text("a,b,c\n1,2,3\n"), "not_an_ecg"),
    ("a row cut short", table(lambda c: c[:5000] + b"\n" + c[5400:]), "malformed"),
    ("a row too long", table(lambda c: c + b"1000.0" + b",1" * 40 + b"\n"), "malformed"),
    ("the last row cut", table(lambda c: c[:-30]), "malformed"),
    ("words in place of numbers", table(swap(b"0.478", b"high")), "malformed"),
    ("decimal commas", table(lambda c: c.replace(b",", b";").replace(b".", b",")), "malformed"),
    ("UTF-16", table(encoded("utf-16")), "not_an_ecg malformed"),
    ("UTF-32", table(encoded("utf-32")), "not_an_ecg malformed"),
    ("NUL bytes in the names", table(swap(b"I [mV]", b"I\0 [mV]", -1)), "not_an_ecg malformed"),
    ("NUL bytes in the numbers", table(swap(b"0.478", b"0\0.478")), "malformed"),
    ("NUL bytes in place of a row", table(lambda c: c + bytes(100)), "malformed"),
    ("bytes that are no text", table(swap(b"0.478", b"\xff\xfe")), "malformed"),
    ("a quote that is never closed", table(swap(b"0.478", b'"0.478')), "malformed"),
    ("a time that goes back", table(swap(b"\n8.0,", b"\n2.0,")), "malformed"),
    ("a time that stands still", table(lambda c: re.sub(rb"\n[0-9.]+,", b"\n4.0,", c)), "malformed"),
    ("a time with a jump", table(swap(b"\n996.0,", b"\n1996.0,")), "malformed"),
    ("a time of NaN", table(swap(b"\n8.0,", b"\nnan,")), "malformed"),
    ("an infinite time", table(swap(b"\n996.0,", b"\n1e999,")), "malformed"),
    ("a time of nanoseconds", table(lambda c: c.replace(b"time_ms", b"time_us")), "malformed"),
    ("rate 0", table(lambda c: b"# fs: 0\n" + c.replace(b"time_ms", b"n")), "malformed"),
    ("a negative rate", table(lambda c: b"# fs: -250\n" + c.replace(b"time_ms", b"n")), "malformed"),
    ("rate NaN", table(lambda c: b"# fs: nan\n" + c.replace(b"time_ms", b"n")), "malformed"),
    ("rate 1e30", table(lambda c: b"# fs: 1e30\n" + c.replace(b"time_ms", b"n")), "malformed"),
    ("two rates", table(lambda c: b"# fs: 500\n" + c), "malformed contradiction"),
    ("no rate", table(lambda c: c.replace(b"time_ms", b"n")), "unknown_sampling_rate"),
    ("no unit", table(lambda c: c.replace(b" [mV]", b"")), "unknown_unit"),
    ("a unit of pressure", table(swap(b"I [mV]", b"I [mmHg]", -1)), "unknown_unit"),
    ("a lead that is there twice", table(swap(b",II [mV]", b",I [mV]")), "duplicate_lead"),
    ("a name of 10^6 characters", text("I" * 10**6 + "\n1\n"), "not_an_ecg malformed"),
    ("a name of 10^6 spaces", text("I" + " " * 10**6 + "x,y\n1,2\n"), "not_an_ecg"),
    ("a name of 10^6 brackets", text("[" * 10**6 + ",y\n1,2\n"), "not_an_ecg"),
    ("10^7 columns", text("I" + "," * 10**7 + "\n1\n"), "malformed"),
    ("one line of 10^7 commas", text("I [mV],II [mV]\n" + "," * 10**7), "malformed"),
    ("comments without end", text("#\n" * 10**6), "not_an_ecg malformed"),
    ("nothing but a byte order mark", text(b"\xef\xbb\xbf"), "not_an_ecg malformed no_signals"),
    ("numbers of 10^6 digits", table(swap(b"0.478", b"1" * 10**6)), "not_finite malformed"),
    ("a page of HTML", text("<html><body>404, not found</body></html>"), "not_an_ecg"),
    ("an SQLite file", text(b"SQLite format 3\0" + bytes(4000)), "not_an_ecg malformed"),
)  # fmt: skip

_GZIP: tuple[tuple[str, Make, str], ...] = (
    ("no gzip file", table(lambda c: c, ".csv.gz"), "unreadable"),
    ("cut", table(lambda c: gzip.compress(c)[:-100], ".csv.gz"), "unreadable"),
    ("cut in its last checksum", table(lambda c: gzip.compress(c)[:-3], ".csv.gz"), "unreadable"),
    ("a checksum that does not fit",
     table(lambda c: gzip.compress(c)[:-8] + bytes(8), ".csv.gz"), "unreadable checksum"),
    ("flipped bits",
     table(lambda c: gzip.compress(c)[:999] + b"\x55\xaa" + gzip.compress(c)[1001:], ".csv.gz"),
     "unreadable malformed"),
    ("a bomb", zipped_bomb, "malformed"),
    ("packed twice", table(lambda c: gzip.compress(gzip.compress(c)), ".csv.gz"), "not_an_ecg malformed"),
)  # fmt: skip

_MUSE: tuple[tuple[str, Make, str], ...] = (
    ("entities that grow", text(entities(), ".xml"), "malformed"),
    ("an entity of a file", of_other_file('<!DOCTYPE x [<!ENTITY a SYSTEM "{}">]>'), "malformed"),
    ("a type description in a file",
     of_other_file('<!DOCTYPE x SYSTEM "{0}" [<!ENTITY % a SYSTEM "{0}"> %a;]>'), "malformed"),
    ("10^5 elements in each other",
     text("<RestingECG>" * 10**5 + "</RestingECG>" * 10**5, ".xml"), "malformed no_signals"),
    ("10^5 elements that do not end", text("<RestingECG>" * 10**5, ".xml"), "malformed"),
    ("4 x 10^6 elements", text("<RestingECG>" + "<a/>" * (4 * 10**6) + "</RestingECG>", ".xml"), "malformed"),
    ("10^6 attributes", text("<RestingECG " + " ".join(f'a{k}=""' for k in range(10**6)) + "/>", ".xml"), "malformed"),
    ("seventeen megabytes of blanks", text("<RestingECG>" + " " * (17 * 2**20) + "</RestingECG>", ".xml"), "malformed"),
    ("a tag of 10^7 characters", text("<" + "a" * 10**7 + "/>", ".xml"), "not_an_ecg"),
    ("an encoding that is none", xml("muse", swap(b"ISO-8859-1", b"none")), "malformed unreadable"),
    ("UTF-16 that says it is Latin-1", xml("muse", encoded("utf-16")), "malformed"),
    ("NUL bytes", xml("muse", swap(b"<LeadID>I<", b"<LeadID>\0<")), "malformed"),
    ("bytes that are no text",
     xml("muse", lambda c: swap(b"<LeadID>I<", b"<LeadID>\xff<")(c).replace(b"ISO-8859-1", b"UTF-8")), "malformed"),
    ("two roots", xml("muse", lambda c: c + b"<RestingECG/>"), "malformed"),
    ("another vendor's root", text('<AnnotatedECG xmlns="urn:hl7-org:v3"/>', ".xml"), "not_an_ecg"),
    ("a page of HTML", text("<html></html>", ".xml"), "not_an_ecg"),
    ("no rhythm", xml("muse", swap(b"Rhythm", b"Median", -1)), "no_signals"),
    ("no waveform", text("<RestingECG/>", ".xml"), "no_signals"),
    ("a flipped bit in the samples", samples("muse", lambda c: bytes([c[0] ^ 8]) + c[1:]), "checksum"),
    ("a sample too few", samples("muse", lambda c: c[:-2]), "malformed"),
    ("half a sample", samples("muse", lambda c: c + b"\0"), "malformed"),
    ("no base64", xml("muse", swap(b"<WaveFormData>\nAA", b"<WaveFormData>\n?!", -1)), "malformed"),
    ("no bytes",
     xml("muse", lambda c: re.sub(rb"<WaveFormData>[^<]*<", b"<WaveFormData><", c)), "malformed no_signals"),
    ("more samples than there are", xml("muse", swap(b"Total>250<", b"Total>99999999999<", -1)), "malformed"),
    ("a count in words", xml("muse", swap(b"Total>250<", b"Total>many<", -1)), "malformed"),
    ("samples of 4 bytes", xml("muse", swap(b"LeadSampleSize>2<", b"LeadSampleSize>4<", -1)), "malformed"),
    ("rate 0", xml("muse", swap(b"<SampleBase>250<", b"<SampleBase>0<", -1)), "malformed"),
    ("a negative rate", xml("muse", swap(b"<SampleBase>250<", b"<SampleBase>-250<", -1)), "malformed"),
    ("rate NaN", xml("muse", swap(b"<SampleBase>250<", b"<SampleBase>nan<", -1)), "malformed"),
    ("a rate to the power of 999", xml("muse", swap(b"<SampleExponent>0<", b"<SampleExponent>999<", -1)), "malformed"),
    ("no rate", xml("muse", lambda c: re.sub(rb"<SampleBase>[^<]*</SampleBase>", b"", c)), "unknown_sampling_rate"),
    ("gain 0", xml("muse", swap(b"PerBit>1<", b"PerBit>0<", -1)), "uncalibrated"),
    ("a negative gain", xml("muse", swap(b"PerBit>1<", b"PerBit>-1<", -1)), "uncalibrated"),
    ("gain NaN", xml("muse", swap(b"PerBit>1<", b"PerBit>nan<", -1)), "malformed uncalibrated"),
    ("gain infinite", xml("muse", swap(b"PerBit>1<", b"PerBit>inf<", -1)), "malformed uncalibrated"),
    ("no gain",
     xml("muse", lambda c: re.sub(rb"<LeadAmplitudeUnitsPerBit>[^<]*</LeadAmplitudeUnitsPerBit>", b"", c)),
     "uncalibrated"),
    ("a unit of pressure", xml("muse", swap(b"MICROVOLTS", b"MMHG", -1)), "unknown_unit"),
    ("a lead that is there twice", xml("muse", swap(b"<LeadID>II<", b"<LeadID>I<", -1)), "duplicate_lead"),
    ("a lead name of 10^6 blanks",
     xml("muse", swap(b"<LeadID>II<", b"<LeadID>I" + b" " * 10**6 + b"x<", -1)), "malformed"),
    ("a lead name of 10^6 characters",
     xml("muse", swap(b"<LeadID>II<", b"<LeadID>" + b"I" * 10**6 + b"<", -1)), "malformed"),
)  # fmt: skip


def _philips() -> list[tuple[str, Make, str]]:
    def both(old: bytes, new: bytes) -> Make:
        return xml("philips", swap(old, new, -1))

    return [
        ("an unknown version", both(b"1.04", b"9.99"), "malformed"),
        ("no version", both(b"<documentversion>1.04</documentversion>", b""), "malformed"),
        ("no samples", both(b"parsedwaveforms", b"otherwaveforms"), "no_signals"),
        ("no lead names",
         xml("philips", lambda c: c.replace(b"STD-12", b"?").replace(b"leadlabels", b"x")), "unknown_leads"),
        ("more leads than names", both(b'numberofleads="12"', b'numberofleads="1000000000"'), "malformed"),
        ("fewer leads than names", both(b'numberofleads="12"', b'numberofleads="11"'), "malformed"),
        ("a negative number of leads", both(b'numberofleads="12"', b'numberofleads="-1"'), "malformed"),
        ("half a lead", both(b'numberofleads="12"', b'numberofleads="11.5"'), "malformed"),
        ("duration 0", both(b'durationperchannel="1000"', b'durationperchannel="0"'), "malformed"),
        ("a negative duration", both(b'durationperchannel="1000"', b'durationperchannel="-1000"'), "malformed"),
        ("a duration of 10^12 ms", both(b'durationperchannel="1000"', b'durationperchannel="1e12"'), "malformed"),
        ("a duration of 1e308 ms", both(b'durationperchannel="1000"', b'durationperchannel="1e308"'), "malformed"),
        ("duration NaN", both(b'durationperchannel="1000"', b'durationperchannel="nan"'), "malformed"),
        ("a longer duration", both(b'durationperchannel="1000"', b'durationperchannel="2000"'), "malformed"),
        ("rate 0", both(b'samplespersecond="250"', b'samplespersecond="0"'), "malformed"),
        ("rate 1e30", both(b'samplespersecond="250"', b'samplespersecond="1e30"'), "malformed"),
        ("resolution 0", both(b'resolution="1"', b'resolution="0"'), "uncalibrated"),
        ("a negative resolution", both(b'resolution="1"', b'resolution="-5"'), "uncalibrated"),
        ("resolution NaN", both(b'resolution="1"', b'resolution="nan"'), "malformed"),
        ("12 bits", both(b'bitspersample="16"', b'bitspersample="12"'), "malformed"),
        ("an offset of 1e308", both(b'signaloffset="0"', b'signaloffset="1e308"'), "not_finite"),
        ("an unknown compression",
         both(b'dataencoding="Base64" ', b'dataencoding="Base64" compression="ZIP" '), "malformed"),
        ("an unknown encoding", both(b'dataencoding="Base64"', b'dataencoding="Hex"'), "malformed"),
        ("a sample too few", samples("philips", lambda c: c[:-2]), "malformed"),
        ("half a sample", samples("philips", lambda c: c[:-1]), "malformed"),
        ("a lead that is there twice", both(b'leadlabels="I II', b'leadlabels="I I'), "duplicate_lead"),
    ]  # fmt: skip


def _xli() -> list[tuple[str, Make, str]]:
    name = "philips_xli"
    return [
        ("cut", samples(name, lambda c: c[: len(c) // 2]), "malformed"),
        ("cut in a chunk's header", samples(name, lambda c: c[:5]), "malformed"),
        ("no bytes", samples(name, lambda c: b""), "malformed"),
        ("a chunk of 2 GB", samples(name, chunk(2**31 - 1)), "malformed"),
        ("a chunk of no bytes", samples(name, chunk(0)), "malformed"),
        ("a chunk of negative size", samples(name, chunk(-8)), "malformed"),
        ("codes that are not learned", samples(name, lambda c: c[:8] + b"\xee" * 40 + c[48:]), "malformed"),
        ("zeros in place of codes", samples(name, lambda c: c[:8] + bytes(len(c) - 8)), "malformed"),
        ("a bomb", xml(name, swap(b'durationperchannel="1000"', b'durationperchannel="100000000"')), "malformed"),
        ("another duration", xml(name, swap(b'durationperchannel="1000"', b'durationperchannel="900"')), "malformed"),
        ("limb leads without the others",
         xml(name, swap(b'leadlabels="I II III', b'leadlabels="V1 V2 V3')), "malformed"),
        ("a first difference that leaves 16 bits", samples(name, lambda c: c[:6] + b"\xff\x7f" + c[8:]), "malformed"),
    ]  # fmt: skip


def kinds() -> list[Kind]:
    """All kinds of texts."""
    late = {"duplicate_lead", "missing_lead", "not_finite"}
    tables = (("CSV", _TABLES), ("CSV.GZ", _GZIP), ("MUSE", _MUSE), ("Philips", _philips()), ("XLI", _xli()))
    return [
        Kind(name, what, make, of(reasons), by_contract=bool(late & set(reasons.split())))
        for name, found in tables
        for what, make, reasons in found
    ]
