"""Synthetic archives are laid out as PTB-XL and CODE-15% are, and hold exactly the records that were made."""

import ast
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import wfdb

from ecgjepa.data.simulated.population import synthesize
from ecgjepa.data.synthetic import write_code15_archive, write_ptbxl_archive
from ecgjepa.leads import LEADS_12

SEED = 3


@pytest.fixture(scope="module")
def ptbxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ptbxl")
    write_ptbxl_archive(folder, 80, SEED)
    return folder


@pytest.fixture(scope="module")
def code15(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("code15")
    write_code15_archive(folder, 60, SEED)
    return folder


def test_ptbxl_files_are_what_wfdb_reads_within_half_a_step(ptbxl: Path) -> None:
    for index in (0, 1, 41, 79):
        record = wfdb.rdrecord(str(ptbxl / f"records500/00000/{index + 1:05d}_hr"))
        assert (record.fs, record.sig_len, record.fmt) == (500, 5000, ["16"] * 12)
        assert record.sig_name == [lead.upper() for lead in LEADS_12]
        assert record.units == ["mV"] * 12
        np.testing.assert_allclose(record.p_signal.T, synthesize(SEED, index).signal_mv, atol=0.5e-3 + 1e-12)
        digital = wfdb.rdrecord(str(ptbxl / f"records500/00000/{index + 1:05d}_hr"), physical=False)
        assert digital.checksum == digital.calc_checksum()


def test_ptbxl_folds_are_by_patient_and_hold_every_kind(ptbxl: Path) -> None:
    table = pd.read_csv(ptbxl / "ptbxl_database.csv")
    assert table.groupby("patient_id")["strat_fold"].nunique().max() == 1
    assert set(table["strat_fold"]) == set(range(1, 11))
    codes = table["scp_codes"].map(ast.literal_eval)
    for fold in (1, 9, 10):
        inside = set().union(*codes[table["strat_fold"] == fold])
        assert {"NORM", "AFIB", "CLBBB", "CRBBB", "IMI", "ASMI", "STE_", "SR"} <= inside
    # NORM and AFIB exclude each other, and everybody has exactly one rhythm.
    assert all(("SR" in c) != ("AFIB" in c) and not {"NORM", "AFIB"} <= set(c) for c in codes)


def test_ptbxl_statements_define_every_code_at_its_levels(ptbxl: Path) -> None:
    statements = pd.read_csv(ptbxl / "scp_statements.csv", index_col=0)
    used = set().union(*pd.read_csv(ptbxl / "ptbxl_database.csv")["scp_codes"].map(ast.literal_eval))
    assert used == set(statements.index)
    superclass = statements["diagnostic_class"].dropna().to_dict()
    assert superclass == {"NORM": "NORM", "IMI": "MI", "ASMI": "MI", "CRBBB": "CD", "CLBBB": "CD"}
    assert (statements[["diagnostic", "form", "rhythm"]].sum(axis=1) == 1).all()


@pytest.mark.real_data
def test_tables_have_the_columns_and_statements_of_the_real_ones(
    ptbxl: Path, code15: Path, real_data_dir: Path
) -> None:
    for ours, real in ((ptbxl, "ptbxl/ptbxl_database.csv"), (code15, "code15/exams.csv")):
        name = Path(real).name
        real_columns = pd.read_csv(real_data_dir / real, nrows=1).columns
        assert list(pd.read_csv(ours / name, nrows=1).columns) == list(real_columns)
    statements = pd.read_csv(ptbxl / "scp_statements.csv", index_col=0)
    real_statements = pd.read_csv(real_data_dir / "ptbxl/scp_statements.csv", index_col=0)
    columns = ["diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass"]
    pd.testing.assert_frame_equal(
        statements[columns], real_statements.loc[statements.index, columns], check_dtype=False
    )


def test_archives_are_the_same_bytes_again_whatever_their_number_of_records(ptbxl: Path, tmp_path: Path) -> None:
    write_ptbxl_archive(tmp_path, 30, SEED)
    files = sorted((tmp_path / "records500/00000").iterdir())
    assert len(files) == 60
    for file in files:
        assert file.read_bytes() == (ptbxl / "records500/00000" / file.name).read_bytes()
    table, longer = (pd.read_csv(folder / "ptbxl_database.csv") for folder in (tmp_path, ptbxl))
    pd.testing.assert_frame_equal(table, longer.head(30), check_dtype=False)


def test_code15_layout(code15: Path) -> None:
    exams = pd.read_csv(code15 / "exams.csv")
    with h5py.File(code15 / "exams_part0.hdf5") as file:
        tracings, exam_ids = file["tracings"][:], file["exam_id"][:]
    assert (tracings.shape, tracings.dtype, exam_ids.dtype) == ((61, 4096, 12), np.float32, np.int64)
    assert exam_ids[:-1].tolist() == exams["exam_id"].tolist()
    assert exam_ids[-1] == 0
    assert not tracings[-1].any()
    assert np.isfinite(tracings).all()
    np.testing.assert_allclose(tracings[:, :, 0] + tracings[:, :, 2], tracings[:, :, 1], atol=1e-5)
    assert set(exams["trace_file"]) == {"exams_part0.hdf5"}
    short = np.array([not tracing[0].any() for tracing in tracings[:-1]])
    assert 0.05 < short.mean() < 0.45
    for tracing in tracings[:-1][short]:
        filled = np.flatnonzero(tracing.any(axis=1))
        assert (filled[0], filled[-1]) == (581, 3514)  # as the 7 s exams of the real set
    flags = exams[["RBBB", "LBBB", "AF", "normal_ecg"]]
    assert flags.any().all()
    assert not flags[flags["normal_ecg"]].drop(columns="normal_ecg").to_numpy().any()


@pytest.mark.parametrize("write", [write_ptbxl_archive, write_code15_archive])
def test_a_directory_in_use_is_refused_unless_told_otherwise(write: Callable, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=f"{tmp_path.name} is not empty"):
        write(tmp_path, 2, SEED)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    table = write(tmp_path, 2, SEED, overwrite=True)
    assert len(table) == 2
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    with pytest.raises(ValueError, match="at least one record"):
        write(tmp_path / "new", 0, SEED)
    with pytest.raises(ValueError, match="not a directory"):
        write(tmp_path / "thesis.txt", 2, SEED)
