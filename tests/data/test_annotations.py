"""Waves in annotation files: what is written is read again, what is none is refused by name; LUDB's layout."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import wfdb

from ecgjepa.data.formats.annotations import Wave, read_waves, write_waves
from ecgjepa.data.listings.datasets import DatasetError, list_records
from ecgjepa.data.listings.labels import read_header_notes
from ecgjepa.data.prepare import prepare
from ecgjepa.data.simulated.population import synthesize
from ecgjepa.data.simulated.waves import true_waves
from ecgjepa.data.synthetic import write_ludb_archive
from ecgjepa.errors import RefusedRecordError
from ecgjepa.leads import LEADS_12

WAVES = [Wave("P", 10, 20, 29), Wave("QRS", 40, 45, 60), Wave("T", 61, 90, 3000)]
SEED = 3


def write(folder: Path, samples: list[int], symbols: list[str]) -> Path:
    wfdb.wrann("1", "avl", np.array(samples), symbols, write_dir=str(folder))
    return folder / "1.hea"


def test_waves_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_waves(tmp_path / "1.v1", WAVES)
    assert read_waves(tmp_path / "1.hea", "V1") == read_waves(tmp_path / "1", "V1") == WAVES
    found = wfdb.rdann(str(tmp_path / "1"), "v1")
    assert (found.symbol, found.sample[:3].tolist()) == (list("(p)(N)(t)"), [10, 20, 29])
    assert [file.name for file in tmp_path.iterdir()] == ["1.v1"]


@pytest.mark.parametrize(
    ("symbols", "samples", "message"),
    [
        ("(N)(t", [1, 2, 3, 4, 5], r"1, lead aVL: '\(t' at sample 4, expected a wave such as '\(N\)' \[malformed\]"),
        ("(NN)", [1, 2, 3, 4], r"'\(NN' at sample 1"),
        ("N)", [1, 2], r"'N\)' at sample 1"),
        ("(V)", [1, 2, 3], r"symbol 'V', expected \( p N t \)"),
        ("(N)(t)", [1, 2, 9, 9, 12, 20], "a T from 9 over 12 to 20 after 9"),
    ],
)
def test_what_is_no_wave_is_refused(tmp_path: Path, symbols: str, samples: list[int], message: str) -> None:
    header = write(tmp_path, samples, list(symbols))
    with pytest.raises(RefusedRecordError, match=message):
        read_waves(header, "aVL")


def test_an_absent_or_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedRecordError, match=r"lead V2: no annotation file 1.v2 \[file_absent\]"):
        read_waves(tmp_path / "1.hea", "V2")
    for length in (1, 7, 40, 101):
        (tmp_path / "1.v2").write_bytes(np.random.default_rng(length).bytes(length))
        with pytest.raises(RefusedRecordError, match=r"lead V2: .*(unreadable|malformed)"):
            read_waves(tmp_path / "1.hea", "V2")


def test_true_waves_lie_where_the_signal_is() -> None:
    seen = set()
    for index in range(30):
        ecg = synthesize(SEED, index)
        waves = true_waves(ecg)
        assert all(0 <= w.onset <= w.peak <= w.offset < 5000 for w in waves)
        assert all(before.offset < after.onset for before, after in itertools.pairwise(waves))
        kinds = {kind: [wave for wave in waves if wave.kind == kind] for kind in ("P", "QRS", "T")}
        assert bool(kinds["P"]) == (ecg.patient.rhythm == "sinus")
        assert abs(len(kinds["QRS"]) - len(ecg.r_times_s)) <= 2
        for wave in kinds["QRS"]:
            assert np.abs(ecg.r_times_s - wave.peak / 500).min() < 0.06
            assert 0.05 < (wave.offset - wave.onset) / 500 < 0.25
        # Where QRS is marked, the leads together move faster than elsewhere, noise and all.
        slope = np.abs(np.diff(ecg.signal_mv, axis=1)).sum(axis=0)
        marked = np.zeros(4999, dtype=bool)
        for wave in kinds["QRS"]:
            marked[wave.onset : wave.offset] = True
        assert slope[marked].mean() > 2 * np.median(slope[~marked])
        seen.add(ecg.patient.rhythm)
    assert seen == {"sinus", "fibrillation"}


def test_ludb_layout(tmp_path: Path) -> None:
    table = write_ludb_archive(tmp_path / "ludb", 11, SEED)
    assert sorted(file.suffix for file in (tmp_path / "ludb/data").glob("1.*")) == sorted(
        [".dat", ".hea", *(f".{lead.lower()}" for lead in LEADS_12)]
    )
    listing = list_records("ludb", tmp_path / "ludb")
    assert listing.records["record"].tolist() == [str(number) for number in range(1, 12)]  # 2 before 10
    store = prepare("ludb", tmp_path / "ludb", tmp_path / "store", workers=1, progress=False)
    records = store.records
    assert records["patient"].tolist() == records["record"].tolist()
    assert records["age"].tolist() == table["Age"].tolist()
    assert records["sex"].tolist() == [{"F": "female", "M": "male"}[sex] for sex in table["Sex"]]
    assert records["labels_rhythm"].tolist() == [[rhythm] for rhythm in table["Rhythms"]]
    assert records["split"].isna().all()
    with pytest.raises(DatasetError, match="ludb: no header in"):
        list_records("ludb", tmp_path)


def test_the_comments_of_ludb() -> None:
    notes = read_header_notes(["<age>: 51", "<sex>: F", "<diagnoses>:", "Rhythm: Sinus bradycardia.", "Scar."])
    assert (notes.age, notes.sex, notes.codes, notes.rhythm) == (51.0, "female", (), "Sinus bradycardia")
    assert read_header_notes(["Age: 3"]).rhythm is None
