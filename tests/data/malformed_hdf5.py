"""HDF5 files that are malformed: objects in place of numbers, attributes that are no words, data in other files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ecgjepa.leads import LEADS_12
from tests.data.malformed_arrays import SIGNAL_MV, TOLD
from tests.data.malformed_kind import Ground, Kind, of, written

Make = Callable[[Path, Ground], Path]


def hdf5(fill: Callable[[h5py.File], object]) -> Make:
    def make(folder: Path, _: Ground) -> Path:
        with h5py.File(folder / "a.h5", "w") as file:
            fill(file)
        return folder / "a.h5"

    return make


def said(**attributes: Any) -> Make:
    """A good data set with some attributes changed."""

    def fill(file: h5py.File) -> None:
        file["ecg"] = SIGNAL_MV
        for name, value in {"fs": 250.0, "leads": list(LEADS_12), "unit": "mV", **attributes}.items():
            file["ecg"].attrs[name] = value

    return hdf5(fill)


def data_set(name: str = "ecg", **options: Any) -> Make:
    return hdf5(lambda file: file.create_dataset(name, **options))


def linked(make_link: Callable[[Path], Any], key: str = "ecg") -> Make:
    """A data set that is a link; the function is given the folder outside."""

    def make(folder: Path, ground: Ground) -> Path:
        with h5py.File(folder / "a.h5", "w") as file:
            file[key] = make_link(ground.outside)
        return folder / "a.h5"

    return make


def virtual(unlimited: bool) -> Make:
    def make(folder: Path, ground: Ground) -> Path:
        most, end = ((12, None), h5py.h5s.UNLIMITED) if unlimited else (None, 250)
        layout = h5py.VirtualLayout((12, 250), "f8", maxshape=most)
        source = h5py.VirtualSource(str(ground.outside / "hdf5.h5"), "ecg", (12, 250), maxshape=most)
        layout[:, 0:end] = source[:, 0:end]
        with h5py.File(folder / "a.h5", "w", libver="latest") as file:
            file.create_virtual_dataset("ecg", layout)
        return folder / "a.h5"

    return make


def external(folder: Path, ground: Ground) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("ecg", (12, 250), "f8", external=[(str(ground.outside / "wfdb.dat"), 0, 24000)])
    return folder / "a.h5"


def code15_link(folder: Path, ground: Ground) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("tracings", (1, 4096, 12), "f4")
        file["exam_id"] = h5py.ExternalLink(str(ground.outside / "hdf5.h5"), "ecg")
    return folder / "a.h5"


def heap_loop(folder: Path, ground: Ground) -> Path:
    content = bytearray(ground.files["hdf5.h5"])
    place = content.index(b"GCOL") + 24
    content[place : place + 8] = (2**64 - 16).to_bytes(8, "little")
    return written(folder / "a.h5", bytes(content))


_HDF5: tuple[tuple[str, Make, str], ...] = (
    ("no data set", hdf5(lambda file: None), "unreadable not_an_ecg"),
    ("data sets of other names", data_set("other", data=SIGNAL_MV), "unreadable not_an_ecg"),
    ("a group in place of a data set", hdf5(lambda file: file.create_group("ecg")), "malformed"),
    ("a type in place of a data set", hdf5(lambda file: file.__setitem__("ecg", np.dtype("f8"))), "malformed"),
    ("texts", data_set(data=np.full((12, 250), b"1.0")), "malformed"),
    ("texts of any length", data_set(data=np.full((12, 25), "a", object), dtype=h5py.string_dtype()), "malformed"),
    ("references", data_set(shape=(12, 250), dtype=h5py.ref_dtype), "malformed"),
    ("fields", data_set(data=np.zeros((12, 250), [("a", "f4"), ("b", "i8")])), "malformed"),
    ("complex numbers", data_set(data=SIGNAL_MV + 0j), "malformed"),
    ("rows of any length", data_set(shape=(12, 250), dtype=h5py.vlen_dtype(np.int16)), "malformed"),
    ("one axis", data_set(data=SIGNAL_MV[0]), "malformed"),
    ("four axes", data_set(data=SIGNAL_MV[None, None]), "malformed"),
    ("one number", data_set(data=3.0), "malformed"),
    ("nothing", data_set(data=h5py.Empty("f8")), "malformed"),
    ("no samples", data_set(shape=(12, 0), dtype="f8"), "no_signals malformed"),
    ("no records", data_set(shape=(0, 12, 250), dtype="f8"), "unreadable malformed no_signals"),
    ("a link to nothing", linked(lambda _: h5py.SoftLink("/gone")), "malformed unreadable"),
    ("a link to itself", linked(lambda _: h5py.SoftLink("/ecg")), "malformed unreadable"),
    ("a link to a file outside",
     linked(lambda outside: h5py.ExternalLink(str(outside / "hdf5.h5"), "ecg")), "malformed"),
    ("a link to a file that is not there", linked(lambda _: h5py.ExternalLink("gone.h5", "ecg")), "malformed"),
    ("a virtual data set over a file outside", virtual(unlimited=False), "malformed"),
    ("a virtual data set without end", virtual(unlimited=True), "malformed"),
    ("samples in a file outside", external, "malformed"),
    ("exam ids in a file outside", code15_link, "malformed unreadable unknown_sampling_rate"),
    ("rate NaN", said(fs=np.nan), "malformed"),
    ("rate 0", said(fs=0), "malformed"),
    ("a negative rate", said(fs=-1.0), "malformed"),
    ("rate 1e30", said(fs=1e30), "malformed"),
    ("a rate in words", said(fs="fast"), "malformed"),
    ("many rates", said(fs=[250.0] * 12), "malformed"),
    ("20,000 lead names", said(leads=np.full(20_000, b"I")), "malformed"),
    ("an empty rate", said(fs=h5py.Empty("f8")), "malformed"),
    ("a rate of fields", said(fs=np.zeros((), [("a", "f4")])), "malformed"),
    ("eleven lead names", said(leads=list(LEADS_12[:11])), "malformed"),
    ("an empty lead name", said(leads=["", *LEADS_12[1:]]), "malformed"),
    ("a lead name of 60,000 characters", said(leads=["I" * 60_000]), "malformed"),
    ("a lead name of 40,000 blanks", said(leads=["I" + " " * 40_000 + "x", *["II"] * 11]), "malformed"),
    ("two leads of one name", said(leads=["I", "I", *LEADS_12[2:]]), "duplicate_lead"),
    ("leads that are numbers", said(leads=np.arange(12)), "missing_lead"),
    ("a unit of pressure", said(unit="mmHg"), "unknown_unit"),
    ("an empty unit", said(unit=""), "unknown_unit"),
    ("a unit that is a number", said(unit=3), "unknown_unit"),
    ("10^9 samples in no bytes",
     data_set(shape=(12, 10**9), dtype="f8", chunks=(12, 4096), compression="gzip"), "malformed"),
    ("a chunk of half a gigabyte",
     data_set(shape=(12, 6 * 10**6), dtype="f8", chunks=(12, 6 * 10**6), compression="gzip"), "malformed"),
    ("texts that have no end", heap_loop, "unreadable"),
    ("no exam in this row", data_set("tracings", shape=(2, 4096, 12), dtype="f4"), "unreadable"),
    ("a signature and nothing", lambda f, _: written(f / "a.h5", b"\x89HDF\r\n\x1a\n" * 9), "unreadable"),
)  # fmt: skip


def kinds() -> list[Kind]:
    """All kinds of HDF5."""
    rows = {"no exam in this row": 7, "no records": 7}
    told = {*rows, "no samples"}
    late = ("duplicate_lead", "missing_lead")
    return [
        Kind(
            "HDF5",
            what,
            make,
            of(reasons),
            *([TOLD] if what in told else []),
            row=rows.get(what),
            by_contract=reasons in late,
        )
        for what, make, reasons in _HDF5
    ]
