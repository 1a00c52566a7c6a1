"""What is no file, or none of the format its name says: for every suffix that is read."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ecgjepa.data.readers import SUFFIXES
from tests.data.malformed_arrays import TOLD
from tests.data.malformed_kind import Ground, Kind, of, sparse, written

TERABYTE = 10**12
ALL = sorted(SUFFIXES)
_BAD = of("malformed unreadable not_an_ecg no_signals")


def placed(suffix: str, place: Callable[[Path], object]) -> Callable[[Path, Ground], Path]:
    def make(folder: Path, _: Ground) -> Path:
        place(folder / f"a{suffix}")
        return folder / f"a{suffix}"

    return make


def content(suffix: str, value: bytes) -> Callable[[Path, Ground], Path]:
    return lambda folder, _: written(folder / f"a{suffix}", value)


def cut(sample: str, part: float) -> Callable[[Path, Ground], Path]:
    """A sample cut, its other file beside it as it was."""

    def make(folder: Path, ground: Ground) -> Path:
        whole = ground.files[sample]
        return written(folder / sample, whole[: int(len(whole) * part)])

    return make


def of_terabyte(suffix: str) -> Callable[[Path, Ground], Path]:
    """The head of a true file, and a terabyte of nothing that takes no room."""
    sample = {".csv": "table.csv", ".edf": "edf.edf", ".dcm": "dicom.dcm", ".xml": "muse.xml", ".hea": "wfdb.hea"}
    sample |= {".h5": "hdf5.h5", ".npz": "npz.npz", ".tsv": "table.csv", ".csv.gz": "table.csv", ".npy": "npy.npy"}
    sample |= {".hdf5": "hdf5.h5"}
    return lambda folder, ground: sparse(folder / f"a{suffix}", ground.files[sample[suffix]][:5000], TERABYTE)


def named(name: bytes) -> Callable[[Path, Ground], Path]:
    """A file of an odd name that is damaged as well."""

    def make(folder: Path, _: Ground) -> Path:
        return written(Path(os.fsdecode(os.fsencode(folder) + b"/" + name)), b"damaged")

    return make


def two_cases(folder: Path, ground: Ground) -> Path:
    """Two records whose names differ by case; the header of one, the samples of the other."""
    header = ground.files["wfdb.hea"]
    written(folder / "A.dat", ground.files["wfdb.dat"])
    written(folder / "A.hea", header.replace(b"wfdb", b"A"))
    written(folder / "a.dat", bytes(len(ground.files["wfdb.dat"])))
    return written(folder / "a.hea", header.replace(b"wfdb", b"a"))


def kinds() -> list[Kind]:
    """All kinds that any format can be of."""
    noise = np.random.default_rng(3).bytes(5000)
    found = []
    for suffix in ALL:
        places: tuple[tuple[str, Callable[[Path], object], bool], ...] = (
            ("a folder of its name", Path.mkdir, False),
            ("a pipe", os.mkfifo, True),
            ("a link to /dev/zero", lambda path: path.symlink_to("/dev/zero"), True),
            ("a link to /dev/random", lambda path: path.symlink_to("/dev/random"), True),
            ("a link to itself", lambda path: path.symlink_to(path), True),
            ("a link to nothing", lambda path: path.symlink_to("gone"), True),
            ("a link to a folder", lambda path: path.symlink_to("."), False),
        )
        for what, place, is_listed in places:
            reasons = of("malformed file_absent unreadable")
            found.append(Kind(suffix, what, placed(suffix, place), reasons, TOLD, is_listed=is_listed))
        for what, value in (("empty", b""), ("zeros", bytes(5000)), ("noise", noise), ("line feeds", b"\n" * 5000)):
            found.append(Kind(suffix, what, content(suffix, value), _BAD, TOLD))
        found.append(Kind(suffix, "a terabyte of nothing", of_terabyte(suffix), _BAD, TOLD))
    samples = (
        "hdf5.h5",
        "npy.npy",
        "npz.npz",
        "edf.edf",
        "edf_plus.edf",
        "dicom.dcm",
        "muse.xml",
        "philips.xml",
        "philips_xli.xml",
    )
    for sample in samples:
        for what, part in (("cut at the end", 0.99), ("cut in half", 0.5), ("cut in its head", 0.02)):
            found.append(Kind(sample, what, cut(sample, part), _BAD, TOLD))
    for suffix in (".dat", ".mat"):
        reasons = of("file_absent")
        found.append(Kind(suffix, "without a header", content(suffix, bytes(6000)), reasons))
    names = (
        ("a line feed", b"a\nb.npy"),
        ("a return and an escape", b"a\r\x1b[31mb.csv"),
        ("bytes that are no text", b"\xff\xfe.h5"),
        ("a dash in front", b"-rf.xml"),
        ("nothing but its suffix", b".edf"),
        ("blanks", b"  .dcm"),
        ("a comma and quotes", b'a","b.csv'),
        ("255 bytes", b"a" * 251 + b".npz"),
        ("a row in brackets", b"a[0].npy"),
        ("a percent sign and braces", b"%s{0}.npz"),
        ("a tilde", b"~.csv"), ("a wildcard", b"*.h5"), ("signs of a formula", b"=1+1.csv"), ("a protocol", b"s3:.hea"),
    )  # fmt: skip
    found += [Kind("name", what, named(name), _BAD, TOLD) for what, name in names]
    found.append(Kind("name", "another only by case", two_cases, of("checksum")))
    return found
