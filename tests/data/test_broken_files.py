"""Whatever is wrong with a file, it is refused by name: no traceback, no hang, no gigabytes from a small file."""

import io
import resource
import shutil
import time
import traceback
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.lib.format import write_array_header_1_0

from ecgjepa.data.formats.hints import Hints
from ecgjepa.data.readers import SUFFIXES, count_records, read
from ecgjepa.errors import RefusedRecordError
from ecgjepa.leads import LEADS_12
from tests.data.archives import smooth_signal
from tests.data.sample_files import WRITERS, write_samples
from tests.data.test_formats import refusal

# A second of ECG, so that a broken copy costs a millisecond.
RATE_HZ, SAMPLES = 250.0, 250
FORMATS = sorted([*WRITERS, "npy"])
# Files that say how long they are; a table that is cut between two rows is a whole, shorter table.
KNOW_THEIR_LENGTH = [key for key in FORMATS if key != "csv"]
TOLD = Hints(RATE_HZ, LEADS_12, "mV")
PEAK_BYTES = 100 * 2**20
Samples = dict[str, tuple[Path, Hints]]
# What a slip of ours raises, and a library at a broken file as well.
SLIPS = (AttributeError, NameError, TypeError, AssertionError, IndexError, KeyError)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    signal_mv = smooth_signal(5, SAMPLES, 12).T
    return write_samples(tmp_path_factory.mktemp("samples"), signal_mv, LEADS_12, RATE_HZ)


def outcome(path: Path, hints: Hints) -> str:
    """`read`, or the reason of the refusal, which must not hide a slip of our own code."""
    started_s = time.monotonic()
    try:
        recording = read(path, hints=hints)
    except RefusedRecordError as error:
        refused = error
    else:
        assert recording.signal_mv.shape[0] == len(recording.leads)
        return "read"
    assert time.monotonic() - started_s < 5
    assert refused.record == path.stem
    if isinstance(refused.__cause__, SLIPS):
        last = traceback.extract_tb(refused.__cause__.__traceback__)[-1].filename
        assert "ecgjepa" not in Path(last).parts, f"{path.name}: {refused.__cause__!r} in {last}"
    return refused.reason


def parts_of(path: Path, folder: Path) -> tuple[Path, list[Path]]:
    """A copy of a sample, and the files it consists of: a WFDB record has two."""
    own = [shutil.copy(file, folder / file.name) for file in path.parent.glob(f"{path.stem}.*")]
    return folder / path.name, own


def cuts(content: bytes, seed: int, count: int) -> Iterator[bytes]:
    places = np.random.default_rng(seed).integers(0, len(content), count).tolist()
    yield from (content[:place] for place in [0, 1, len(content) // 2, len(content) - 3, *places])


def damages(content: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Flipped bits, random and huge numbers, holes and insertions; half of them at the start, where the counts are."""
    chance = np.random.default_rng(seed)
    for k in range(count):
        damaged = bytearray(content)
        place = int(chance.integers(0, len(content) if k % 2 else min(len(content), 3000)))
        match k % 6:
            case 0 | 1:
                damaged[place] ^= 1 << int(chance.integers(0, 8))
            case 2:
                damaged[place : place + 8] = chance.bytes(8)
            case 3:
                damaged[place : place + 4] = b"\xff\xff\xff\x7f"
            case 4:
                del damaged[place : place + int(chance.integers(1, 200))]
            case _:
                damaged[place:place] = b"9999"
        yield bytes(damaged)


@pytest.mark.parametrize("key", FORMATS)
def test_cut_files(key: str, samples: Samples, tmp_path: Path) -> None:
    path, parts = parts_of(samples[key][0], tmp_path)
    for part in parts:
        content = part.read_bytes()
        outcomes = set()
        for cut in cuts(content, 1, 12):
            part.unlink()
            part.write_bytes(cut)
            outcomes.add(outcome(path, samples[key][1]))
        part.write_bytes(content)
        # A header of WFDB that is cut in its last words or comments still says all.
        if key in KNOW_THEIR_LENGTH and part.suffix != ".hea":
            assert "read" not in outcomes
    assert outcome(path, samples[key][1]) == "read"


@pytest.mark.parametrize("key", FORMATS)
def test_damaged_files(key: str, samples: Samples, tmp_path: Path) -> None:
    path, parts = parts_of(samples[key][0], tmp_path)
    for part in parts:
        content = part.read_bytes()
        outcomes = []
        for damaged in damages(content, 2, 42):
            part.unlink()
            part.write_bytes(damaged)
            outcomes.append(outcome(path, samples[key][1]))
        part.write_bytes(content)
        assert set(outcomes) - {"read"}


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_garbage_with_the_right_suffix(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    for content in (
        b"",
        b"\0" * 5000,
        np.random.default_rng(3).bytes(5000),
        b"<html></html>",
        b"\x89HDF\r\n\x1a\n" * 9,
    ):
        path.write_bytes(content)
        error = refusal(path, hints=TOLD)
        assert error.reason in ("unreadable", "malformed", "not_an_ecg", "no_signals")
        assert error.record == "a"
        if suffix in (".h5", ".hdf5", ".npy", ".npz"):
            with pytest.raises(RefusedRecordError):
                count_records(path)


def small_peak(path: Path, row: int | None = None) -> RefusedRecordError:
    """The refusal, for which no more than a hundred megabytes may be taken, by numpy or by a library in C."""
    resident_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    try:
        error = refusal(path, row, TOLD)
        assert tracemalloc.get_traced_memory()[1] < PEAK_BYTES
    finally:
        tracemalloc.stop()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident_kb < PEAK_BYTES / 1024
    return error


def npy_bytes(shape: tuple[int, ...], held: int = 4000) -> bytes:
    header = io.BytesIO()
    write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return header.getvalue() + bytes(held)


def test_huge_arrays(tmp_path: Path) -> None:
    for shape, row in (((12, 10**9), None), ((10**9, 12, 5000), 7), ((-1, 12), None), ((12, 2**61), None)):
        (tmp_path / "a.npy").write_bytes(npy_bytes(shape))
        assert small_peak(tmp_path / "a.npy", row).reason == "unreadable"
        with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("signal.npy", npy_bytes(shape))
        assert small_peak(tmp_path / "a.npz", row).reason == "unreadable"
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("signal.npy", npy_bytes((12, 10**6), 12 * 10**6 * 8))
    assert (tmp_path / "bomb.npz").stat().st_size < 2**17
    assert small_peak(tmp_path / "bomb.npz").reason == "malformed"


def test_huge_hdf5(tmp_path: Path) -> None:
    for name, shape, chunks, row in (
        ("record", (3, 10**9, 12), (1, 4096, 12), 0),
        ("chunk", (1000, 4096, 12), (1000, 4096, 12), 0),
        ("single", (12, 10**9), (12, 4096), None),
        ("plain", (3, 10**8, 12), None, 0),
    ):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.create_dataset("ecg", shape, "f8", chunks=chunks, compression="gzip" if chunks else None)
        assert (tmp_path / f"{name}.h5").stat().st_size < 10**5
        assert small_peak(tmp_path / f"{name}.h5", row).reason == "malformed"


def test_texts_of_hdf5_that_have_no_end(samples: Samples, tmp_path: Path) -> None:
    content = samples["hdf5"][0].read_bytes()
    heap = content.index(b"GCOL")
    for place, value in (
        (heap + 24, (2**64 - 16).to_bytes(8, "little")),  # an object that ends before it begins: the library would hang
        (heap + 24, (2**31).to_bytes(8, "little")),
        (heap + 8, bytes(8)),
        (content.index(heap.to_bytes(8, "little")) - 4, b"\xff\xff\xff\x7f"),  # a text of two gigabytes
    ):
        (tmp_path / "a.h5").write_bytes(content[:place] + value + content[place + len(value) :])
        assert small_peak(tmp_path / "a.h5").reason == "unreadable"


def test_huge_wfdb(tmp_path: Path) -> None:
    signal = "a.dat {} 1000/mV 16 0 0 0 0 I\n"
    (tmp_path / "a.dat").write_bytes(bytes(6000))
    for text in (
        "a 1 500 1000000000\n" + signal.format(16), "a 1 500 1000000000\n" + signal.format(212),
        "a 1 500 3000\n" + signal.format("16x1000000"), "a 1 500 3000\n" + signal.format("16:100000000"),
        "a 1000000000 500 3000\n" + signal.format(16), "a/1000000000 1 500 3000\nb 3000\n",
        "a/2 1 500 2000000000\n~ 1000000000\n~ 1000000000\n", "a/1 1 500 3000\na 3000\n",
    ):  # fmt: skip
        (tmp_path / "a.hea").write_text(text)
        assert small_peak(tmp_path / "a.hea").reason in ("malformed", "unreadable")


def test_huge_texts(tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    for text in (
        f'<!DOCTYPE x [<!ENTITY a "lol">{entities}]><RestingECG>&i;</RestingECG>',
        f'<!DOCTYPE x [<!ENTITY a SYSTEM "{tmp_path / "other"}">]><RestingECG>&a;</RestingECG>',
        "<RestingECG>" + " " * (17 * 2**20) + "</RestingECG>",
        "<RestingECG>" * 10_000,
        '<?xml version="1.0" encoding="none"?><RestingECG/>',
    ):
        (tmp_path / "a.xml").write_text(text)
        assert small_peak(tmp_path / "a.xml").reason in ("malformed", "unreadable")
    (tmp_path / "a.xml").write_text('<AnnotatedECG xmlns="urn:hl7-org:v3"/>')
    error = refusal(tmp_path / "a.xml")
    assert error.reason == "not_an_ecg"
    assert "<AnnotatedECG>, expected <RestingECG> (GE MUSE) or <restingecgdata> (Philips)" in error.detail
