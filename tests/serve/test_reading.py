"""Uploaded files are read by processes that may be ended; no name of a client leads anywhere."""

import asyncio
import gzip
import io
import os
import signal
import zipfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ecgjepa.data.readers import read
from ecgjepa.errors import RefusedRecordError
from ecgjepa.patches import take_embeddable
from ecgjepa.serve.limits import Limits
from ecgjepa.serve.private_folder import PREFIX, PrivateFolder
from ecgjepa.serve.reading.pool import ReaderLostError, ReaderPool, TooSlowError, UploadedFile, Wanted
from ecgjepa.serve.reading.uploads import record_name, shown_name
from ecgjepa.signal import SignalContract

CONTRACT = SignalContract()
WANTED = Wanted((CONTRACT,), (25,))
MANY = Wanted((CONTRACT,), (25,), many=True, max_ecgs=8)
LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
SECRET = b"the content of a file that nobody sent"

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def counts(seed: int = 0, samples: int = 5000) -> np.ndarray:
    return np.random.default_rng(seed).integers(-500, 500, (samples, len(LEADS))).astype("<i2")


def wfdb_files(name: str = "a", *, signal_file: str | None = None, seed: int = 0) -> list[UploadedFile]:
    """A header and its signal file; `signal_file` is what the header calls it."""
    samples_SL, file = counts(seed), signal_file or f"{name}.dat"
    lines = [f"record {len(LEADS)} 500 {len(samples_SL)}"]
    sums = samples_SL.sum(axis=0, dtype=np.int16)
    lines += [f"{file} 16 200(0)/mV 16 0 {samples_SL[0, k]} {sums[k]} 0 {lead}" for k, lead in enumerate(LEADS)]
    header = "\n".join([*lines, "# Äge: 60", ""]).encode()
    return [UploadedFile(f"{name}.hea", header), UploadedFile(f"{name}.dat", samples_SL.tobytes())]


def npy(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


def npz(**keys: Any) -> bytes:
    content = io.BytesIO()
    np.savez(content, **keys)
    return content.getvalue()


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder for temporary files of this module alone."""
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(folder))
        patch.setenv("ECGJEPA_TOKEN", "secret-token")
        yield folder


@pytest.fixture(scope="module")
def pool(run: Run, temporary: Path) -> Iterator[ReaderPool]:
    pool = ReaderPool(1, Limits(read_seconds=5))
    run(pool.start())
    yield pool
    run(pool.close())
    assert list(temporary.iterdir()) == []


@pytest.fixture
def nothing_left(temporary: Path) -> Iterator[None]:
    yield
    assert [path.name for path in temporary.rglob("*") if PREFIX not in path.name] == ["lock"]


def refusal(run: Run, pool: ReaderPool, files: list[UploadedFile], wanted: Wanted = WANTED) -> RefusedRecordError:
    (item,) = run(pool.read(files, wanted))
    assert isinstance(item, RefusedRecordError), item
    return item


@pytest.mark.usefixtures("nothing_left")
def test_windows_are_those_of_the_file_to_the_bit(run: Run, pool: ReaderPool, tmp_path: Path) -> None:
    files = wfdb_files("patient one/100%", signal_file="100%.dat")
    shorter = SignalContract(seconds=5)
    (ecg,) = run(pool.read(files, Wanted((CONTRACT, shorter), (25, 50))))
    for file in files:
        (tmp_path / Path(file.name).name).write_bytes(bytes(file.content))
    recording = read(tmp_path / "100%.hea")
    assert (ecg.record, ecg.seconds, ecg.sampling_rate_hz) == ("100%", 10.0, 500.0)
    for windows, contract in zip(ecg.windows, (CONTRACT, shorter), strict=True):
        (expected,) = take_embeddable(recording, contract, 25, "first")
        assert np.array_equal(windows[0].signal_mv, expected.signal_mv)
        assert (windows[0].leads, windows[0].changes, windows[0].flags) == (
            expected.leads,
            expected.changes,
            expected.flags,
        )


def test_a_batch_has_one_item_an_ecg_in_the_order_of_the_files(run: Run, pool: ReaderPool) -> None:
    signal = counts().T[None].repeat(2, axis=0)
    many = npz(signal=signal, sampling_rate_hz=500, leads=LEADS, unit="uV")
    text = UploadedFile("notes.txt", b"hello")
    files = [*wfdb_files("b"), UploadedFile("two.npz", many), text, *wfdb_files("c")[::-1]]
    items = run(pool.read(files, MANY))
    names = [(item.record, getattr(item, "reason", "")) for item in items]
    assert names == [("b", ""), ("two[0]", ""), ("two[1]", ""), ("notes.txt", "unknown_format"), ("c", "")]
    with pytest.raises(RefusedRecordError, match="expected at most 4 in one batch") as caught:
        run(pool.read(files, Wanted((CONTRACT,), (25,), many=True, max_ecgs=4)))
    assert caught.value.reason == "too_many_ecgs"


def test_one_ecg_is_one_and_no_more(run: Run, pool: ReaderPool) -> None:
    signal = counts().T[None].repeat(3, axis=0)
    file = [UploadedFile("x.npz", npz(signal=signal, sampling_rate_hz=500, leads=LEADS, unit="uV"))]
    found = refusal(run, pool, file)
    assert (found.reason, found.detail) == ("many_records", "x holds 3 ECGs, expected one; name its row, 0 to 2")
    (ecg,) = run(pool.read(file, Wanted((CONTRACT,), (25,), row=2)))
    assert ecg.record == "x[2]"
    assert refusal(run, pool, file, Wanted((CONTRACT,), (25,), row=3)).reason == "unreadable"
    assert refusal(run, pool, [*wfdb_files("a"), *wfdb_files("b")]).reason == "several_ecgs"
    twice = refusal(run, pool, [*wfdb_files("a"), wfdb_files("a")[1]])
    assert (twice.reason, twice.detail) == ("malformed", "two files are called a.dat, expected names that differ")


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("other.dat", "file_absent"),
        ("/etc/hostname", "malformed"),
        ("../outside.dat", "malformed"),
        ("..", "malformed"),
        ("~", "malformed"),
        ("sub/a.dat", "malformed"),
        ("C:\\outside.dat", "malformed"),
        ("https://example.org/a.dat", "malformed"),
        ("s3://bucket/a.dat", "malformed"),
        ("ecg-0001.dat", "file_absent"),
        ("lock", "file_absent"),
        ("a.dat\0", "malformed"),
        ("a.hea", "file_absent"),
    ],
)
@pytest.mark.usefixtures("nothing_left")
def test_a_header_names_what_was_sent_and_nothing_else(run: Run, pool: ReaderPool, named: str, reason: str) -> None:
    found = refusal(run, pool, wfdb_files("a", signal_file=named))
    assert found.reason == reason
    assert "ecgjepa-serve" not in found.detail


def test_records_of_segments_are_refused(run: Run, pool: ReaderPool) -> None:
    files = [UploadedFile("m.hea", b"m/2 8 500 10000\na 5000\na 5000\n"), *wfdb_files("a")]
    first, _ = run(pool.read(files, MANY))
    assert first.reason == "malformed"
    assert "several segments" in first.detail


def hdf5(file: Path, secret: Path, how: str) -> bytes:
    """A file whose samples lie in another one."""
    with h5py.File(secret, "w") as other:
        other["signal"] = counts().T
    raw = secret.with_suffix(".raw")
    raw.write_bytes(counts().T.tobytes())
    with h5py.File(file, "w") as made:
        made.attrs.update({"sampling_rate_hz": 500.0, "leads": LEADS, "unit": "uV"})
        if how == "external link":
            made["signal"] = h5py.ExternalLink(str(secret), "signal")
        elif how == "soft link":
            made["signal"] = h5py.SoftLink("/elsewhere")
        elif how == "external storage":
            made.create_dataset("signal", (8, 5000), "<i2", external=[(str(raw), 0, h5py.h5f.UNLIMITED)])
        elif how == "virtual":
            layout = h5py.VirtualLayout((8, 5000), "<i2")
            layout[:] = h5py.VirtualSource(str(secret), "signal", (8, 5000))
            made.create_virtual_dataset("signal", layout)
        else:
            made["tracings"] = h5py.ExternalLink("/etc/hostname", "/")
    return file.read_bytes()


@pytest.mark.parametrize("how", ["external link", "soft link", "external storage", "virtual", "no hdf5"])
def test_hdf5_reads_no_other_file(run: Run, pool: ReaderPool, tmp_path: Path, how: str) -> None:
    content = hdf5(tmp_path / "made.h5", tmp_path / "secret.h5", how)
    found = refusal(run, pool, [UploadedFile("made.h5", content)])
    assert found.reason in ("malformed", "unreadable")
    assert "secret" not in found.detail


class Trap:
    """Unpickled, it leaves a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def test_pickles_are_never_run(run: Run, pool: ReaderPool, tmp_path: Path) -> None:
    trap = np.empty((1, 1), dtype=object)
    trap[0, 0] = Trap(str(tmp_path / "sprung"))
    content = io.BytesIO()
    np.save(content, trap, allow_pickle=True)
    assert refusal(run, pool, [UploadedFile("t.npy", content.getvalue())]).reason == "not_an_ecg"
    assert refusal(run, pool, [UploadedFile("t.npz", npz(signal=trap))]).reason == "not_an_ecg"
    words = npz(signal=counts().T, leads=trap, sampling_rate_hz=500, unit="mV")
    assert refusal(run, pool, [UploadedFile("t.npz", words)]).reason == "not_an_ecg"
    assert not (tmp_path / "sprung").exists()


def test_bombs_are_refused_and_the_process_lives(run: Run, pool: ReaderPool) -> None:
    before = pool.pids
    zeros = io.BytesIO()
    with zipfile.ZipFile(zeros, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("signal.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (8, 2 * 2**20)})
        member.write(bytes(128 * 2**20))
    table = gzip.compress(b"I,II\n" + b"0,0\n" * 2**24)
    entities = b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><RestingECG>&b;</RestingECG>'
    outside = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><RestingECG>&x;</RestingECG>'
    for name, content in [("z.npz", zeros.getvalue()), ("t.csv.gz", table), ("b.xml", entities), ("o.xml", outside)]:
        assert refusal(run, pool, [UploadedFile(name, content)]).reason == "malformed"
    assert pool.pids == before


@pytest.mark.usefixtures("nothing_left")
def test_what_takes_too_much_memory_is_refused(run: Run, temporary: Path) -> None:
    async def ask() -> tuple[Any, Any, int]:
        small = ReaderPool(1, Limits(reader_memory_bytes=128 * 2**20))
        await small.start()
        try:
            content = io.BytesIO()  # 32 MB of int8 are 128 MB of float32
            ones = np.ones((8, 4_000_000), np.int8)
            np.savez_compressed(content, signal=ones, sampling_rate_hz=500, unit="mV", leads=LEADS)
            (item,) = await small.read([UploadedFile("l.npz", content.getvalue())], WANTED)
            (after,) = await small.read(wfdb_files(), WANTED)
            return item, after, small.replaced
        finally:
            await small.close()

    item, after, replaced = run(ask())
    assert (item.reason, after.record, replaced) == ("too_large", "a", 1)


@pytest.mark.usefixtures("nothing_left")
def test_a_process_that_is_killed_is_replaced_and_the_client_told(run: Run, pool: ReaderPool) -> None:
    async def ask() -> None:
        before, replaced = pool.pids, pool.replaced
        os.kill(before[0], signal.SIGSTOP)
        reading = asyncio.create_task(pool.read(wfdb_files(), WANTED))
        await asyncio.sleep(0.1)
        os.kill(before[0], signal.SIGKILL)
        with pytest.raises(ReaderLostError, match="ended, and is replaced"):
            await reading
        (ecg,) = await pool.read(wfdb_files(), WANTED)
        assert (ecg.record, pool.replaced) == ("a", replaced + 1)
        os.kill(pool.pids[0], signal.SIGSTOP)
        batch = asyncio.create_task(pool.read([*wfdb_files("a"), *wfdb_files("b")], MANY))
        await asyncio.sleep(0.1)
        os.kill(pool.pids[0], signal.SIGKILL)
        lost, read_by_the_next = await batch
        assert (lost.reason, read_by_the_next.record) == ("reader_lost", "b")

    run(ask())


@pytest.mark.usefixtures("nothing_left")
def test_what_takes_too_long_is_ended(run: Run, temporary: Path) -> None:
    async def ask() -> None:
        quick = ReaderPool(1, Limits(read_seconds=0.3))
        await quick.start()
        try:
            (first,) = quick.pids
            os.kill(first, signal.SIGSTOP)
            with pytest.raises(TooSlowError, match=r"not read after 0.3 s") as caught:
                await quick.read(wfdb_files(), WANTED)
            assert caught.value.reason == "too_slow"
            async with asyncio.timeout(10):
                while first in quick.pids:
                    await asyncio.sleep(0.02)
        finally:
            await quick.close()

    run(ask())


@pytest.mark.usefixtures("nothing_left")
def test_a_client_that_goes_away_costs_no_process(run: Run, pool: ReaderPool) -> None:
    async def ask() -> None:
        before = pool.pids
        os.kill(before[0], signal.SIGSTOP)
        reading = asyncio.create_task(pool.read(wfdb_files(), WANTED))
        await asyncio.sleep(0.1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        os.kill(before[0], signal.SIGCONT)
        (ecg,) = await pool.read(wfdb_files(), WANTED)
        assert (ecg.record, pool.pids) == ("a", before)

    run(ask())


def test_a_reader_knows_no_secret_and_no_torch(run: Run, pool: ReaderPool) -> None:
    run(pool.read(wfdb_files(), WANTED))
    process = Path("/proc", str(pool.pids[0]))
    assert b"secret-token" not in (process / "environ").read_bytes()
    assert "libtorch" not in (process / "maps").read_text()
    assert os.getsid(pool.pids[0]) != os.getsid(0)  # Ctrl-C is not for it


def test_messages_speak_of_the_client_s_names(run: Run, pool: ReaderPool) -> None:
    header, signal_file = wfdb_files("mine")
    cut = [header, UploadedFile(signal_file.name, bytes(signal_file.content)[:1000])]
    assert refusal(run, pool, cut).detail == "62 samples in the file, expected 5000"
    assert refusal(run, pool, [UploadedFile("mine.h5", b"")]).detail == "mine.h5 is empty"
    assert refusal(run, pool, [signal_file]).detail.startswith("no header mine.hea was sent with mine.dat")


@pytest.mark.parametrize(
    ("name", "shown", "record"),
    [
        ("a.csv.gz", "a.csv.gz", "a"),
        ("../../etc/passwd.HEA", "passwd.HEA", "passwd"),
        ("C:\\ecgs\\x.dcm", "x.dcm", "x"),
        ("a\0b\n.xml", "a?b?.xml", "a?b?"),
        ("\udcff.edf", "\\udcff.edf", "\\udcff"),
        ("", "file", "file"),
        ("x" * 300, "x" * 200 + "...", "x" * 200 + "..."),
        (".hea", ".hea", ""),
    ],
)
def test_names_are_shown_as_one_short_line(name: str, shown: str, record: str) -> None:
    assert (shown_name(name), record_name(name)) == (shown, record)


def test_what_a_killed_server_left_is_removed_and_no_other(temporary: Path) -> None:
    living, killed = PrivateFolder(), temporary / f"{PREFIX}killed"
    killed.mkdir()
    (killed / "lock").touch()
    (killed / "upload").mkdir()
    other = temporary / f"{PREFIX}of-somebody"
    other.mkdir()  # without a lock, it is not ours
    PrivateFolder().close()
    assert (living.path.is_dir(), killed.exists(), other.is_dir()) == (True, False, True)
    assert living.path.stat().st_mode & 0o777 == 0o700
    living.close()
    other.rmdir()
