"""Files -> one table: every good file is in it, every broken one is named; interrupted or not, it is the same table."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from filelock import FileLock

from ecgjepa.checkpoint import save_model
from ecgjepa.cli import main
from ecgjepa.config import ModelConfig
from ecgjepa.data.readers import read
from ecgjepa.embed import embedder, pipeline
from ecgjepa.embed.pipeline import embed_files
from ecgjepa.embed.table import read_embeddings
from ecgjepa.leads import LEADS_12
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.inference import accelerate
from ecgjepa.signal import SignalContract
from tests.data.archives import smooth_signal, write_wfdb
from tests.embed.conftest import BROKEN, GOOD


def quiet(encoder: Encoder, *paths: Path | str, out: Path, **options):  # type: ignore[no-untyped-def]
    return embed_files(encoder, paths, out, **{"progress": False, "batch_size": 4, **options})


def test_every_good_file_is_there_and_every_broken_one_is_named(
    encoder: Encoder, archive: Path, tmp_path: Path
) -> None:
    outcome = quiet(encoder, archive, out=tmp_path / "e.parquet")
    rows, embeddings_RD = read_embeddings(tmp_path / "e.parquet")
    assert sorted(rows["record"]) == sorted(GOOD)
    assert {record: reason for record, _, _, reason, _ in outcome.failed} == BROKEN
    failed = pd.read_csv(tmp_path / "e.parquet.failed.csv").set_index("record")
    assert failed["reason"].to_dict() == BROKEN
    assert failed["detail"].str.len().min() > 10
    for (_, row), embedding in zip(rows.iterrows(), embeddings_RD, strict=True):
        recording = read(Path(row["path"]))
        expected = encoder.embed(recording.signal_mv, sampling_rate_hz=500, leads=recording.leads)
        np.testing.assert_allclose(embedding, expected, atol=1e-6)
        assert (row["window"], row["start_s"], row["seconds"], len(row["leads"])) == (0, 0.0, 10.0, 8)
    assert list(rows.loc[rows["record"] == "b/long", "changes"].iloc[0]) == ["cropped", "resampled"]
    assert outcome.ignored == {".txt": 1}
    assert not (tmp_path / "e.parquet.parts").exists()


def test_the_table_says_what_made_it(encoder: Encoder, archive: Path, tmp_path: Path) -> None:
    quiet(encoder, archive / "a", out=tmp_path / "e.parquet", source="runs/x", layer=1)
    said = json.loads(pq.read_schema(tmp_path / "e.parquet").metadata[b"ecgjepa"])
    assert said["contract"] == encoder.contract.to_dict()
    assert (said["checkpoint"], said["options"]["layer"]) == ("runs/x", 1)
    assert said["weights_sha256"] == encoder.weights_sha256()
    assert not (tmp_path / "e.parquet.failed.csv").exists()


def test_windows_all_and_mean(encoder: Encoder, archive: Path, tmp_path: Path) -> None:
    quiet(encoder, archive, out=tmp_path / "all.parquet", windows="all")
    quiet(encoder, archive, out=tmp_path / "mean.parquet", windows="mean")
    rows, embeddings_RD = read_embeddings(tmp_path / "all.parquet")
    long = (rows["record"] == "b/long").to_numpy()
    assert rows.loc[long, "start_s"].tolist() == [0.0, 10.0, 20.0]
    assert rows.loc[long, "seconds"].tolist() == [10.0, 10.0, 5.0]
    assert rows.loc[long, "window"].tolist() == [0, 1, 2]
    means, mean_RD = read_embeddings(tmp_path / "mean.parquet")
    expected = np.average(embeddings_RD[long], axis=0, weights=[50, 50, 25])
    row = int(np.flatnonzero(means["record"] == "b/long")[0])
    np.testing.assert_allclose(mean_RD[row], expected, atol=1e-6)
    assert means.loc[row, "seconds"] == 25.0
    assert pd.isna(means.loc[row, "window"])
    assert len(means) == len(GOOD)


def test_tokens(encoder: Encoder, archive: Path, tmp_path: Path) -> None:
    write_wfdb(archive / "a", "short", smooth_signal(3, 1000, leads=2))
    quiet(encoder, archive / "a", out=tmp_path / "t.parquet", tokens=True)
    rows, embeddings_RD = read_embeddings(tmp_path / "t.parquet")
    count = rows.groupby("record").size()
    assert count["good0"] == 8 * 50
    assert count["short"] == 2 * 10
    short = rows["record"] == "short"
    assert set(zip(rows["lead"][short], rows["patch"][short], strict=True)) == {
        (lead, patch) for lead in ("I", "II") for patch in range(10)
    }
    recording = read(archive / "a" / "good0.hea")
    tokens = encoder.embed(recording.signal_mv, sampling_rate_hz=500, leads=recording.leads, tokens=True)
    good = (rows["record"] == "good0").to_numpy()
    np.testing.assert_allclose(embeddings_RD[good].reshape(8, 50, 16), tokens, atol=1e-6)
    with pytest.raises(ValueError, match="a mean of windows has no tokens"):
        quiet(encoder, archive, out=tmp_path / "m.parquet", tokens=True, windows="mean")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupted_run_goes_on_and_gives_the_same_table(
    encoder: Encoder, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(pipeline, "PART_ENTRIES", 2)
    monkeypatch.setattr(embedder, "FLUSH_BATCHES", 1)
    quiet(encoder, archive, out=tmp_path / "whole.parquet", batch_size=2)
    whole, whole_RD = read_embeddings(tmp_path / "whole.parquet")

    flush, calls = embedder.Embedder.flush, []

    def stop_at_third(self, part):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) == 5:  # twice a part
            raise KeyboardInterrupt
        flush(self, part)

    with monkeypatch.context() as patch:
        patch.setattr(embedder.Embedder, "flush", stop_at_third)
        with pytest.raises(KeyboardInterrupt):
            quiet(encoder, archive, out=tmp_path / "e.parquet", workers=workers, batch_size=2)
    assert not (tmp_path / "e.parquet").exists()
    assert len(list((tmp_path / "e.parquet.parts").glob("0*.parquet"))) == 2
    with pytest.raises(FileExistsError, match="unfinished embeddings, windows was 'first', is 'all'; --overwrite"):
        quiet(encoder, archive, out=tmp_path / "e.parquet", windows="all", batch_size=2)

    parts = sorted((tmp_path / "e.parquet.parts").glob("0*.parquet"))
    parts[1].write_bytes(parts[1].read_bytes()[:99])  # what cannot be read is done again
    (tmp_path / "e.parquet.parts" / ".00000003.parquet.abc.parquet").touch()  # left by a process that was killed
    embedded = []
    monkeypatch.setattr(embedder.Embedder, "_embed", counted(embedder.Embedder._embed, embedded))
    quiet(encoder, archive, out=tmp_path / "e.parquet", workers=workers, batch_size=2)
    again, again_RD = read_embeddings(tmp_path / "e.parquet")
    pd.testing.assert_frame_equal(again, whole)
    np.testing.assert_array_equal(again_RD, whole_RD)
    assert len(embedded) < len(GOOD), "what was done is not done again"


def counted(function, into):  # type: ignore[no-untyped-def]
    def wrapper(self, windows):  # type: ignore[no-untyped-def]
        into.extend(windows)
        return function(self, windows)

    return wrapper


def test_files_that_changed_meanwhile_are_read_again(
    encoder: Encoder, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "PART_ENTRIES", 4)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.Parts, "join", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            quiet(encoder, archive, out=tmp_path / "e.parquet")
    write_wfdb(archive / "b", "flat", smooth_signal(11))
    write_wfdb(archive / "a", "extra", smooth_signal(12))
    outcome = quiet(encoder, archive, out=tmp_path / "e.parquet")
    assert sorted(read_embeddings(tmp_path / "e.parquet")[0]["record"]) == sorted([*GOOD, "b/flat", "a/extra"])
    assert {record for record, *_ in outcome.failed} == {"b/cut", "b/lost"}


def test_nothing_is_overwritten_without_being_told(encoder: Encoder, archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.parquet"
    quiet(encoder, archive / "a", out=out)
    with pytest.raises(FileExistsError, match="exists already"):
        quiet(encoder, archive, out=out)
    quiet(encoder, archive, out=out, overwrite=True)
    assert len(read_embeddings(out)[0]) == len(GOOD)
    with pytest.raises(ValueError, match=r"ends in \.parquet"):
        quiet(encoder, archive, out=tmp_path / "e.csv")
    with pytest.raises(ValueError, match="layer: expected 1 to 2, found 3"):
        quiet(encoder, archive, out=tmp_path / "l.parquet", layer=3)


def test_an_encoder_that_gives_nan_is_named(encoder: Encoder, archive: Path, tmp_path: Path) -> None:
    broken = Encoder(encoder.config, encoder.contract)
    with torch.no_grad():
        broken.norm.weight.fill_(torch.nan)
    outcome = quiet(broken, archive / "a", out=tmp_path / "e.parquet")
    assert {reason for *_, reason, _ in outcome.failed} == {"not_finite_embedding"}
    assert (outcome.rows, (tmp_path / "e.parquet").exists()) == (0, False)


@pytest.fixture
def ckpt(encoder: Encoder, tmp_path: Path) -> Path:
    save_model(tmp_path / "model", {"teacher": encoder})
    return tmp_path / "model"


def test_command(ckpt: Path, archive: Path, tmp_path: Path, encoder: Encoder) -> None:
    def run(*arguments: object):  # type: ignore[no-untyped-def]
        return CliRunner().invoke(main, ["embed", str(ckpt), *map(str, arguments), "--device", "cpu"])

    out = tmp_path / "e.parquet"
    result = run(archive, "--out", out)
    assert result.exit_code == 3, result.output
    assert f"{out}: 6 rows from 6 of 9 ECGs" in result.output
    assert "ignored: 1 .txt" in result.output
    assert "b/flat: every lead is constant, expected an ECG [flat]" in result.output
    assert "3 failed" in result.output
    assert run(archive / "a", "--out", tmp_path / "a.parquet").exit_code == 0
    assert run(archive / "b" / "cut.hea", "--out", tmp_path / "b.parquet").exit_code == 1
    assert not (tmp_path / "b.parquet").exists()
    again = run(archive, "--out", out)
    assert again.exit_code == 1
    assert "exists already" in again.output
    wrong = run(archive, "--out", tmp_path / "c.parquet", "--unit", "mmHg")
    assert wrong.exit_code == 1
    assert "mmHg" in wrong.output


@pytest.mark.real_data
def test_every_real_record_is_embedded_or_named(encoder: Encoder, real_data_dir: Path, tmp_path: Path) -> None:
    folders = [real_data_dir / name for name in ("shaoxing", "code15", "cpsc2018", "challenge2020")]
    outcome = quiet(encoder, *folders, out=tmp_path / "e.parquet", windows="all")
    rows, embeddings_RD = read_embeddings(tmp_path / "e.parquet")
    assert {record: reason for record, _, _, reason, _ in outcome.failed} == {
        "exams": "not_an_ecg",  # the table of CODE-15%
        "exams_part0[10]": "flat",  # its last row is empty
    }
    assert outcome.entries - 2 == rows["record"].nunique() == 63
    assert np.isfinite(embeddings_RD).all()
    padded = rows[rows["record"].str.startswith("exams_part0") & (rows["seconds"] < 10)]
    assert len(padded) == 6, "exams of 7 s, padded at both ends"
    assert padded["seconds"].between(7.2, 7.4).all()
    assert rows.loc[rows["path"].str.endswith("S0001.hea"), "window"].tolist() == [0, 1, 2, 3]


def test_a_table_of_before_does_not_stay_when_nothing_could_be_embedded(
    encoder: Encoder, archive: Path, tmp_path: Path
) -> None:
    out, own = tmp_path / "e.parquet", tmp_path / "e.failed.csv"
    own.write_text("mine")
    quiet(encoder, archive, out=out)
    quiet(encoder, archive / "b" / "cut.hea", out=out, overwrite=True)
    assert not out.exists()
    assert own.read_text() == "mine"
    quiet(encoder, archive / "a", out=out)
    assert not (tmp_path / "e.parquet.failed.csv").exists()


def test_own_lists_of_failures_are_no_inputs(encoder: Encoder, archive: Path) -> None:
    for _ in range(2):
        outcome = quiet(encoder, archive, out=archive / "e.parquet", overwrite=True)
        assert {record for record, *_ in outcome.failed} == set(BROKEN)


@pytest.mark.parametrize("windows", ["mena", "last", ""])
@pytest.mark.usefixtures("unchecked")
def test_unknown_windows_are_refused(encoder: Encoder, archive: Path, tmp_path: Path, windows: str) -> None:
    with pytest.raises(ValueError, match="windows: expected one of"):
        quiet(encoder, archive, out=tmp_path / "e.parquet", windows=windows)


def test_gaps_that_leave_no_whole_patch_are_a_failure_and_not_the_end(archive: Path, tmp_path: Path) -> None:
    coarse = Encoder(ModelConfig(width=16, depth=1, heads=2, patch_samples=250), SignalContract())
    signal = smooth_signal(0)
    for start in (450, 985, *range(1250, 5000, 250)):  # a run of 1.02 s, and no whole second
        signal[start : start + 15] = np.nan
    np.savez(archive / "a" / "gaps.npz", signal=signal.T, sampling_rate_hz=500, leads=LEADS_12, unit="mV")
    outcome = quiet(coarse, archive / "a", out=tmp_path / "e.parquet")
    assert [(record, reason) for record, _, _, reason, _ in outcome.failed] == [("gaps", "not_finite")]
    assert outcome.rows == 5


def test_one_process_at_a_time(encoder: Encoder, archive: Path, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".e.parquet.lock"), pytest.raises(FileExistsError, match="another process is writing"):
        quiet(encoder, archive, out=tmp_path / "e.parquet")


def test_an_accelerated_encoder_is_taken_as_it_is(encoder: Encoder, archive: Path, tmp_path: Path) -> None:
    quiet(accelerate(encoder, "bf16"), archive / "a", out=tmp_path / "e.parquet", device="auto")
    said = json.loads(pq.read_schema(tmp_path / "e.parquet").metadata[b"ecgjepa"])
    assert (said["options"]["precision"], said["weights_sha256"]) == ("bf16", encoder.weights_sha256())


def test_what_stands_in_the_way_is_named(encoder: Encoder, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(FileExistsError, match="is a folder, expected a file"):
        quiet(encoder, archive, out=tmp_path / "folder.parquet", overwrite=True)
    (tmp_path / "link.parquet").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match="exists already"):
        quiet(encoder, archive, out=tmp_path / "link.parquet")
    (tmp_path / "a.parquet.parts").write_text("mine")
    with pytest.raises(FileExistsError, match="is not a folder"):
        quiet(encoder, archive, out=tmp_path / "a.parquet", overwrite=True)
    (tmp_path / "b.parquet.parts").mkdir()
    (tmp_path / "b.parquet.parts" / "mine.txt").touch()
    with pytest.raises(FileExistsError, match=r"holds mine\.txt"):
        quiet(encoder, archive, out=tmp_path / "b.parquet", overwrite=True)


def test_a_plan_without_parts_blocks_nothing(encoder: Encoder, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "e.parquet.parts").mkdir()
    (tmp_path / "e.parquet.parts" / "plan.json").write_text("{}")
    assert quiet(encoder, str(archive / "a"), out=tmp_path / "e.parquet").rows == 5


def test_names_that_are_no_text_are_embedded_too(encoder: Encoder, archive: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(b"latin\xff.npz")
    np.savez(tmp_path / "x.npz", signal=smooth_signal(1).T, sampling_rate_hz=500, leads=LEADS_12, unit="mV")
    (tmp_path / "x.npz").rename(archive / "a" / odd)
    (archive / "a" / os.fsdecode(b"broken\xfe.npz")).write_bytes(b"")
    outcome = quiet(encoder, archive / "a", out=tmp_path / "e.parquet")
    assert "latin\\udcff" in read_embeddings(tmp_path / "e.parquet")[0]["record"].tolist()
    assert [record for record, *_ in outcome.failed] == ["broken\\udcfe"]


def test_a_stopped_command_says_how_to_go_on(
    ckpt: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_embed_here", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    result = CliRunner().invoke(main, ["embed", str(ckpt), str(archive), "--out", str(tmp_path / "e.parquet")])
    assert result.exit_code == 130
    assert "the same command goes on" in result.output
