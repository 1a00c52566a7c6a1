"""The online probe: what it learns from, what it never reads, what it leaves untouched, what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ecgjepa.data.store import DESCRIPTION, RECORDS, Store
from ecgjepa.evaluate.metrics import auroc, macro
from ecgjepa.evaluate.online_probe import C_GRID, OnlineProbe, choose_level
from ecgjepa.evaluate.readouts import LinearProbe
from ecgjepa.model.encoder import Encoder
from ecgjepa.signal import SignalContract
from tests.data.stores import write_store
from tests.evaluate.fakes import CONTRACT, MODEL, LeadEncoder

CLASSES = ["CD", "MI", "NORM"]
SPLITS = np.array(["train", "train", "train", "validation", "test"], dtype=object)


def labelled_store(folder: Path, records: int = 400, levels: dict[str, list[str]] | None = None) -> Store:
    """Lead I tells the three classes (with noise), lead II is noise; 3/5 train, 1/5 validation."""
    rng = np.random.default_rng(0)
    labels_NK = rng.random((records, 3)) < [0.2, 0.35, 0.5]
    signal_mv = rng.standard_normal((records, 2, CONTRACT.samples))
    signal_mv[:, 0, :3] += 1.5 * labels_NK
    write_store(folder, records, contract=CONTRACT, signals_uv=np.round(1000 * signal_mv).astype(np.int16))
    names = [[name for name, is_it in zip(CLASSES, row, strict=True) if is_it] for row in labels_NK]
    return rewritten(
        folder,
        levels or {"superdiagnostic": CLASSES},
        split=SPLITS[np.arange(records) % 5],
        labels_superdiagnostic=names,
    )


def rewritten(folder: Path, levels: dict[str, list[str]] | None = None, **columns: Any) -> Store:
    """The store of a folder with some columns of its table replaced."""
    table = pd.read_parquet(folder / RECORDS).assign(**columns)
    table.to_parquet(folder / RECORDS, index=False)
    if levels is not None:
        description = json.loads((folder / DESCRIPTION).read_text())
        (folder / DESCRIPTION).write_text(json.dumps(description | {"levels": levels}))
    return Store.open(folder)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return labelled_store(tmp_path / "ecgs")


def test_the_number_is_that_of_a_linear_probe_on_validation(store: Store) -> None:
    probe = OnlineProbe(store)
    found = probe.measure(LeadEncoder("I"))
    assert set(found) == {"probe_auc", "probe_c"}
    assert found["probe_c"] in C_GRID
    splits = store.records["split"].to_numpy()
    labels_NK = np.array([[name in names for name in CLASSES] for names in store.records["labels_superdiagnostic"]])
    features_ND = store.signals_mv(np.arange(len(store)))[:, 0]
    train, validation = splits == "train", splits == "validation"
    scores = []
    for c in C_GRID:
        fit = LinearProbe("multilabel", (c,)).fit(
            features_ND[train], labels_NK[train], features_ND[validation], labels_NK[validation]
        )
        scores.append(macro(auroc(labels_NK[validation], fit.predict_proba(features_ND[validation])))[0])
    assert found["probe_auc"] == pytest.approx(max(scores), abs=1e-9)
    assert found["probe_auc"] > 0.8
    assert probe.measure(LeadEncoder("II"))["probe_auc"] < 0.65


def test_the_test_split_is_never_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    test = np.flatnonzero(store.records["split"] == "test")
    before = OnlineProbe(store).measure(LeadEncoder("I"))
    labels = list(store.records["labels_superdiagnostic"])
    for row in test:
        labels[row] = ["not a class of any level"]
    poisoned = rewritten(store.path, labels_superdiagnostic=labels)
    read: list[int] = []
    signals_mv = Store.signals_mv

    def spied(self: Store, rows: np.ndarray) -> np.ndarray:
        read.extend(np.asarray(rows).tolist())
        return signals_mv(self, rows)

    monkeypatch.setattr(Store, "signals_mv", spied)
    assert OnlineProbe(poisoned).measure(LeadEncoder("I")) == before
    assert len(read) == len(set(read)) == 320
    assert not set(read) & set(test.tolist())


def test_the_records_are_a_random_part_and_the_same_for_a_seed(store: Store) -> None:
    probe = OnlineProbe(store, train_records=50, validation_records=30)
    assert (len(probe.train_rows), len(probe.validation_rows)) == (50, 30)
    splits = store.records["split"].to_numpy()
    assert set(splits[probe.train_rows]) == {"train"}
    assert set(splits[probe.validation_rows]) == {"validation"}
    assert len(set(probe.train_rows)) == 50
    assert np.array_equal(probe.train_rows, OnlineProbe(store, train_records=50).train_rows)
    assert not np.array_equal(probe.train_rows, OnlineProbe(store, train_records=50, seed=1).train_rows)
    everything = OnlineProbe(store)
    assert (len(everything.train_rows), len(everything.validation_rows)) == (240, 80)


def test_records_without_labels_take_no_part(store: Store) -> None:
    labels = list(store.records["labels_superdiagnostic"])
    labels[0] = None
    probe = OnlineProbe(rewritten(store.path, labels_superdiagnostic=labels))
    assert len(probe.train_rows) == 239
    assert 0 not in probe.train_rows


def test_chance_and_encoder_are_left_as_they_were(store: Store) -> None:
    encoder = Encoder(MODEL, CONTRACT)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    places = [weight.data_ptr() for weight in encoder.parameters()]
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    OnlineProbe(store).measure(encoder)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert encoder.training
    assert [weight.data_ptr() for weight in encoder.parameters()] == places
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    encoder.forward_features(torch.zeros(1, 2, CONTRACT.samples)).sum().backward()
    assert encoder.patch_embed.bias.grad is not None


def test_features_that_are_all_the_same_score_a_half(store: Store) -> None:
    class Constant(LeadEncoder):
        def forward(self, signal_mv_BLS: torch.Tensor, leads: None = None) -> torch.Tensor:
            return torch.ones_like(signal_mv_BLS[:, 0])

    assert OnlineProbe(store).measure(Constant("I"))["probe_auc"] == 0.5


def test_the_level(store: Store) -> None:
    assert choose_level(store) == "superdiagnostic"
    labels = store.records["labels_superdiagnostic"]
    levels = {"many": CLASSES, "one": ["NORM"], "few": CLASSES[:2], "described only": ["a", "b"]}
    columns = {f"labels_{name}": list(labels) for name in ("many", "one")}
    columns["labels_few"] = [[name for name in names if name != "NORM"] for names in labels]
    several = rewritten(store.path, levels, **columns)
    assert choose_level(several) == OnlineProbe(several).level == "few"
    probe = OnlineProbe(several, level="many")
    assert (probe.level, probe.classes) == ("many", tuple(CLASSES))
    with pytest.raises(ValueError, match=r"no labels of level 'rhythm', found many \(3 classes\), one \(1 classes\)"):
        choose_level(several, "rhythm")
    with pytest.raises(ValueError, match="no labels of level 'described only'"):
        OnlineProbe(several, level="described only")
    with pytest.raises(ValueError, match="no label level of two or more classes, found none"):
        OnlineProbe(rewritten(store.path, {}))


def test_what_it_refuses(store: Store) -> None:
    splits, labels = store.records["split"], list(store.records["labels_superdiagnostic"])
    with pytest.raises(ValueError, match="expected at least 2"):
        OnlineProbe(store, train_records=1)
    with pytest.raises(ValueError, match="has no record in validation with labels of level 'superdiagnostic'"):
        OnlineProbe(rewritten(store.path, split=splits.replace("validation", "train")))
    rewritten(store.path, split=splits)
    with pytest.raises(ValueError, match=r"no class of level 'superdiagnostic'.* among 240 of train and 80 of valid"):
        OnlineProbe(rewritten(store.path, labels_superdiagnostic=[["NORM"]] * len(store)))
    labels[5] = ["AFIB"]
    with pytest.raises(ValueError, match="ecgs0005 has 'AFIB' at level 'superdiagnostic', expected some of"):
        OnlineProbe(rewritten(store.path, labels_superdiagnostic=labels))


def test_encoders_it_refuses(store: Store) -> None:
    probe = OnlineProbe(store)
    other = SignalContract(leads=("I", "V1"), sampling_rate_hz=10, seconds=1)
    with pytest.raises(ValueError, match="contract: the store has leads"):
        probe.measure(LeadEncoder("V1", other))
    with pytest.raises(ValueError, match=r"weights are torch.bfloat16, expected torch.float32"):
        probe.measure(Encoder(MODEL, CONTRACT).bfloat16())
    encoder = Encoder(MODEL, CONTRACT)
    torch.nn.init.constant_(encoder.norm.bias, float("nan"))
    with pytest.raises(ValueError, match="320 of 320 records have features that are not finite"):
        probe.measure(encoder)
