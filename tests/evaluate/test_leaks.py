"""The guard against leaks: the same ECG or patient is found again, whatever its name, and test records are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from ecgjepa.checkpoint import SEEN, convert, find_seen, load_model
from ecgjepa.cli import main
from ecgjepa.config import load_config
from ecgjepa.data.seen import Seen, SeenError, write_seen
from ecgjepa.data.store import Store
from ecgjepa.evaluate.leaks import LeakError, find_overlap, overlap_warnings
from ecgjepa.evaluate.targets import Targets, read_targets
from ecgjepa.signal import PUBLISHED_CONTRACT
from ecgjepa.train.pretrain import pretrain
from ecgjepa.train.sources import training_rows
from tests.data.stores import write_store
from tests.train.test_pretrain import TINY


def seen_of(folder: Path, *trained_on: tuple[Store, np.ndarray]) -> Seen:
    write_seen(folder / SEEN, trained_on)
    return Seen.read(folder / SEEN)


def targets_of(store: Store) -> Targets:
    return read_targets(store, "kind", "multilabel")


def test_training_records_are_counted_and_no_others(tmp_path: Path) -> None:
    store = write_store(tmp_path / "ecgs", 40)
    rows = np.flatnonzero(store.records["split"] == "train")
    overlap = find_overlap(store, targets_of(store), seen_of(tmp_path, (store, rows)), allow=False)
    assert overlap == {
        "known": True, "signals_compared": True, "patients_compared": True,
        "train": {"records": 30, "seen": 30, "patient_seen": 30},
        "validation": {"records": 5, "seen": 0, "patient_seen": 0},
        "test": {"records": 5, "seen": 0, "patient_seen": 0},
    }  # fmt: skip
    assert overlap_warnings(overlap) == []


def test_the_same_signal_is_found_in_another_data_set_under_another_name(tmp_path: Path) -> None:
    store = write_store(tmp_path / "ecgs", 40, seed=1)
    test = np.flatnonzero(store.records["split"] == "test")
    other = write_store(tmp_path / "challenge", 10, seed=2)
    assert find_overlap(store, targets_of(store), seen_of(tmp_path, (other, np.arange(10))), allow=False)["known"]
    signals_uv = other.signals_uv.copy()
    signals_uv[7] = store.signals_uv[test[1]]
    leaky = write_store(tmp_path / "leaky", 10, signals_uv=signals_uv)
    seen = seen_of(tmp_path, (other, np.arange(10)), (leaky, np.arange(10)))
    name = store.records["record"][test[1]]
    with pytest.raises(LeakError, match=rf"1 of 5 test records .*: {name} \(the record\)\. .*--allow-overlap"):
        find_overlap(store, targets_of(store), seen, allow=False)
    overlap = find_overlap(store, targets_of(store), seen, allow=True)
    assert overlap["test"] == {"records": 5, "seen": 1, "patient_seen": 1}
    assert "1 of 5 test records" in overlap_warnings(overlap)[0]


def test_a_patient_is_found_in_the_same_data_set_only(tmp_path: Path) -> None:
    store = write_store(tmp_path / "ecgs", 40)
    targets, train = targets_of(store), training_rows(store, load_config().data)
    seen = seen_of(tmp_path, (store, train))
    table = pq.read_table(store.path / "records.parquet").to_pandas()
    test = np.flatnonzero(table["split"] == "test")[0]
    table.loc[test, "patient"] = table.loc[train[3], "patient"]
    table.to_parquet(store.path / "records.parquet")
    with pytest.raises(LeakError, match="its patient"):
        find_overlap(Store.open(store.path), targets, seen, allow=False)
    elsewhere = replace(store, info={**store.info, "dataset": "elsewhere"})
    assert find_overlap(elsewhere, targets, seen, allow=True)["train"]["seen"] == 30  # by their signals
    overlap = find_overlap(elsewhere, targets, seen, allow=True)
    assert not overlap["patients_compared"]
    assert "not known" in overlap_warnings(overlap)[-1]
    places = (("folder", "/a"), ("folder", "/b"), ("table", "/a"))
    mine, yours, of_table = (
        replace(store, info={**store.info, "dataset": d, "source": {"layout": d, "data_dir": place}})
        for d, place in places
    )
    seen_mine = seen_of(tmp_path, (mine, train))
    for other, found in ((mine, True), (yours, False), (of_table, True)):
        assert seen_mine.among(other, train)["record"].all() == found
        assert seen_mine.among(other, train)["patient"].any() == found


def test_signals_of_another_contract_are_not_compared_and_the_reader_is_told(tmp_path: Path) -> None:
    store = write_store(tmp_path / "ecgs", 40)
    other = write_store(tmp_path / "fft", 40, contract=PUBLISHED_CONTRACT)  # the same signals, called otherwise
    overlap = find_overlap(store, targets_of(store), seen_of(tmp_path, (other, np.arange(40))), allow=False)
    assert (overlap["signals_compared"], overlap["train"]["seen"]) == (False, 0)
    assert "another signal contract" in overlap_warnings(overlap)[0]
    assert overlap_warnings(find_overlap(store, targets_of(store), None, allow=False)) == [
        "What the encoder was trained on is not known, so overlap with these records was not looked for."
    ]


def test_pieces_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = write_store(tmp_path / "ecgs", 40)
    whole = seen_of(tmp_path, (store, np.arange(40)))
    monkeypatch.setattr("ecgjepa.data.seen.PIECE", 7)
    pieces = seen_of(tmp_path, (store, np.arange(40)))
    for kind in ("signal", "record", "patient"):
        np.testing.assert_array_equal(getattr(whole, kind), getattr(pieces, kind))
    assert pieces.among(store, np.arange(40))["signal"].all()
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(SeenError, match=r"x\.parquet is not the list"):
        Seen.read(tmp_path / "x.parquet")
    with pytest.raises(SeenError, match="not the list"):
        Seen.read(store.path / "records.parquet")


def test_a_run_keeps_the_list_a_converted_model_too_and_probe_refuses(tmp_path: Path) -> None:
    store = write_store(tmp_path / "ecgs", 40)
    extra = write_store(tmp_path / "unused", 10, seed=5)
    table = pq.read_table(store.path / "records.parquet").to_pandas()
    table["labels_kind"] = [["a"] if k // 8 % 2 else ["b"] for k in range(40)]
    table.to_parquet(store.path / "records.parquet")
    overrides = {**TINY, "data.stores": [str(store.path), str(extra.path)], "training.epochs": 1}
    overrides |= {"data.weights": {"ecgs": 1.0, "unused": 0.0}}
    for name, held_out in (("clean", False), ("leaky", True)):
        config = load_config(overrides={**overrides, "data.include_held_out": held_out})
        pretrain(config, tmp_path / name, progress=False)
        convert(tmp_path / name, tmp_path / f"{name}-model")
    seen = Seen.read(tmp_path / "clean" / SEEN)
    assert seen.among(store, np.arange(40))["signal"].sum() == 30
    assert not seen.among(extra, np.arange(10))["signal"].any()  # weight 0
    for source in (tmp_path / "clean", tmp_path / "clean" / "model", tmp_path / "clean-model"):
        assert find_seen(load_model(source)) is not None
    convert(tmp_path / "clean", tmp_path / "clean-model", overwrite=True)

    def probe(model: str, *more: str) -> object:
        command = ["probe", "--ckpt", str(tmp_path / model), "--store", str(store.path), "--level", "kind"]
        return CliRunner().invoke(main, [*command, "--resamples", "10", "--out", str(tmp_path / "result"), *more])

    for model in ("leaky", "leaky-model"):
        refused = probe(model)
        assert refused.exit_code == 1
        assert "5 of 5 test records were seen in pretraining" in refused.output
    assert not (tmp_path / "result").exists()
    allowed = probe("leaky", "--allow-overlap")
    assert allowed.exit_code == 0, allowed.output
    assert "WARNING: 5 of 5 test records, or their patients, were seen" in " ".join(allowed.output.split())
    clean = probe("clean", "--overwrite")
    assert clean.exit_code == 0, clean.output
    assert "seen in pretraining" not in clean.output
