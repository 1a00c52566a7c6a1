"""Every kind of malformed input is refused by name: no other error, no hang, no gigabytes, nothing read elsewhere."""

import errno
import io
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgjepa.data.readers import NO_HINTS, Hints, read
from ecgjepa.errors import RefusedRecordError
from ecgjepa.signal import Recording, SignalContract
from ecgjepa.windows import standardize
from tests.data.guard import LIMIT_BYTES, watched
from tests.data.malformed import KINDS, make_ground
from tests.data.malformed_arrays import TOLD
from tests.data.malformed_kind import REASONS, Ground, Kind

CONTRACT = SignalContract(seconds=1.0)
MAX_DETAIL = 500


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return make_ground(tmp_path_factory.mktemp("samples") / "outside")


def refused(kind: Kind, path: Path) -> RefusedRecordError:
    if kind.by_contract:
        recording = read(path, kind.row, hints=kind.hints)
        with pytest.raises(RefusedRecordError) as caught:
            standardize(recording, CONTRACT)
    else:
        with pytest.raises(RefusedRecordError) as caught:
            read(path, kind.row, hints=kind.hints)
    return caught.value


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_refused_by_name(kind: Kind, ground: Ground, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    path = kind.make(folder, ground)
    with watched(folder, ground.outside) as seen:
        error = refused(kind, path)
    assert error.reason in kind.reasons, str(error)[:1000]
    assert len(error.detail) <= MAX_DETAIL
    assert error.detail.isprintable()
    assert not seen.opened + seen.forbidden
    assert seen.peak_bytes < LIMIT_BYTES, f"{seen.peak_bytes / 2**20:.0f} MiB"


def parts(sample: str) -> list[str]:
    """The files of a record, the one that is damaged first."""
    stem, dot, suffix = sample.rpartition(".")
    signal = {"wfdb_mat": "mat"}.get(stem, "dat")
    return (
        [sample]
        if suffix not in ("hea", "dat", "mat")
        else [sample, stem + dot + ("hea" if suffix != "hea" else signal)]
    )


def header_of(sample: str) -> str:
    return sample.rpartition(".")[0] + ".hea" if sample.endswith((".dat", ".mat")) else sample


def outcome(folder: Path, name: str, ground: Ground, hints: Hints) -> Recording | RefusedRecordError:
    """What became of a file, under guard; a refusal is one by name, a recording is one that could be."""
    with watched(folder, ground.outside) as seen:
        try:
            result: Recording | RefusedRecordError = read(folder / name, hints=hints)
        except RefusedRecordError as error:
            result = error
    assert not seen.opened + seen.forbidden
    assert seen.peak_bytes < LIMIT_BYTES
    if isinstance(result, RefusedRecordError):
        assert result.reason in REASONS
        assert result.record == name.rpartition(".")[0]
        assert len(result.detail) <= MAX_DETAIL
    else:
        assert result.signal_mv.shape[0] == len(result.leads) > 0
        assert result.signal_mv.dtype == np.float32
    return result


def damaged(content: bytes, damages: list[tuple[str, float, bytes]]) -> bytes:
    for what, part, value in damages:
        place = int(part * (len(content) - 1))
        match what:
            case "cut":
                content = content[:place]
            case "flip":
                content = content[:place] + bytes([content[place] ^ (1 << value[0] % 8)]) + content[place + 1 :]
            case "write":
                content = content[:place] + value + content[place + len(value) :]
            case "insert":
                content = content[:place] + value + content[place:]
            case _:
                content = content[:place] + content[place + len(value) :]
        if not content:
            return content
    return content


VALUES = st.one_of(
    st.binary(min_size=1, max_size=8),
    st.sampled_from(
        [b"\xff\xff\xff\x7f", b"\xff" * 8, bytes(8), b"-1", b"9" * 12, b"nan", b"1e999", b"../", b"\n", b"\0"]
    ),
)
# Half of the places lie in the first tenth, where the counts are.
PLACES = st.one_of(st.floats(0, 0.1), st.floats(0, 1))
DAMAGES = st.lists(
    st.tuples(st.sampled_from(["cut", "flip", "write", "insert", "drop"]), PLACES, VALUES), min_size=1, max_size=3
)
SAMPLES = sorted(
    """wfdb.hea wfdb.dat wfdb_mat.hea wfdb_mat.mat f8.hea f8.dat f212.hea f212.dat f310.dat hdf5.h5 npy.npy npz.npz
    table.csv edf.edf edf_plus.edf dicom.dcm muse.xml philips.xml philips_xli.xml""".split()
)
REPEATABLE = settings(
    derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False
)


def boundaries(sample: str, content: bytes) -> list[int]:
    """Where a part of a file ends: lines and words, tags, fields, headers, samples."""
    suffix = sample.rpartition(".")[2]
    ends = {"hea": rb"[ \n]", "csv": rb"[,\n]", "xml": rb">"}.get(suffix)
    if ends is not None:
        return [match.end() for match in re.finditer(ends, content.rstrip()[:-1])][:150]
    if suffix == "edf":
        return [*range(0, 256 * 13, 64), *range(256 * 13, len(content) - 2, 500)]
    return sorted({*range(0, 200, 8), 6, 10, 127, *range(200, len(content) - 2, len(content) // 40)})


@pytest.mark.parametrize("sample", SAMPLES)
def test_cut_at_every_boundary(sample: str, ground: Ground, tmp_path: Path) -> None:
    content = ground.files[sample]
    for name in parts(sample):
        (tmp_path / name).write_bytes(ground.files[name])
    for place in boundaries(sample, content):
        (tmp_path / sample).unlink()
        (tmp_path / sample).write_bytes(content[:place])
        # A table may end behind any row, a header of WFDB behind any word that is not needed.
        if sample == "table.csv" or sample.endswith(".hea"):
            outcome(tmp_path, sample, ground, NO_HINTS)
        else:
            with pytest.raises(RefusedRecordError):
                read(tmp_path / header_of(sample), hints=TOLD if sample == "npy.npy" else NO_HINTS)


def try_damages(sample: str, ground: Ground, folder: Path, examples: int) -> None:
    for name in parts(sample):
        (folder / name).write_bytes(ground.files[name])
    hints = TOLD if sample == "npy.npy" else NO_HINTS

    @settings(REPEATABLE, max_examples=examples)
    @given(DAMAGES)
    def check(damages: list[tuple[str, float, bytes]]) -> None:
        (folder / sample).unlink()  # HDF5 files stay open: another file, not another content
        (folder / sample).write_bytes(damaged(ground.files[sample], damages))
        outcome(folder, header_of(sample), ground, hints)

    check()


# A library in C that never returns cannot be interrupted: the thread of the timeout ends the run and says where it was.
@pytest.mark.timeout(60, method="thread")
@pytest.mark.parametrize("sample", SAMPLES)
def test_damaged_anywhere(sample: str, ground: Ground, tmp_path: Path) -> None:
    try_damages(sample, ground, tmp_path, 12)


@pytest.mark.slow
@pytest.mark.timeout(600, method="thread")
@pytest.mark.parametrize("sample", SAMPLES)
def test_damaged_anywhere_at_length(sample: str, ground: Ground, tmp_path: Path) -> None:
    try_damages(sample, ground, tmp_path, 200)


@pytest.mark.parametrize(
    "sample", ["wfdb.dat", "wfdb_mat.mat", "f8.dat", "f61.dat", "f80.dat", "f160.dat", "f212.dat", "muse.xml"]
)
def test_a_flipped_bit_of_samples_with_a_checksum_is_seen(sample: str, ground: Ground, tmp_path: Path) -> None:
    header, content = header_of(sample), ground.files[sample]
    for name in parts(sample):
        (tmp_path / name).write_bytes(ground.files[name])
    if sample == "muse.xml":
        rhythm = content.rindex(b"<WaveFormData>") + 15
        first, last = rhythm, rhythm + 600
    else:
        first, last = 24 if sample.endswith(".mat") else 0, len(content) - 1
    whole = read(tmp_path / header)

    @settings(REPEATABLE, max_examples=25)
    @given(st.integers(first, last), st.integers(0, 7))
    def check(place: int, bit: int) -> None:
        turned = bytearray(content)
        turned[place] ^= 1 << bit
        (tmp_path / sample).write_bytes(turned)
        result = outcome(tmp_path, header, ground, NO_HINTS)
        if isinstance(result, Recording):  # a line feed within base64, a bit that is no part of a sample
            np.testing.assert_array_equal(result.signal_mv, whole.signal_mv)
        else:
            assert result.reason == "checksum" or sample == "muse.xml"

    check()


WORDS = st.sampled_from(
    [
        *"""a a/2 a/1 b wfdb.dat wfdb.hea gone.dat pipe self folder . .. ../outside/wfdb.dat /dev/zero ~ 0 1 2 12 -1 250
        500 1e30 nan inf 99999999999 16 212 8 80 16x2 16:5 16+24 16x99999999 17 1000/mV 1000(0)/mV nan/mV -5/uV 0/V
        1e-300/mV 1e300/V 5(9999999999)/mV 1/mmHg 1/ /mV I II V1 é # \0 \ufeff""".split(),
        *(" ", "x" * 2000, "9" * 5000),
    ]
)
LINES = st.lists(st.lists(WORDS, max_size=10).map(" ".join), max_size=4).map("\n".join)


def try_headers(ground: Ground, folder: Path, examples: int) -> None:
    (folder / "wfdb.dat").write_bytes(ground.files["wfdb.dat"])
    (folder / "b.hea").write_bytes(ground.files["wfdb.hea"])
    (folder / "folder").mkdir()
    (folder / "self").symlink_to("self")
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "folder.hea")

    @settings(REPEATABLE, max_examples=examples)
    @given(
        st.sampled_from(["a 1 250 250\n", "a 1 250 3000\n", "a/2 12 250 500\n", "a/1 12 250 250\nb 250\n", ""]), LINES
    )
    def check(start: str, lines: str) -> None:
        (folder / "a.hea").write_text(start + lines, encoding="utf-8")
        outcome(folder, "a.hea", ground, NO_HINTS)

    check()


def test_headers_of_any_words(ground: Ground, tmp_path: Path) -> None:
    try_headers(ground, tmp_path, 100)


@pytest.mark.slow
def test_headers_of_any_words_at_length(ground: Ground, tmp_path: Path) -> None:
    try_headers(ground, tmp_path, 1000)


@pytest.mark.parametrize("sample", SAMPLES)
def test_files_that_may_not_be_read(
    sample: str, ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a user without the right to; root, who may read all, sees it as well."""
    for name in parts(sample):
        (tmp_path / name).write_bytes(ground.files[name])
    path, true_open = tmp_path / sample, io.open

    def no_open(file: Any, *args: Any, **options: Any) -> Any:
        if isinstance(file, (str, Path)) and Path(file).name == sample:
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return true_open(file, *args, **options)

    path.chmod(0)
    true_open_at = os.open

    def no_open_at(file: Any, *args: Any, **options: Any) -> int:
        if Path(os.fsdecode(file)).name == sample:
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return true_open_at(file, *args, **options)

    monkeypatch.setattr("builtins.open", no_open)
    monkeypatch.setattr("io.open", no_open)
    monkeypatch.setattr("os.open", no_open_at)
    if sample == "hdf5.h5":
        monkeypatch.setattr("h5py.File", no_open)
    with pytest.raises(RefusedRecordError, match="Permission denied") as caught:
        read(tmp_path / header_of(sample), hints=TOLD)
    assert caught.value.reason == "unreadable"


def test_number_of_kinds() -> None:
    names = [str(kind) for kind in KINDS]
    assert len(KINDS) >= 100
    assert len(set(names)) == len(names)
    print(f"\n{len(KINDS)} kinds of malformed input")
    for name, count in Counter(kind.format for kind in KINDS).items():
        print(f"{count:5} {name}")
