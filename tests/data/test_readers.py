"""Readers: units, headers that wfdb refuses, and every kind of broken file named, none a traceback."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import h5py
import numpy as np
import pytest

from ecgjepa.data.formats.machine import refusal_of_trouble
from ecgjepa.data.readers import CODE15_LEADS, count_records, read
from ecgjepa.errors import RefusedRecordError
from ecgjepa.leads import LEADS_12
from ecgjepa.windows import standardize
from tests.data.archives import smooth_signal, write_code15, write_wfdb


def refusal(path: Path, row: int | None = None) -> RefusedRecordError:
    with pytest.raises(RefusedRecordError) as caught:
        read(path, row)
    return caught.value


def test_wfdb_record(tmp_path: Path) -> None:
    signal = smooth_signal(0)
    recording = read(write_wfdb(tmp_path, "a", signal, comments=["Age: 53", "Dx: 426783006"]))
    np.testing.assert_allclose(recording.signal_mv, signal.T, atol=6e-4)
    assert recording.signal_mv.dtype == np.float32
    assert (recording.name, recording.leads, recording.sampling_rate_hz) == ("a", LEADS_12, 500.0)
    assert recording.comments == ("Age: 53", "Dx: 426783006")
    np.testing.assert_array_equal(read(tmp_path / "a").signal_mv, recording.signal_mv)  # without suffix


@pytest.mark.parametrize(("unit", "per_mv"), [("uV", 1e3), ("V", 1e-3), ("mV", 1.0)])
def test_units_come_from_the_header(tmp_path: Path, unit: str, per_mv: float) -> None:
    signal = smooth_signal(0)
    gains = [1000.0 / per_mv] * 12
    recording = read(write_wfdb(tmp_path, "a", signal * per_mv, units=[unit] * 12, adc_gain=gains))
    np.testing.assert_allclose(recording.signal_mv, signal.T, atol=6e-4)


def test_headers_that_wfdb_refuses_are_read(tmp_path: Path) -> None:
    header = write_wfdb(tmp_path, "E00001", smooth_signal(0))
    plain = read(header)
    text = header.read_text()
    header.write_text(text.replace("E00001 12 500 5000", "E00001.mat 12 500 5000 05-May-2020 14:50:55", 1) + "#Dx: \n")
    recording = read(header)
    np.testing.assert_array_equal(recording.signal_mv, plain.signal_mv)
    assert recording.leads == plain.leads


def failing(error: Exception) -> Callable[..., NoReturn]:
    def fail(*arguments: object, **options: object) -> NoReturn:
        raise error

    return fail


def write_one(folder: Path, name: str) -> Path:
    signal = smooth_signal(0)
    if name == "a.hea":
        write_wfdb(folder, "a", signal)
    elif name == "a.npz":
        np.savez(folder / name, signal=signal, sampling_rate_hz=500, unit="mV")
    else:
        with h5py.File(folder / name, "w") as file:
            file["ecg"] = signal
            file["ecg"].attrs.update({"fs": 500, "unit": "mV"})
    return folder / name


@pytest.mark.parametrize(
    ("name", "asked"),
    [("a.hea", "ecgjepa.data.formats.wfdb.read_common"), ("a.npz", "zipfile._EndRecData64"), ("a.h5", "h5py.File")],
)
def test_trouble_of_the_machine_is_not_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, asked: str
) -> None:
    path = write_one(tmp_path, name)
    for number in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT):
        with monkeypatch.context() as changed:
            changed.setattr(asked, failing(OSError(number, os.strerror(number))))
            found = refusal(path)
            assert (found.reason, os.strerror(number) in found.detail) == ("io_error", True)
    for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        with monkeypatch.context() as changed:
            changed.setattr(asked, failing(OSError(number, os.strerror(number))))
            with pytest.raises(OSError, match=os.strerror(number)) as caught:
                read(path)
        assert caught.value.errno == number
    with monkeypatch.context() as changed:
        changed.setattr(asked, failing(OSError(errno.EACCES, "not yours")))
        assert refusal(path).reason == "unreadable"
    try:
        raise OSError(errno.EMFILE, "of another file")
    except OSError:
        path.write_bytes(b"broken")
        assert refusal(path).reason != "io_error", "trouble that was there before is not this file's"


def test_trouble_that_hdf5_tells_in_words() -> None:
    words = "Can't synchronously read data (file read failed: errno = 5, error message = 'Input/output error')"
    assert refusal_of_trouble("a", OSError(words)) is not None
    assert refusal_of_trouble("a", OSError(words.replace("5,", "2,"))) is None


def test_a_file_of_many_that_cannot_be_counted_for_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_one(tmp_path, "a.h5")
    monkeypatch.setattr("h5py.File", failing(OSError(errno.EIO, "disk")))
    with pytest.raises(RefusedRecordError, match="io_error"):
        count_records(path)


def test_broken_files_are_named(tmp_path: Path) -> None:
    header = write_wfdb(tmp_path, "a", smooth_signal(0))
    good, samples = header.read_text(), header.with_suffix(".dat").read_bytes()

    def broken(text: str = good, data: bytes | None = samples) -> str:
        header.write_text(text)
        if data is None:
            header.with_suffix(".dat").unlink()
        else:
            header.with_suffix(".dat").write_bytes(data)
        error = refusal(header)
        assert error.record == "a"
        return error.reason

    assert broken(data=samples[:60_000]) == "unreadable"
    assert broken(data=samples[:60_001]) == "unreadable"
    assert broken(data=b"") == "unreadable"
    assert broken(data=None) == "file_absent"
    assert broken(text="") == "malformed"
    assert broken(text="\x00\x01 garbage") == "unreadable"
    assert broken(text="a 0 500 5000\n") == "no_signals"
    assert broken(text="\n".join(good.splitlines()[:5])) == "unreadable"
    assert broken(text=good.replace("/mV", "/mmHg")) == "unknown_unit"
    assert broken(text=good.replace("a.dat", "../a.dat")) == "malformed"
    assert broken(text=good.replace("12 500 5000", "12 0 5000")) == "malformed"
    assert broken(text=good.replace("12 500 5000", "12 -500 5000")) == "malformed"
    assert broken(text=good.replace("12 500 5000", "12 nan 5000")) == "malformed"
    assert broken(text=good.replace("12 500 5000", "12 500 -5000")) == "malformed"
    assert broken(text=good.replace("1000.0(0)/mV", "0/mV")) == "uncalibrated"
    header.with_suffix(".dat").unlink()
    os.mkfifo(header.with_suffix(".dat"))
    header.write_text(good)
    assert refusal(header).reason == "malformed"  # and does not wait for ever
    assert refusal(tmp_path / "none.hea").reason == "file_absent"


def test_code15_row(tmp_path: Path) -> None:
    file = write_code15(tmp_path) / "exams_part0.hdf5"
    recording = read(file, 2, "1002")
    assert (recording.name, recording.leads, recording.sampling_rate_hz) == ("1002", CODE15_LEADS, 400.0)
    np.testing.assert_array_equal(recording.signal_mv, smooth_signal(2, 4096).T.astype(np.float32))
    # 400 Hz truly: the first 4,000 of 4,096 samples are the ten seconds
    assert standardize(recording).changes == ("cropped", "resampled")


def test_another_file_of_the_same_name_is_another_file(tmp_path: Path) -> None:
    file = write_code15(tmp_path) / "exams_part0.hdf5"
    before = read(file, 0).signal_mv.copy()
    write_code15(tmp_path / "other", exams=6)
    with h5py.File(tmp_path / "other" / "exams_part0.hdf5", "r+") as other:
        other["tracings"][0] = 3.0
    (tmp_path / "other" / "exams_part0.hdf5").replace(file)
    assert not np.array_equal(read(file, 0).signal_mv, before)


def test_broken_hdf5_is_named(tmp_path: Path) -> None:
    file = write_code15(tmp_path) / "exams_part0.hdf5"
    assert refusal(file, 99).reason == "unreadable"
    cut = tmp_path / "cut.hdf5"
    cut.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert refusal(cut, 0).reason == "unreadable"
    with h5py.File(tmp_path / "other.hdf5", "w") as other:
        other["tracings"] = np.zeros((2, 4096))
    assert refusal(tmp_path / "other.hdf5", 0).reason == "malformed"
    with h5py.File(tmp_path / "without.hdf5", "w") as without:
        without["signals"] = np.zeros(3)
    assert refusal(tmp_path / "without.hdf5", 0).reason == "unreadable"


@pytest.mark.real_data
def test_every_shared_record_is_read(real_data_dir: Path) -> None:
    headers = sorted(real_data_dir.rglob("*.hea"))
    assert len(headers) >= 400
    for header in headers:
        recording = read(header)
        assert recording.signal_mv.shape[0] == 12
        assert standardize(recording).signal_mv.shape == (8, 2500)


@pytest.mark.real_data
def test_code15_of_7_s_is_refused_and_10_s_kept(real_data_dir: Path) -> None:
    outcomes = []
    for row in range(11):
        try:
            standardize(read(real_data_dir / "code15" / "exams_part0.hdf5", row))
            outcomes.append("kept")
        except RefusedRecordError as error:
            outcomes.append(error.reason)
    assert [outcomes.count(reason) for reason in ("kept", "padded", "flat")] == [4, 6, 1]
