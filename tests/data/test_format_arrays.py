"""Formats without a vendor: NumPy, HDF5 and tables of text; what each says, what is to be told, what is refused."""

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ecgjepa.data.formats.hints import Hints
from ecgjepa.data.readers import CODE15_LEADS, count_records, read
from ecgjepa.leads import LEADS_8, LEADS_12
from tests.data.archives import smooth_signal, write_code15
from tests.data.test_formats import refusal

RATE_HZ = 400.0
MV = Hints(sampling_rate_hz=RATE_HZ, unit="mV")


def named(*leads: str, unit: str = "mV", gain_per_mv: float | None = None) -> Hints:
    return Hints(RATE_HZ, leads, unit, gain_per_mv)


def signal(leads: int = 8, samples: int = 1000, seed: int = 0) -> np.ndarray:
    """(L, S) in mV."""
    return smooth_signal(seed, samples, leads).T


def saved(path: Path, values: np.ndarray, **keys: Any) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **{"signal": values} | keys)
    else:
        np.save(path, values)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_axes_are_told_apart_by_the_number_of_leads(tmp_path: Path, suffix: str) -> None:
    expected = signal().astype(np.float32)
    for values in (signal(), signal().T, np.asfortranarray(signal()), signal().astype(">f8")):
        recording = read(saved(tmp_path / f"a{suffix}", values), hints=named(*LEADS_8))
        np.testing.assert_array_equal(recording.signal_mv, expected)
        assert recording.leads == LEADS_8
    twelve = saved(tmp_path / f"twelve{suffix}", signal(12).T)
    assert read(twelve, hints=MV).leads == LEADS_12  # the usual order
    assert read(twelve, hints=named(*reversed(LEADS_12))).leads == LEADS_12[::-1]
    assert refusal(tmp_path / f"a{suffix}", hints=MV).reason == "unknown_leads"
    assert refusal(tmp_path / f"a{suffix}", hints=named(*LEADS_12)).reason == "malformed"


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_unit_and_rate_are_never_guessed(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"a{suffix}", (signal() * 200).round().astype(np.int16))
    assert refusal(path).reason == "unknown_sampling_rate"
    assert refusal(path, hints=Hints(RATE_HZ, LEADS_8)).reason == "unknown_unit"
    assert refusal(path, hints=Hints(RATE_HZ, LEADS_8, "adc")).reason == "uncalibrated"
    recording = read(path, hints=named(*LEADS_8, unit="adc", gain_per_mv=200.0))
    np.testing.assert_allclose(recording.signal_mv, signal(), atol=0.003)
    np.testing.assert_allclose(read(path, hints=named(*LEADS_8, unit="uV")).signal_mv, signal() / 5, atol=1e-3)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_many_records_in_one_array(tmp_path: Path, suffix: str) -> None:
    records = np.stack([signal(seed=k) for k in range(3)])
    path = saved(tmp_path / f"a{suffix}", records)
    assert count_records(path) == 3
    for row in range(3):
        recording = read(path, row, hints=named(*LEADS_8))
        np.testing.assert_array_equal(recording.signal_mv, records[row].astype(np.float32))
        assert recording.name == f"a[{row}]"
    assert refusal(path, hints=named(*LEADS_8)).reason == "malformed"
    assert refusal(path, 3, named(*LEADS_8)).reason == refusal(path, -1, named(*LEADS_8)).reason == "unreadable"
    saved(path, records[::-1].copy())  # another file of the same name is another file
    np.testing.assert_array_equal(read(path, 0, hints=named(*LEADS_8)).signal_mv, records[2].astype(np.float32))


def test_keys_of_npz(tmp_path: Path) -> None:
    words: dict[str, Any] = {"sampling_rate_hz": 400, "leads": "I II V1 V2 V3 V4 V5 V6", "unit": np.array(["mV"])}
    recording = read(saved(tmp_path / "a.npz", signal(), **words))
    assert (recording.leads, recording.sampling_rate_hz) == (LEADS_8, RATE_HZ)
    for change in (
        {"sampling_rate_hz": "fast"},
        {"sampling_rate_hz": [1, 2]},
        {"unit": ["mV", "mV"]},
        {"leads": ["I", ""]},
    ):
        assert refusal(saved(tmp_path / "b.npz", signal(), **words | change)).reason == "malformed"
    assert refusal(saved(tmp_path / "b.npz", signal(), **words | {"unit": "mmHg"})).reason == "unknown_unit"
    np.savez(tmp_path / "c.npz", weights=np.zeros(3))
    assert refusal(tmp_path / "c.npz").reason == "not_an_ecg"


@pytest.mark.parametrize(
    "values",
    [np.zeros(5000), np.zeros((2, 3, 4, 5)), np.zeros((12, 9), complex), np.full((12, 9), "a"), np.zeros(3, "f4,f4")],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_that_are_no_ecg(tmp_path: Path, suffix: str, values: np.ndarray) -> None:
    assert refusal(saved(tmp_path / f"a{suffix}", values), hints=MV).reason == "not_an_ecg"


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_nothing_is_unpickled(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"a{suffix}", np.array([[{}] * 12] * 9, dtype=object))
    assert refusal(path, hints=MV).reason == "not_an_ecg"


@pytest.mark.parametrize("name", ["tracings", "signal", "ecg"])
def test_hdf5_with_attributes(tmp_path: Path, name: str) -> None:
    records = np.stack([signal(seed=k).T for k in range(3)])
    words: dict[str, Any] = {"sampling_rate_hz": 400, "leads": [lead.encode() for lead in LEADS_8], "unit": "mV"}
    for k, (values, row) in enumerate([(records, 2), (records.swapaxes(1, 2), 2), (records[2], None)]):
        path = tmp_path / f"{k}.h5"
        with h5py.File(path, "w") as file:
            data = file.create_dataset(name, data=values)
            (file if k else data).attrs.update(words)
        recording = read(path, row)
        np.testing.assert_array_equal(recording.signal_mv, signal(seed=2).astype(np.float32))
        assert (recording.leads, recording.sampling_rate_hz) == (LEADS_8, RATE_HZ)
        assert count_records(path) == (None if row is None else 3)
    with h5py.File(tmp_path / "2.h5", "r+"):
        pass  # a file of one record is not kept open
    assert refusal(tmp_path / "0.h5").reason == "malformed"  # which of three?
    assert refusal(tmp_path / "2.h5", 0).reason == "malformed"


def test_hdf5_that_says_nothing_must_be_told(tmp_path: Path) -> None:
    path = write_code15(tmp_path) / "exams_part0.hdf5"
    assert count_records(path) == 5
    assert read(path, 0).leads == CODE15_LEADS
    assert read(path, 0, hints=Hints(sampling_rate_hz=500.0)).sampling_rate_hz == 500.0
    path = shutil.copy(path, tmp_path / "other.hdf5")  # the first is still open, for its next row
    with h5py.File(path, "r+") as file:
        del file["exam_id"]  # no longer CODE-15%: its test set is in another unit
    assert refusal(path, 0).reason == "unknown_sampling_rate"
    assert refusal(path, 0, Hints(sampling_rate_hz=RATE_HZ)).reason == "unknown_unit"
    assert read(path, 0, hints=MV).leads == LEADS_12


def test_hdf5_does_not_lead_to_other_files(tmp_path: Path) -> None:
    np.zeros((2, 4096, 12), np.float32).tofile(tmp_path / "raw")
    inner = write_code15(tmp_path / "inner") / "exams_part0.hdf5"
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["ecg"] = h5py.ExternalLink(str(inner), "tracings")
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file.create_dataset("ecg", (2, 4096, 12), "f4", external=[(str(tmp_path / "raw"), 0, h5py.h5f.UNLIMITED)])
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((4, 4096, 12), "f4")
        layout[:] = h5py.VirtualSource(str(inner), "tracings", (4, 4096, 12))
        file.create_virtual_dataset("ecg", layout)
    with h5py.File(tmp_path / "group.h5", "w") as file:
        file.create_group("ecg")
    for name in ("link", "raw", "virtual", "group"):
        assert refusal(tmp_path / f"{name}.h5", 0, MV).reason == "malformed"


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_tables_name_leads_units_and_rate(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [(k / 400, 0.5 + k, -100.0 * k) for k in range(9)]
    for separator in ",;\t":
        lines = [separator.join(map(str, row)) for row in rows]
        for heading in ("time,I [mV],ECG V1 (uV)", "\ufefft,I (mV),V1 [µV]", '"time_s" , "I [mV]","V1 [microvolts]"'):
            recording = read(table(path, "\n".join([heading.replace(",", separator), *lines]) + "\n"))
            assert recording.sampling_rate_hz == 400.0
            np.testing.assert_allclose(recording.signal_mv, [[row[1] for row in rows], [row[2] / 1000 for row in rows]])
    body = "I,note,V1\n" + "".join(f"{row[1]},7,{row[2]}\n" for row in rows)
    told = read(table(path, f"# an ECG\n# sampling_rate_hz: 400\n#unit = uV\n\n{body}"))
    assert (told.leads, told.sampling_rate_hz) == (("I", "V1"), 400.0)  # `note` is no lead
    np.testing.assert_array_equal(read(table(path, body), hints=named("I", "V1", unit="uV")).signal_mv, told.signal_mv)
    assert refusal(path).reason == "unknown_sampling_rate"
    assert refusal(path, hints=Hints(RATE_HZ)).reason == "unknown_unit"


def test_empty_cells_are_not_samples(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", "I,II\r\n1,2\r\n,3\r\nNaN,\r\n4,5\r\n")
    np.testing.assert_array_equal(
        read(path, hints=MV).signal_mv, np.array([[1, np.nan, np.nan, 4], [2, 3, np.nan, 5]], np.float32)
    )


@pytest.mark.parametrize("rate_hz", [128.0, 250.0, 257.0, 360.0, 499.8, 500.0, 1000.0])
@pytest.mark.parametrize("decimals", [3, 4, 9])
def test_rate_of_a_rounded_time_column(tmp_path: Path, rate_hz: float, decimals: int) -> None:
    lines = [f"{k / rate_hz:.{decimals}f},0.1" for k in range(5000)]
    recording = read(table(tmp_path / "a.csv", "time,I [mV]\n" + "\n".join(lines) + "\n"))
    assert recording.sampling_rate_hz == pytest.approx(rate_hz, rel=1e-4)
    assert recording.sampling_rate_hz == rate_hz or rate_hz == 499.8
    del lines[2000]
    error = refusal(table(tmp_path / "a.csv", "time,I [mV]\n" + "\n".join(lines) + "\n"))
    assert error.reason == "malformed"
    assert "after row 2000" in error.detail


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name,age\nx,3\n", "not_an_ecg"), ("0.1,0.2\n0.3,0.4\n", "not_an_ecg"), ("-aVR,V7\n1,2\n", "not_an_ecg"),
        ("# sampling_rate_hz: 500\n", "not_an_ecg"), ("I,II\n", "no_signals"), ("I,II\n1,2\n3\n", "malformed"),
        ("I,II\n1,2,3\n4,5,6\n", "malformed"), ("I,II\n1,2\n3,4,5\n", "malformed"), ("I,II\n1,high\n", "malformed"),
        ("I;II\n1,5;2,5\n", "malformed"), ("# fs: fast\nI\n1\n", "malformed"), ("time,I\n0,1\n0,2\n", "malformed"),
        ("time,I\n0,1\n,2\n", "malformed"), ("time,I\n0,1\n", "malformed"), ("I [mmHg]\n1\n2\n", "unknown_unit"),
        ("# fs: 500\ntime_ms,I\n0,1\n4,2\n8,3\n", "malformed"), ("time_ms,I\n0,1\n4,2\n8,3\n", "contradiction"),
    ],
)  # fmt: skip
def test_tables_that_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    unit = None if "mmHg" in text else "mV"
    assert refusal(table(tmp_path / "a.csv", text), hints=Hints(sampling_rate_hz=RATE_HZ, unit=unit)).reason == reason


@pytest.mark.parametrize("columns", [1, 2])
def test_empty_lines_of_a_table_are_gaps(tmp_path: Path, columns: int) -> None:
    lines = ["0.5" if columns == 1 else "0.5,0.25", "" if columns == 1 else ","] * 500
    names = ",".join(LEADS_8[:columns])
    (tmp_path / "a.csv").write_text("\n".join([f"# unit: mV\n{names}", *lines, lines[0]]) + "\n\n")
    recording = read(tmp_path / "a.csv", hints=Hints(sampling_rate_hz=RATE_HZ))
    assert recording.signal_mv.shape == (columns, 1001)
    np.testing.assert_array_equal(np.isnan(recording.signal_mv), [np.arange(1001) % 2 == 1] * columns)


def test_hints_take_any_list_of_leads_and_no_text() -> None:
    assert Hints(leads=["I", "V1"]) == Hints(leads=("I", "V1"))
    assert hash(Hints(leads=["I", "V1"]))
    with pytest.raises(ValueError, match="a list of names, found the text 'V1'"):
        Hints(leads="V1")
