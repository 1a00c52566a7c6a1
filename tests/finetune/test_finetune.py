"""Fine-tuning learns, chooses on validation alone, and leaves what it says it leaves."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import average_precision_score, f1_score, mean_absolute_error, roc_auc_score

from ecgjepa.checkpoint import LoadedModel
from ecgjepa.data.seen import Seen
from ecgjepa.data.store import Store
from ecgjepa.evaluate.head import Head, HeadError
from ecgjepa.evaluate.leaks import LeakError
from ecgjepa.evaluate.metrics import best_f1_thresholds
from ecgjepa.evaluate.run_files import ProbeSummary, read_json
from ecgjepa.evaluate.targets import read_regression, read_targets
from ecgjepa.filtering import apply_filter
from ecgjepa.finetune.classifier_folder import load_classifier
from ecgjepa.finetune.finetune import Outcome
from ecgjepa.finetune.predicting import predict_rows
from ecgjepa.finetune.seen import extend_seen
from tests.finetune.runs import CLASSES, CONTRACT, make_store, run, tiny


def metrics(path: Path) -> pd.DataFrame:
    return pd.read_csv(path / "metrics.csv")


def test_it_learns(finished: Outcome) -> None:
    table = metrics(finished.path)
    assert table["epoch"].tolist() == list(range(1, 13))
    assert table["loss"].iloc[-1] < 0.8 * table["loss"].iloc[0]
    classes = finished.summary["models"]["finetuned"]["classes"]
    assert np.mean([classes[name]["auc"]["value"] for name in "AB"]) > 0.8  # nothing tells C
    assert (table["seconds"] > 0).all()


def test_scores_are_those_of_the_saved_predictions(finished: Outcome) -> None:
    summary = json.loads((finished.path / "result.json").read_text(encoding="utf-8"))
    assert summary == json.loads(json.dumps(finished.summary))
    table = pd.read_parquet(finished.path / "predictions.parquet")
    assert set(table["split"]) == {"validation", "test"}
    validation, test = (table[table["split"] == split] for split in ("validation", "test"))
    found = summary["models"]["finetuned"]
    for name in CLASSES:
        truth, probability = test[f"label:{name}"], test[f"finetuned:{name}"]
        scores = found["classes"][name]
        assert scores["positives"] == truth.sum()
        assert scores["auc"]["value"] == pytest.approx(roc_auc_score(truth, probability))
        assert scores["auprc"]["value"] == pytest.approx(average_precision_score(truth, probability))
        assert scores["f1"]["value"] == pytest.approx(f1_score(truth, probability >= summary["thresholds"][name]))
    mean = np.mean([found["classes"][name]["auc"]["value"] for name in CLASSES])
    assert found["macro"]["auc"]["value"] == pytest.approx(mean)
    labels, scores = ([validation[f"{what}:{name}"] for name in CLASSES] for what in ("label", "finetuned"))
    expected = best_f1_thresholds(np.stack(labels, axis=1) > 0, np.stack(scores, axis=1))
    np.testing.assert_allclose([summary["thresholds"][name] for name in CLASSES], expected, rtol=1e-12)


def test_the_best_epoch_is_that_of_the_best_validation(finished: Outcome) -> None:
    table, selection = metrics(finished.path), finished.summary["selection"]
    assert selection["epoch"] == 1 + int(table["validation"].argmax())
    assert selection["epochs"] == 12
    predicted = pd.read_parquet(finished.path / "predictions.parquet")
    validation = predicted[predicted["split"] == "validation"]
    aucs = [roc_auc_score(validation[f"label:{name}"], validation[f"finetuned:{name}"]) for name in CLASSES]
    assert np.mean(aucs) == pytest.approx(table["validation"].max(), abs=1e-6)


def test_what_is_written(finished: Outcome, model: LoadedModel) -> None:
    assert read_json(finished.path / "result.json", ProbeSummary) is not None  # as a report reads it
    files = {str(file.relative_to(finished.path)) for file in finished.path.rglob("*") if file.is_file()}
    best = f"checkpoints/epoch-{finished.summary['selection']['epoch']:04d}.pt"
    parts = {f"{part}/{name}" for part in ("best", "last") for name in ("config.json", "model.safetensors")}
    parts |= {"best/head.safetensors", "last/head.safetensors", "checkpoints/last.pt", best}
    assert files == parts | {"run.json", "metrics.csv", "predictions.parquet", "result.json"}
    info = json.loads((finished.path / "run.json").read_text(encoding="utf-8"))
    assert (info["status"], info["steps_done"], info["steps"]) == ("finished", finished.steps, finished.steps)
    assert info["records"] == {"train": 120, "validation": 20, "test": 20}
    config = json.loads((finished.path / "best" / "config.json").read_text(encoding="utf-8"))
    assert config["finetuned"]["epoch"] == finished.summary["selection"]["epoch"]
    assert config["pretrained"]["provenance"]["network"] == "teacher"
    assert str(finished.path) not in json.dumps(config)
    state = torch.load(finished.path / "checkpoints" / "last.pt", weights_only=True)
    assert state["step"] == finished.steps
    trained = load_file(finished.path / "best" / "model.safetensors")
    assert not torch.equal(trained["blocks.0.attn.proj.weight"], model.encoder.blocks[0].attn.proj.weight)


@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_test_records_change_nothing_but_their_scores(
    protocol: str, store: Store, model: LoadedModel, tmp_path: Path
) -> None:
    targets = read_targets(store, "kind", "multilabel")
    labels = targets.labels_NK.copy()
    labels[targets.of("test")] = labels[targets.of("test")][::-1]
    runs = [
        run(store, model, tiny(protocol, epochs=2), tmp_path / str(k), targets=each)
        for k, each in enumerate((targets, replace(targets, labels_NK=labels)))
    ]
    one, other = (load_file(each.path / "last" / "model.safetensors") for each in runs)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert runs[0].summary["thresholds"] == runs[1].summary["thresholds"]
    assert runs[0].summary["selection"] == runs[1].summary["selection"]
    assert runs[0].summary["models"] != runs[1].summary["models"]


def test_paper_protocol(store: Store, model: LoadedModel, folder: Path) -> None:
    outcome = run(store, model, tiny("paper"), folder)
    summary = outcome.summary
    assert summary["records"] == {"train": 140, "validation": 0, "test": 20}
    assert summary["selection"] is None
    assert summary["thresholds"] == dict.fromkeys(CLASSES, 0.5)
    assert not (folder / "best").exists()
    classifier = load_classifier(folder)
    assert classifier.folder == folder / "last"
    assert classifier.encoder.contract.filter == "butterworth"
    assert metrics(folder)["validation"].isna().all()


def test_the_filter_of_the_contract_is_applied_in_training_and_prediction(
    store: Store, model: LoadedModel, folder: Path
) -> None:
    run(store, model, tiny(filter="butterworth", epochs=2), folder)
    classifier = load_classifier(folder)
    assert classifier.encoder.contract == replace(CONTRACT, filter="butterworth")
    rows = np.arange(10)
    found = predict_rows(classifier, store, rows, progress=False)
    filtered = apply_filter(store.signals_mv(rows), 100, "butterworth")
    with torch.inference_mode():
        features = classifier.encoder(torch.from_numpy(filtered)).numpy()
        raw = classifier.encoder(torch.from_numpy(store.signals_mv(rows))).numpy()
    np.testing.assert_allclose(found, classifier.head.predict_proba(features), atol=1e-6)
    assert np.abs(found - classifier.head.predict_proba(raw)).max() > 1e-4


def test_multiclass(model: LoadedModel, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", 160, exclusive=True)
    outcome = run(store, model, tiny(task="multiclass", class_weights="balanced", epochs=8), tmp_path / "run")
    table = pd.read_parquet(tmp_path / "run" / "predictions.parquet")
    probabilities = table[[f"finetuned:{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert outcome.summary["thresholds"] == {}
    macro = outcome.summary["models"]["finetuned"]["macro"]
    assert macro["auc"]["value"] > 0.8
    test = (table["split"] == "test").to_numpy()
    truth = table[[f"label:{name}" for name in CLASSES]].to_numpy().argmax(axis=1)
    assert macro["accuracy"]["value"] == pytest.approx((probabilities.argmax(axis=1) == truth)[test].mean())


def test_regression(store: Store, model: LoadedModel, folder: Path) -> None:
    settings = tiny(task="regression", level="age", epochs=16, lr=1e-2)
    targets = read_regression(store, "age")
    outcome = run(store, model, settings, folder, targets=targets)
    table = pd.read_parquet(folder / "predictions.parquet")
    test = table[table["split"] == "test"]
    found = outcome.summary["models"]["finetuned"]["macro"]
    assert found["mae"]["value"] == pytest.approx(mean_absolute_error(test["value:age"], test["finetuned:age"]))
    constant = np.abs(targets.values_N[targets.of("test")] - targets.values_N[targets.of("train")].mean()).mean()
    assert found["mae"]["value"] < 0.8 * constant
    assert outcome.summary["selection"]["epoch"] == 1 + int(metrics(folder)["validation"].argmin())
    head = Head.load(folder / "best")
    assert (head.task, head.classes, head.about["unit"]) == ("regression", ("age",), "years")
    with pytest.raises(ValueError, match="no regression is published"):
        tiny("paper", task="regression", level="age")


def test_frozen_attention_pooling_leaves_the_encoder_as_it_is(store: Store, model: LoadedModel, folder: Path) -> None:
    outcome = run(
        store, model, tiny(mode="frozen", pooling="attention", epochs=12, augmentation={"operations": ()}), folder
    )
    before = model.encoder.state_dict()
    after = load_file(folder / "best" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    table = metrics(folder)
    assert table["loss"].iloc[-1] < table["loss"].iloc[0]
    classifier = load_classifier(folder)
    assert classifier.head.pooling is not None
    assert outcome.summary["pooling"] == "attention"


def test_of_some_leads_the_others_change_nothing(store: Store, model: LoadedModel, folder: Path) -> None:
    run(store, model, tiny(leads=("V1", "I"), epochs=1, pooling="attention"), folder)
    classifier = load_classifier(folder)
    assert classifier.leads == ("I", "V1")
    rows = np.arange(6)
    signals = store.signals_mv(rows)[:, [0, 2]]
    with torch.inference_mode():
        tokens = classifier.encoder.forward_features(torch.from_numpy(signals), ("I", "V1")).flatten(1, 2)
        features = classifier.head.attention_pool()(tokens).numpy()
    found = predict_rows(classifier, store, rows, progress=False)
    np.testing.assert_allclose(found, classifier.head.predict_proba(features), atol=1e-6)
    with pytest.raises(ValueError, match="expected distinct ones of I, II, V1, found V9"):
        run(store, model, tiny(leads=("V9",), epochs=1), folder.parent / "other")
    assert not (folder.parent / "other").exists()
    with pytest.raises(HeadError, match="reads the features of an attention pooling"):
        classifier.head.check(classifier.encoder)
    with pytest.raises(HeadError, match="the leads \\['V1', 'I'\\] alone"):
        replace(classifier.head, pooling=None).check(classifier.encoder)


def test_scratch_is_a_function_of_the_seed_alone(store: Store, model: LoadedModel, tmp_path: Path) -> None:
    settings = tiny(mode="scratch", epochs=1)
    weights = []
    for k, encoder in enumerate((model, replace(model, encoder=type(model.encoder)(model.encoder.config, CONTRACT)))):
        run(store, encoder, settings, tmp_path / str(k))
        weights.append(load_file(tmp_path / str(k) / "last" / "model.safetensors"))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_leaks_are_refused_and_what_was_trained_on_is_noted(store: Store, model: LoadedModel, tmp_path: Path) -> None:
    targets = read_targets(store, "kind", "multilabel")
    seen = model.folder / "seen.parquet"
    extend_seen(seen, None, store, targets.rows_N[targets.of("test")][:2])
    try:
        with pytest.raises(LeakError, match="2 of 20 test records were seen in pretraining"):
            run(store, model, tiny(epochs=1), tmp_path / "refused")
        assert not (tmp_path / "refused").exists()
        outcome = run(store, model, tiny(epochs=1), tmp_path / "allowed", allow_overlap=True)
    finally:
        seen.unlink()
    assert outcome.summary["overlap"]["test"]["seen"] == 2
    known = Seen.read(tmp_path / "allowed" / "best" / "seen.parquet").among(store, targets.rows_N)["signal"]
    expected = targets.split_N != "test"
    expected[targets.of("test")[:2]] = True
    np.testing.assert_array_equal(known, expected)


def test_label_fraction(store: Store, model: LoadedModel, folder: Path) -> None:
    outcome = run(store, model, tiny(label_fraction=0.25, epochs=1), folder)
    assert outcome.summary["records"]["train"] == 30
    assert outcome.steps == 2


@pytest.mark.gpu
def test_bf16_on_cuda_and_its_float32_predictions(store: Store, model: LoadedModel, folder: Path) -> None:
    settings = tiny(precision="bf16", epochs=12, lr=2e-2, batch_size=8, pooling="attention")
    outcome = run(store, model, settings, folder, device="cuda")
    assert outcome.summary["models"]["finetuned"]["classes"]["A"]["auc"]["value"] > 0.75
    table = pd.read_parquet(folder / "predictions.parquet")
    records = store.records["record"].tolist()
    rows = np.array([records.index(name) for name in table["record"]])
    again = predict_rows(load_classifier(folder), store, rows, device="cpu", progress=False)
    np.testing.assert_allclose(again, table[[f"finetuned:{name}" for name in CLASSES]].to_numpy(), atol=1e-4)
