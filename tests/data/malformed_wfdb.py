"""WFDB that is malformed: headers that lie, point elsewhere or round in circles, and signal files that do not fit."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.data.malformed_kind import Ground, Kind, of, replaced, sparse, written
from tests.data.wfdb_formats import PACK

TERABYTE = 10**12
RECORD = b"wfdb 12 250 250"
FIRST = b"wfdb.dat 16 1000.0(0)/mV 16 0 0 1844 0 I\n"
Make = Callable[[Path, Ground], Path]


def edited(old: bytes, new: bytes, count: int = 1) -> Make:
    """The record of format 16, its header changed."""

    def make(folder: Path, ground: Ground) -> Path:
        written(folder / "wfdb.dat", ground.files["wfdb.dat"])
        return written(folder / "wfdb.hea", replaced(ground.files["wfdb.hea"], old, new, count))

    return make


def whole(header: bytes) -> Make:
    """The record of format 16 with another header altogether."""

    def make(folder: Path, ground: Ground) -> Path:
        written(folder / "wfdb.dat", ground.files["wfdb.dat"])
        return written(folder / "wfdb.hea", header)

    return make


def data(change: Callable[[bytes], bytes], stem: str = "wfdb", suffix: str = ".dat") -> Make:
    """A record, its signal file changed."""

    def make(folder: Path, ground: Ground) -> Path:
        written(folder / f"{stem}{suffix}", change(ground.files[f"{stem}{suffix}"]))
        return written(folder / f"{stem}.hea", ground.files[f"{stem}.hea"])

    return make


def flip(place: int, bit: int = 3) -> Callable[[bytes], bytes]:
    """One bit of one byte turned over; places below 0 count from the end."""

    def change(content: bytes) -> bytes:
        turned = bytearray(content)
        turned[place] ^= 1 << bit
        return bytes(turned)

    return change


def segmented(master: str, **other: str) -> Make:
    """A record `m` of segments: `s1`, `s2`, which are whole, and what else is given, by stem."""

    def make(folder: Path, ground: Ground) -> Path:
        for stem in ("s1", "s2"):
            written(folder / f"{stem}.dat", ground.files["wfdb.dat"])
            written(folder / f"{stem}.hea", ground.files["wfdb.hea"].replace(b"wfdb", stem.encode()))
        for stem, text in other.items():
            written(folder / f"{stem}.hea", text)
        return written(folder / "m.hea", master.format(outside=ground.outside))

    return make


def odd_segment(place: Callable[[Path], object]) -> Make:
    """A record whose second segment's header is put in place by a function."""

    def make(folder: Path, ground: Ground) -> Path:
        path = segmented("m/2 12 250 500\ns1 250\nodd 250\n")(folder, ground)
        place(folder / "odd.hea")
        return path

    return make


def odd_data(place: Callable[[Path], object]) -> Make:
    """A record whose signal file is put in place by a function."""

    def make(folder: Path, ground: Ground) -> Path:
        place(folder / "wfdb.dat")
        return written(folder / "wfdb.hea", ground.files["wfdb.hea"])

    return make


def names_outside(absolute: bool) -> Make:
    def make(folder: Path, ground: Ground) -> Path:
        there = ground.outside if absolute else Path(os.path.relpath(ground.outside, folder))
        name = os.fsencode(there / "wfdb.dat")
        return written(folder / "wfdb.hea", replaced(ground.files["wfdb.hea"], b"wfdb.dat", name))

    return make


def terabyte(folder: Path, _: Ground) -> Path:
    sparse(folder / "a.dat", b"", TERABYTE)
    return written(folder / "a.hea", f"a 1 500 {TERABYTE // 2}\na.dat 16 1000(0)/mV 16 0 0 0 0 I\n")


def _gain(text: bytes) -> Make:
    return edited(b"1000.0(0)/mV", text)


_EDITS: tuple[tuple[str, Make, str], ...] = (
    ("one signal too few", edited(RECORD, b"wfdb 13 250 250"), "unreadable malformed"),
    ("one signal too many", edited(RECORD, b"wfdb 11 250 250"), "unreadable malformed"),
    ("no signals", whole(b"wfdb 0 250 250\n"), "no_signals"),
    ("a negative number of signals", edited(RECORD, b"wfdb -12 250 250"), "malformed unreadable"),
    ("10^9 signals", edited(RECORD, b"wfdb 1000000000 250 250"), "malformed unreadable"),
    ("one sample fewer than there is", edited(RECORD, b"wfdb 12 250 249"), "checksum unreadable"),
    ("one sample more than there is", edited(RECORD, b"wfdb 12 250 251"), "unreadable"),
    ("10^12 samples", edited(RECORD, b"wfdb 12 250 1000000000000"), "malformed unreadable"),
    ("a number of samples with 10^5 digits", edited(RECORD, b"wfdb 12 250 " + b"9" * 10**5), "malformed"),
    ("a negative number of samples", edited(RECORD, b"wfdb 12 250 -250"), "malformed"),
    ("no samples", edited(RECORD, b"wfdb 12 250 0"), "no_signals malformed unreadable"),
    ("rate 0", edited(RECORD, b"wfdb 12 0 250"), "malformed"),
    ("a negative rate", edited(RECORD, b"wfdb 12 -250 250"), "malformed"),
    ("rate 1e30", edited(RECORD, b"wfdb 12 1e30 250"), "malformed"),
    ("a rate of 31 digits", edited(RECORD, b"wfdb 12 1" + b"0" * 30 + b" 250"), "malformed"),
    ("rate NaN", edited(RECORD, b"wfdb 12 nan 250"), "malformed"),
    ("a rate in words", edited(RECORD, b"wfdb 12 fast 250"), "malformed"),
    ("a rate of 10^6 digits and a letter", edited(RECORD, b"wfdb 12 " + b"1" * 10**6 + b"x 250"), "malformed"),
    ("a record line of 10^6 digits", whole(b"1" * 10**6 + b"\n" + FIRST), "malformed"),
    ("a header of one word", whole(b"wfdb\n"), "malformed unreadable no_signals"),
    ("a header without a record line", edited(RECORD + b"\n", b""), "malformed unreadable"),
    ("a header of comments", whole(b"# nothing\n" * 9), "malformed"),
    ("a comment of 10^8 bytes", whole(b"#" * 10**8), "malformed"),
    ("a header in UTF-16", lambda f, g: whole(g.files["wfdb.hea"].decode().encode("utf-16"))(f, g), "malformed"),
    ("a header cut after the record line", whole(RECORD + b"\n"), "malformed unreadable"),
    ("a header cut in a signal line", whole(RECORD + b"\n" + FIRST * 11 + b"wfdb.dat 1"), "malformed unreadable"),
    ("a header that is cut in its numbers", whole(b"wfdb 12 25"), "malformed unreadable"),
    ("NUL in the name of the signal file", edited(b"wfdb.dat", b"wf\0db.dat", -1), "malformed file_absent unreadable"),
    ("a signal file of bytes that are no text", edited(b"wfdb.dat", b"\xff\xfe.dat", -1), "malformed file_absent"),
    ("gain NaN", _gain(b"nan(0)/mV"), "uncalibrated malformed"),
    ("gain infinite", _gain(b"inf(0)/mV"), "uncalibrated malformed"),
    ("gain 1e400", _gain(b"1e400(0)/mV"), "uncalibrated malformed"),
    ("gain 0", _gain(b"0(0)/mV"), "uncalibrated"),
    ("gain 0.000", _gain(b"0.000/mV"), "uncalibrated"),
    ("gain 1e-400", _gain(b"1e-400/mV"), "uncalibrated"),
    ("a negative gain", _gain(b"-1000(0)/mV"), "uncalibrated"),
    ("a gain in words", _gain(b"gain(0)/mV"), "uncalibrated malformed"),
    ("a gain with a comma", _gain(b"1000,5(0)/mV"), "uncalibrated malformed"),
    ("a gain of 10^6 digits", _gain(b"1" * 10**6 + b"(0)/mV"), "malformed"),
    ("a baseline beyond 32 bits", _gain(b"1000(99999999999)/mV"), "malformed"),
    ("a baseline of 400 digits", _gain(b"1000(" + b"9" * 400 + b")/mV"), "malformed"),
    ("a baseline in words", _gain(b"1000(zero)/mV"), "malformed"),
    ("a unit of pressure", _gain(b"1000(0)/mmHg"), "unknown_unit"),
    ("a unit with NUL", _gain(b"1000(0)/m\0V"), "unknown_unit malformed unreadable"),
    ("an unknown format", edited(b".dat 16 ", b".dat 17 ", -1), "malformed"),
    ("a format in words", edited(b".dat 16 ", b".dat int16 ", -1), "malformed unreadable"),
    ("a format of 10^4 digits", edited(b".dat 16 ", b".dat " + b"1" * 10**4 + b" ", -1), "malformed"),
    ("two formats in one file", edited(b".dat 16 ", b".dat 212 "), "malformed unreadable checksum"),
    ("no samples a frame", edited(b".dat 16 ", b".dat 16x0 ", -1), "malformed unreadable"),
    ("10^6 samples a frame", edited(b".dat 16 ", b".dat 16x1000000 ", -1), "malformed unreadable"),
    ("a skew of 10^8", edited(b".dat 16 ", b".dat 16:100000000 "), "malformed unreadable"),
    ("samples that begin behind the file", edited(b".dat 16 ", b".dat 16+999999999 ", -1), "unreadable malformed"),
    ("samples that begin a byte late", edited(b".dat 16 ", b".dat 16+1 ", -1), "unreadable malformed"),
    ("another checksum", edited(b" 1844 0 I", b" 1845 0 I"), "checksum"),
    ("another first sample", edited(b"16 0 0 1844", b"16 0 7 1844"), "checksum"),
    ("a checksum of 400 digits", edited(b" 1844 0 I", b" " + b"9" * 400 + b" 0 I"), "malformed checksum"),
    ("a lead that is there twice", edited(b"1844 0 I\n", b"1844 0 II\n"), "duplicate_lead"),
    ("a lead name of 10^6 characters", edited(b"0 I\n", b"0 " + b"I" * 10**6 + b"\n"), "malformed"),
    ("a signal file above the folder", names_outside(absolute=False), "malformed"),
    ("an absolute path as signal file", names_outside(absolute=True), "malformed"),
    ("a device as signal file", edited(b"wfdb.dat", b"/dev/zero", -1), "malformed"),
    ("an address as signal file", edited(b"wfdb.dat", b"http://127.0.0.1:9/a.dat", -1), "malformed"),
    ("a bucket as signal file", edited(b"wfdb.dat", b"s3://bucket/a.dat", -1), "malformed"),
    ("the folder itself as signal file", edited(b"wfdb.dat", b".", -1), "malformed"),
    ("the folder above as signal file", edited(b"wfdb.dat", b"..", -1), "malformed"),
    ("itself as signal file", whole(b"wfdb 1 250 20\nwfdb.hea 16 200/mV\n"), "malformed"),
    ("itself as signal file, with all fields",
     whole(b"wfdb 1 250 8\nwfdb.hea 16 200(0)/mV 16 0 26231 0 0 I\n"), "malformed"),
    ("no signal file", edited(b"wfdb.dat", b"~", -1), "malformed no_signals unreadable file_absent"),
    ("a signal file that is not there", edited(b"wfdb.dat", b"other.dat", -1), "file_absent"),
    ("a terabyte of nothing", terabyte, "malformed"),
    ("an empty signal file", data(lambda _: b""), "unreadable malformed"),
    ("a flipped bit in the first sample", data(flip(0)), "checksum"),
    ("a flipped bit in the middle", data(flip(3001)), "checksum"),
    ("a flipped bit in the last sample", data(flip(-1)), "checksum"),
    ("a signal file with a byte inserted",
     data(lambda content: content[:99] + b"\1" + content[99:]), "checksum unreadable"),
    ("a signal file with a byte taken out", data(lambda content: content[:99] + content[100:]), "unreadable"),
    ("a signal file whose bytes are swapped", data(lambda c: np.frombuffer(c, "<i2").byteswap().tobytes()), "checksum"),
    ("a signal file cut within a sample", data(lambda content: content[:2999]), "unreadable"),
    ("a signal file that is a folder", odd_data(Path.mkdir), "malformed"),
    ("a signal file that is a pipe", odd_data(os.mkfifo), "malformed"),
    ("a signal file that links to /dev/zero", odd_data(lambda p: p.symlink_to("/dev/zero")), "malformed"),
    ("a signal file that links to /dev/random", odd_data(lambda p: p.symlink_to("/dev/random")), "malformed"),
    ("a signal file that links to itself", odd_data(lambda p: p.symlink_to(p)), "malformed file_absent unreadable"),
    ("a signal file that links to nothing", odd_data(lambda p: p.symlink_to("gone")), "file_absent"),
)  # fmt: skip

_MATLAB: tuple[tuple[str, Make, str], ...] = (
    ("cut", data(lambda content: content[:-7], "wfdb_mat", ".mat"), "unreadable malformed"),
    ("cut within the matrix header", data(lambda content: content[:11], "wfdb_mat", ".mat"), "unreadable malformed"),
    ("empty", data(lambda _: b"", "wfdb_mat", ".mat"), "unreadable malformed"),
    ("a flipped bit", data(flip(2000), "wfdb_mat", ".mat"), "checksum"),
)

_SEGMENTS: tuple[tuple[str, Make, str], ...] = (
    ("segments that name each other", segmented("m/1 12 250 250\nn 250\n", n="n/1 12 250 250\nm 250\n"), "malformed"),
    ("a record that is its own segment", segmented("m/1 12 250 250\nm 250\n"), "malformed"),
    ("segments of segments", segmented("m/1 12 250 250\nn 250\n", n="n/1 12 250 250\ns1 250\n"), "malformed"),
    ("a segment above the folder", segmented("m/2 12 250 500\ns1 250\n../outside/wfdb 250\n"), "malformed"),
    ("a segment by its absolute path", segmented("m/2 12 250 500\ns1 250\n{outside}/wfdb 250\n"), "malformed"),
    ("a segment that is not there", segmented("m/2 12 250 500\ns1 250\ns9 250\n"), "file_absent"),
    ("fewer segments than said", segmented("m/3 12 250 500\ns1 250\ns2 250\n"), "malformed"),
    ("no segments", segmented("m/0 12 250 500\n"), "malformed unreadable no_signals"),
    ("10^9 segments", segmented("m/1000000000 12 250 500\ns1 250\ns2 250\n"), "malformed"),
    ("segments longer than they are", segmented("m/2 12 250 900\ns1 450\ns2 450\n"), "malformed unreadable"),
    ("segments of 10^12 samples", segmented("m/2 12 250 1000000000000\ns1 250\ns2 999999999750\n"), "malformed"),
    ("gaps of 10^12 samples", segmented("m/2 12 250 1000000000000\ns1 250\n~ 999999999750\n"), "malformed"),
    ("nothing but gaps", segmented("m/2 12 250 500\n~ 250\n~ 250\n"), "malformed unreadable no_signals"),
    ("segments without lengths", segmented("m/2 12 250 500\ns1\ns2\n"), "malformed unreadable"),
    ("segments with other leads", segmented("m/2 11 250 500\ns1 250\ns2 250\n"), "malformed unreadable"),
    ("a segment of another rate", segmented("m/2 12 500 500\ns1 250\ns2 250\n"), "malformed unreadable"),
    ("a segment header that is a pipe", odd_segment(os.mkfifo), "malformed"),
    ("a segment header that is a folder", odd_segment(Path.mkdir), "malformed file_absent"),
    ("a segment header that links to itself",
     odd_segment(lambda p: p.symlink_to(p)), "malformed file_absent unreadable"),
    ("a segment header that links to /dev/zero", odd_segment(lambda p: p.symlink_to("/dev/zero")), "malformed"),
    ("a segment header that is empty", odd_segment(lambda p: p.touch()), "malformed"),
)  # fmt: skip


def kinds() -> list[Kind]:
    """All kinds of WFDB."""
    found = [
        Kind("WFDB 16", what, make, of(reasons), by_contract=reasons == "duplicate_lead")
        for what, make, reasons in _EDITS
    ]
    found += [Kind("WFDB .mat", what, make, of(reasons)) for what, make, reasons in _MATLAB]
    found += [Kind("WFDB segments", what, make, of(reasons)) for what, make, reasons in _SEGMENTS]
    for fmt in PACK:
        for what, change, reasons in (
            ("cut", lambda content: content[: len(content) // 2 - 3], "unreadable malformed"),
            ("empty", lambda _: b"", "unreadable malformed"),
            ("a flipped bit", flip(201, 2), "checksum"),
        ):
            found.append(Kind(f"WFDB {fmt}", what, data(change, f"f{fmt}"), of(reasons)))
    return found
