"""NumPy files that are malformed: shapes that lie, objects in place of numbers, archives that are bombs."""

import io
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import write_array_header_1_0

from ecgjepa.data.formats.hints import Hints
from ecgjepa.leads import LEADS_12
from tests.data.malformed_kind import Ground, Kind, of, replaced, sparse, written

TOLD = Hints(250.0, LEADS_12, "mV")
SIGNAL_MV = np.sin(np.arange(12 * 250).reshape(12, 250) / 9)
Make = Callable[[Path, Ground], Path]


class Trap:
    """Unpickling this would make a folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (Path("unpickled"),)


def npy_bytes(shape: tuple[int, ...], held: int = 4000, descr: Any = "<f8", fortran: bool = False) -> bytes:
    """The header of an array, and zeros."""
    header = io.BytesIO()
    write_array_header_1_0(header, {"descr": descr, "fortran_order": fortran, "shape": shape})
    return header.getvalue() + bytes(held)


def raw_header(text: str, version: bytes = b"\x01\0") -> bytes:
    """An array with a header of one's own."""
    length = len(text).to_bytes(2 if version[0] == 1 else 4, "little")
    return b"\x93NUMPY" + version + length + text.encode() + bytes(4000)


def saved(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npy(content: bytes) -> Make:
    return lambda folder, _: written(folder / "a.npy", content)


def npz(**members: bytes) -> Make:
    def make(folder: Path, _: Ground) -> Path:
        with zipfile.ZipFile(folder / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(f"{name}.npy", content)
        return folder / "a.npz"

    return make


def good_npz(**changes: Any) -> Make:
    """A true archive, some keys changed."""
    keys = {"signal": SIGNAL_MV, "sampling_rate_hz": 250.0, "leads": np.array(LEADS_12), "unit": "mV", **changes}
    return npz(**{name: saved(np.asarray(value)) for name, value in keys.items()})


def edited_npz(old: bytes, new: bytes) -> Make:
    """The sample archive, bytes of it changed."""
    return lambda folder, ground: written(folder / "a.npz", replaced(ground.files["npz.npz"], old, new))


def central(place: int, value: bytes) -> Make:
    """The sample archive, the entry of `signal` in its directory changed."""

    def make(folder: Path, ground: Ground) -> Path:
        content = ground.files["npz.npz"]
        start = content.index(b"PK\x01\x02") + place
        return written(folder / "a.npz", content[:start] + value + content[start + len(value) :])

    return make


def twice(folder: Path, _: Ground) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(folder / "a.npz", "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("signal.npy", saved(SIGNAL_MV))
        archive.writestr("signal.npy", saved(SIGNAL_MV + 1))
    return folder / "a.npz"


_NPY: tuple[tuple[str, Make, str], ...] = (
    ("a pickled object", npy(saved(np.array([Trap()], dtype=object))), "not_an_ecg"),
    ("a pickle without a header", npy(pickle.dumps(Trap())), "unreadable"),
    ("10^9 samples", npy(npy_bytes((12, 10**9))), "unreadable"),
    ("2^61 samples", npy(npy_bytes((12, 2**61))), "unreadable"),
    ("10^9 records", npy(npy_bytes((10**9, 12, 5000))), "unreadable"),
    ("a negative shape", npy(npy_bytes((-12, -250), 24000)), "unreadable"),
    ("two negative sides", npy(raw_header("{'descr':'<f8','fortran_order':False,'shape':(-1, -500)}\n")), "unreadable"),
    ("one axis", npy(saved(SIGNAL_MV[0])), "not_an_ecg"),
    ("four axes", npy(saved(SIGNAL_MV[None, None])), "not_an_ecg"),
    ("no axis", npy(saved(np.float64(3))), "not_an_ecg"),
    ("no samples", npy(saved(SIGNAL_MV[:, :0])), "no_signals"),
    ("complex numbers", npy(saved(SIGNAL_MV + 0j)), "not_an_ecg"),
    ("texts", npy(saved(SIGNAL_MV.astype("U8"))), "not_an_ecg"),
    ("times", npy(saved(SIGNAL_MV.astype("M8[s]"))), "not_an_ecg"),
    ("fields", npy(saved(np.zeros((12, 250), [("a", "f4"), ("b", "i8")]))), "not_an_ecg"),
    ("a field within a field", npy(npy_bytes((12, 20), 960, [("a", [("b", "<f4")])])), "not_an_ecg"),
    ("truth values", npy(saved(SIGNAL_MV > 0)), "not_an_ecg"),
    ("fewer leads than told", npy(saved(SIGNAL_MV[:11])), "malformed"),
    ("a byte too many", npy(saved(SIGNAL_MV) + b"\0"), "unreadable"),
    ("a version that is not known", npy(saved(SIGNAL_MV).replace(b"NUMPY\x01", b"NUMPY\x09")), "malformed unreadable"),
    ("a header that is code", npy(raw_header("__import__('os').mkdir('evaluated')\n")), "unreadable"),
    ("a header of 9,000 signs", npy(raw_header("-" * 9000 + "1\n")), "unreadable"),
    ("a header of 9,000 brackets", npy(raw_header("[" * 9000 + "\n")), "unreadable"),
    ("a header of 9,000 tuples", npy(raw_header("(" * 190 + "1" + ",)" * 190 + "\n")), "unreadable"),
    ("a header of 9,000 sums", npy(raw_header("+".join("1" * 4500) + "\n")), "unreadable"),
    ("a header of 4 GB", npy(b"\x93NUMPY\x02\0\xff\xff\xff\xff" + bytes(4000)), "unreadable"),
    ("a header of 20,000 bytes", npy(raw_header(" " * 20_000 + "\n", b"\x02\0")), "unreadable"),
    ("a shape of fractions",
     npy(raw_header("{'descr':'<f8','fortran_order':False,'shape':(12.0, 250)}\n")), "unreadable"),
    ("a shape of 100,000 axes",
     npy(raw_header("{'descr':'<f8','fortran_order':False,'shape':(" + "1," * 3000 + ")}\n")), "not_an_ecg unreadable"),
    ("no shape", npy(raw_header("{'descr':'<f8','fortran_order':False}\n")), "unreadable"),
    ("a type that is none", npy(raw_header("{'descr':'<q99','fortran_order':False,'shape':(12,250)}\n")), "unreadable"),
    ("a terabyte of nothing",
     lambda f, _: sparse(f / "a.npy", npy_bytes((12, 10**10), 0), len(npy_bytes((12, 10**10), 0)) + 96 * 10**10),
     "malformed"),
)  # fmt: skip

_NPZ: tuple[tuple[str, Make, str], ...] = (
    ("a pickled object", npz(signal=saved(np.array([Trap()], dtype=object))), "not_an_ecg"),
    ("pickled leads", good_npz(leads=np.array([Trap()], dtype=object)), "not_an_ecg"),
    ("no samples", npz(leads=saved(np.array(LEADS_12))), "not_an_ecg"),
    ("no keys", npz(), "not_an_ecg"),
    ("a key twice", twice, "malformed"),
    ("a key that is no array", npz(signal=b"I,II\n1,2\n" * 30), "unreadable"),
    ("10^9 samples", npz(signal=npy_bytes((12, 10**9))), "unreadable"),
    ("a bomb of samples", npz(signal=npy_bytes((12, 2 * 10**6), 12 * 2 * 10**6 * 8)), "malformed"),
    ("a bomb of lead names", npz(signal=saved(SIGNAL_MV), leads=npy_bytes((10**6,), 4 * 10**6, "<U1")), "malformed"),
    ("10^12 lead names", npz(signal=saved(SIGNAL_MV), leads=npy_bytes((10**12,), 40, "<U1")), "unreadable malformed"),
    ("a lead name of 10^6 characters", good_npz(leads=np.array(["I" * 10**5, *LEADS_12[1:]])), "malformed"),
    ("a lead name of 20,000 blanks", good_npz(leads=np.array(["I" + " " * 20_000 + "x", *LEADS_12[1:]])), "malformed"),
    ("two leads of one name", good_npz(leads=np.array(["I", "I", *LEADS_12[2:]])), "duplicate_lead"),
    ("eleven lead names", good_npz(leads=np.array(LEADS_12[:11])), "malformed"),
    ("an empty lead name", good_npz(leads=np.array(["", *LEADS_12[1:]])), "malformed"),
    ("rate NaN", good_npz(sampling_rate_hz=np.nan), "malformed"),
    ("rate 0", good_npz(sampling_rate_hz=0), "malformed"),
    ("a negative rate", good_npz(sampling_rate_hz=-250), "malformed"),
    ("rate 1e30", good_npz(sampling_rate_hz=1e30), "malformed"),
    ("a rate in words", good_npz(sampling_rate_hz="fast"), "malformed"),
    ("a complex rate", good_npz(sampling_rate_hz=250 + 1j), "malformed"),
    ("many rates", good_npz(sampling_rate_hz=np.full(12, 250.0)), "malformed"),
    ("a unit of pressure", good_npz(unit="mmHg"), "unknown_unit"),
    ("two units", good_npz(unit=np.array(["mV", "uV"])), "malformed"),
    ("an empty unit", good_npz(unit=""), "unknown_unit"),
    ("nothing but samples", npz(signal=saved(SIGNAL_MV)), "unknown_sampling_rate"),
    ("no samples in the array", good_npz(signal=SIGNAL_MV[:, :0]), "no_signals"),
    ("flipped bits in the samples", edited_npz(b"\x93NUMPY", b"\x92NUMPY"), "unreadable"),
    ("a directory that claims a terabyte", central(20, b"\xfe\xff\xff\xff" * 2), "unreadable malformed"),
    ("a directory that claims no bytes", central(24, bytes(4)), "unreadable malformed"),
    ("a directory that points behind the file", central(42, b"\xfe\xff\xff\x7f"), "unreadable"),
    ("a compression that is not known", central(10, b"\x63\0"), "unreadable"),
    ("a password", central(8, b"\x01\0"), "unreadable"),
    ("a checksum that does not fit", central(16, b"\1\2\3\4"), "unreadable checksum"),
    ("a directory of names that are no text",
     edited_npz(b"signal.npy", b"\xff\xfe\xfd\xfc\0\1.npy"), "not_an_ecg unreadable"),
)  # fmt: skip


def kinds() -> list[Kind]:
    """All kinds of NumPy files."""
    rows = {"10^9 records": 7}
    found = [Kind("NPY", what, make, of(reasons), TOLD, rows.get(what)) for what, make, reasons in _NPY]
    late = "duplicate_lead"
    return found + [Kind("NPZ", what, make, of(reasons), by_contract=reasons == late) for what, make, reasons in _NPZ]
