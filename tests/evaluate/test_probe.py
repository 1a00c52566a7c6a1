"""Linear evaluation end to end, on made-up records whose truth is known."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from jaxtyping import TypeCheckError
from sklearn.metrics import f1_score, roc_auc_score

from ecgjepa.evaluate import result as result_module
from ecgjepa.evaluate.feature_cache import FeatureCache
from ecgjepa.evaluate.head import Head
from ecgjepa.evaluate.probe import Conditions, run_probe
from ecgjepa.evaluate.published import FULL_SIZES, NUMBERS, comparison_warnings, published_numbers
from ecgjepa.evaluate.result import folder_name
from ecgjepa.evaluate.result_table import format_table
from ecgjepa.evaluate.run_files import ProbeSummary, read_json
from ecgjepa.signal import SignalContract

from .fakes import CLASSES, CONTRACT, LeadEncoder, make_store, with_records


def probe(store=None, encoder=None, random_encoder=None, **options):
    options = {"level": "superdiagnostic", "resamples": 100, "cache": FeatureCache(progress=False)} | options
    conditions = Conditions(**{name: options.pop(name) for name in [*options] if hasattr(Conditions, name)})
    store = make_store(exclusive=options.get("task") == "multiclass") if store is None else store
    networks = encoder or LeadEncoder("I"), random_encoder or LeadEncoder("II")
    return run_probe(store, *networks, conditions=conditions, **options)


@pytest.fixture(scope="module")
def strict():
    return probe()


def test_the_informative_encoder_beats_the_random_one(strict):
    models, difference = strict.summary["models"], strict.summary["difference"]
    assert models["pretrained"]["macro"]["auc"]["value"] > 0.7
    assert models["random"]["macro"]["auc"]["low"] < 0.55
    assert difference["auc"]["low"] > 0.1
    for metric in ("auc", "f1"):
        ours, theirs = (models[name]["macro"][metric]["value"] for name in ("pretrained", "random"))
        assert difference[metric]["value"] == pytest.approx(ours - theirs)
    for model in models.values():
        for score in (model["macro"], *model["classes"].values()):
            for metric in ("auc", "f1"):
                assert score[metric]["low"] < score[metric]["value"] < score[metric]["high"]


def test_scores_are_those_of_the_saved_predictions(strict):
    table, summary = strict.predictions, strict.summary
    for model, scores in summary["models"].items():
        for name in CLASSES:
            truth, probability = table[f"label:{name}"], table[f"{model}:{name}"]
            found = scores["classes"][name]
            assert found["positives"] == truth.sum()
            assert found["auc"]["value"] == pytest.approx(roc_auc_score(truth, probability))
            thresholds = summary["thresholds"] if model == "pretrained" else scores["thresholds"]
            assert found["f1"]["value"] == pytest.approx(f1_score(truth, probability >= thresholds[name]))
        mean = np.mean([scores["classes"][name]["auc"]["value"] for name in CLASSES])
        assert scores["macro"]["auc"]["value"] == pytest.approx(mean)


def test_the_summary_says_what_was_done(strict):
    summary = strict.summary
    expected = {"dataset": "ptbxl", "level": "superdiagnostic", "task": "multilabel", "protocol": "strict", "seed": 0}
    expected |= {"encoder": "teacher", "label_fraction": 1.0, "classes": CLASSES, "left_out": {"no label": 0}}
    expected |= {"records": {"train": 250, "validation": 50, "test": 100}}
    expected |= {"patients": {"train": 125, "validation": 25, "test": 50}}
    expected |= {"bootstrap": {"resamples": 100, "unit": "patient", "seed": 0}}
    assert expected.items() <= summary.items()
    assert {"python", "torch", "ecgjepa", "scikit-learn"} <= summary["versions"].keys()
    for selection in (summary["selection"], summary["models"]["random"]["selection"]):
        grid = dict(selection["grid"])
        assert grid[selection["C"]] == max(grid.values())
    assert strict.name == "ptbxl-superdiagnostic-multilabel-strict-teacher"
    named = {"dataset": "ptbxl", "level": "superdiagnostic", "task": "multilabel", "protocol": "strict"}
    assert strict.name == folder_name(**named, encoder="teacher")


@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_test_labels_cannot_change_anything_but_the_test_scores(protocol):
    store = make_store()
    labels = store.records["labels_superdiagnostic"].tolist()
    test = np.flatnonzero(store.records["split"] == "test")
    for row, source in zip(test, np.random.default_rng(5).permutation(test), strict=True):
        labels[row] = store.records["labels_superdiagnostic"][source]
    found, permuted = (
        probe(each, protocol=protocol) for each in (store, with_records(store, labels_superdiagnostic=labels))
    )
    for key in ("selection", "thresholds"):
        assert found.summary[key] == permuted.summary[key]
    probabilities = [f"{model}:{name}" for model in ("pretrained", "random") for name in CLASSES]
    pd.testing.assert_frame_equal(found.predictions[probabilities], permuted.predictions[probabilities])
    assert found.summary["models"]["random"]["selection"] == permuted.summary["models"]["random"]["selection"]
    assert permuted.summary["models"]["pretrained"]["macro"]["auc"]["value"] == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_a_seed_fixes_every_number(protocol):
    def numbers(result):
        return {key: value for key, value in result.summary.items() if key != "seconds"}

    options = {"protocol": protocol, "label_fraction": 0.5}
    first, again, other = (probe(seed=seed, **options) for seed in (3, 3, 4))
    assert numbers(first) == numbers(again)
    pd.testing.assert_frame_equal(first.predictions, again.predictions)
    columns = [f"pretrained:{name}" for name in CLASSES]
    assert (first.predictions[columns] != other.predictions[columns]).to_numpy().any()
    assert first.name == f"ptbxl-superdiagnostic-multilabel-{protocol}-teacher-50percent-seed3"


def test_paper_protocol_selects_nothing():
    summary = probe(protocol="paper").summary
    assert summary["selection"] is None
    assert summary["thresholds"] == dict.fromkeys(CLASSES, 0.5)
    assert summary["records"] == {"train": 300, "validation": 0, "test": 100}
    assert summary["models"]["pretrained"]["macro"]["auc"]["value"] > 0.7


def test_multiclass_in_both_protocols():
    strict, paper = (probe(task="multiclass", protocol=protocol) for protocol in ("strict", "paper"))
    assert strict.summary["left_out"] == {"no label": 0, "more than one label": 0}
    assert strict.summary["thresholds"] == paper.summary["thresholds"] == {}
    for result in (strict, paper):
        table = result.predictions
        truth, scores = table[[f"label:{n}" for n in CLASSES]], table[[f"pretrained:{n}" for n in CLASSES]].to_numpy()
        truth = truth.to_numpy().argmax(axis=1)
        macro = result.summary["models"]["pretrained"]["macro"]
        assert macro["auc"]["value"] == pytest.approx(roc_auc_score(truth, scores, multi_class="ovr"))
        assert macro["f1"]["value"] == pytest.approx(f1_score(truth, scores.argmax(axis=1), average="macro"))
        assert macro["accuracy"]["value"] == pytest.approx((truth == scores.argmax(axis=1)).mean())
    assert macro["auc_one_vs_one"]["value"] == pytest.approx(roc_auc_score(truth, scores, multi_class="ovo"))
    assert paper.summary["difference"]["auc_one_vs_one"]["low"] > 0
    assert "AUC, one-vs-one" in format_table(paper.summary)


def test_several_records_of_a_patient_widen_the_intervals():
    store = make_store()
    rows = np.repeat(np.arange(400), np.where(store.records["split"] == "test", 6, 1))
    records = store.records.iloc[rows].reset_index(drop=True).assign(record=[f"r{n}" for n in range(len(rows))])
    by_patient = replace(store, records=records, signals_uv=store.signals_uv[rows])
    by_record = with_records(by_patient, patient=records["record"])
    found, narrow = probe(by_patient), probe(by_record)
    pd.testing.assert_series_equal(found.predictions["pretrained:MI"], narrow.predictions["pretrained:MI"])
    for get in (
        lambda summary: summary["models"]["pretrained"]["macro"]["auc"],
        lambda summary: summary["difference"]["f1"],
    ):
        wide, small = get(found.summary), get(narrow.summary)
        assert wide["value"] == small["value"]
        assert wide["high"] - wide["low"] > 1.8 * (small["high"] - small["low"])


def test_absent_classes_are_named_and_the_result_is_still_json(tmp_path):
    classes = [*CLASSES, "GONE", "RARE"]
    store = make_store(levels={"superdiagnostic": classes})
    labels = store.records["labels_superdiagnostic"].tolist()
    row = store.records.index[store.records["split"] == "test"][0]
    labels[row] = [*labels[row], "RARE"]
    result = probe(with_records(store, labels_superdiagnostic=labels))
    warnings = "\n".join(result.summary["warnings"])
    assert "No positive train record, so nothing to learn: GONE, RARE." in warnings
    assert "No positive validation record" in warnings
    assert "No positive test record, so no score and no part in the macro mean: GONE." in warnings
    scores = result.summary["models"]["pretrained"]["classes"]
    assert scores["GONE"]["auc"] == {"value": None, "low": None, "high": None}
    assert scores["RARE"]["auc"]["value"] == 0.5  # a constant score: counted, not dropped
    values = [scores[name]["auc"]["value"] for name in (*CLASSES, "RARE")]
    assert result.summary["models"]["pretrained"]["macro"]["auc"]["value"] == pytest.approx(np.mean(values))
    result.save(tmp_path / "probe")
    assert json.loads((tmp_path / "probe" / "result.json").read_text())["classes"] == classes
    assert "GONE" in format_table(result.summary)


def test_saved_files_hold_what_the_report_reads(strict, tmp_path):
    folder = tmp_path / "run" / "probes" / strict.name
    strict.save(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "embeddings.parquet",
        "head.safetensors",
        "predictions.parquet",
        "result.json",
    ]
    assert sorted(path.name for path in folder.parent.iterdir()) == [strict.name]
    assert read_json(folder / "result.json", ProbeSummary).models["pretrained"].macro.auc.value > 0.7
    predictions = pd.read_parquet(folder / "predictions.parquet")
    assert list(predictions.columns[:6]) == ["record", "patient", "split", "label:CD", "pretrained:CD", "random:CD"]
    assert len(predictions) == 100
    embeddings, store = pd.read_parquet(folder / "embeddings.parquet"), make_store()
    assert list(embeddings.columns) == ["record", "split", "labels", "pretrained"]
    rows = [int(name[1:]) for name in embeddings["record"]]
    np.testing.assert_array_equal(np.stack(embeddings["pretrained"]), store.signals_mv(rows)[:, 0])
    assert [list(names) for names in embeddings["labels"]] == [store.records["labels_superdiagnostic"][r] for r in rows]


@pytest.mark.parametrize(("protocol", "task"), [("strict", "multilabel"), ("paper", "multiclass")])
def test_the_saved_head_gives_the_saved_predictions(protocol, task, tmp_path):
    encoder = LeadEncoder("I")
    result = probe(encoder=encoder, protocol=protocol, task=task, encoder_name="student", checkpoint="run-7")
    result.save(tmp_path / "probe")
    head = Head.load(tmp_path / "probe")
    features = np.stack(result.embeddings["pretrained"])
    expected = result.predictions[[f"pretrained:{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(head.predict_proba(features), expected, atol=1e-6)
    assert list(head.classes) == CLASSES
    assert dict(zip(CLASSES, head.thresholds_K, strict=True) if task == "multilabel" else {}) == pytest.approx(
        result.summary["thresholds"]
    )
    assert head.about["weights_sha256"] == encoder.weights_sha256()
    expected = {"dataset": "ptbxl", "level": "superdiagnostic", "protocol": protocol, "checkpoint": "run-7"}
    assert expected.items() <= head.about.items()
    assert (head.about["encoder"], head.about["contract"]) == ("student", CONTRACT.to_dict())


def test_an_existing_result_is_kept_unless_told(strict, tmp_path):
    strict.save(tmp_path / "probe")
    other = probe(seed=1)
    with pytest.raises(FileExistsError, match="exists already"):
        other.save(tmp_path / "probe")
    assert json.loads((tmp_path / "probe" / "result.json").read_text())["seed"] == 0
    other.save(tmp_path / "probe", overwrite=True)
    assert json.loads((tmp_path / "probe" / "result.json").read_text())["seed"] == 1
    np.testing.assert_array_equal(Head.load(tmp_path / "probe").weight_KD, other.head.weight_KD)


def test_a_failed_write_leaves_nothing_behind(strict, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    strict.save(tmp_path / "old")
    monkeypatch.setattr(result_module, "write_json", full)
    for name in ("new", "old"):
        with pytest.raises(OSError, match="No space left"):
            strict.save(tmp_path / name, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"]
    assert (tmp_path / "old" / "result.json").exists()


def test_the_table_shows_scores_random_weights_difference_and_literature(strict):
    text, macro = format_table(strict.summary), strict.summary["models"]["pretrained"]["macro"]["auc"]
    assert f"{macro['value']:.3f} [{macro['low']:.3f}, {macro['high']:.3f}]" in text
    assert "random weights" in text
    assert "difference" in text
    assert f"{strict.summary['difference']['auc']['value']:+.3f}" in text
    assert all(name in text for name in CLASSES)
    assert "arXiv:2410.08559" in text
    assert "0.912" in text
    assert "WARNING: These are not the full data: the store was made from 400 records" in text
    assert "records (patients): train 250 (125), validation 50 (25), test 100 (50)\n" in text
    assert max(len(line) for line in text.splitlines()) <= 100


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"level": "rhythm"}, ValueError, "level 'rhythm' is not in this store"),
        ({"label_fraction": 2.0}, ValueError, "label fraction: expected"),
        ({"resamples": 0}, ValueError, "0 resamples"),
        ({"cache": FeatureCache(batch_size=0)}, ValueError, "batches of 0"),
        # Shape checks of the tests refuse these before our own ValueError does.
        ({"task": "regression"}, (ValueError, TypeCheckError), "regression"),
        ({"protocol": "lenient"}, (ValueError, TypeCheckError), "lenient"),
    ],
)
def test_wrong_options_are_a_clear_error(options, error, message):
    with pytest.raises(error, match=message):
        probe(**options)


def test_an_encoder_of_another_contract_is_refused_before_anything_is_computed():
    other = SignalContract(leads=("II", "I"), sampling_rate_hz=10, seconds=1)
    with pytest.raises(ValueError, match="contract: the store has leads"):
        probe(encoder=LeadEncoder("I", other))
    fft = replace(CONTRACT, resampling="fft")
    warnings = probe(encoder=LeadEncoder("I", fft), random_encoder=LeadEncoder("II", fft)).summary["warnings"]
    assert any("resampled by polyphase, the encoder was trained on fft" in warning for warning in warnings)


def test_published_numbers_are_those_of_the_sources():
    assert {number.value for number in published_numbers("ptbxl", "superdiagnostic", "multilabel")} >= {0.912, 0.931}
    assert published_numbers("ptbxl", "superdiagnostic", "multiclass")[0].value == 0.903
    assert published_numbers("cpsc", "diagnosis", "multiclass")[0].value == 0.973
    assert published_numbers("ptbxl", "rhythm", "multilabel") == []
    assert published_numbers("shaoxing", "snomed", "multilabel") == []
    assert all(0.5 < number.value < 1 and number.source.startswith("arXiv:") for number in NUMBERS)


def test_comparison_is_warned_of_unless_the_data_are_whole_and_the_protocol_is_the_published_one():
    for dataset, level in (("ptbxl", "superdiagnostic"), ("cpsc", "diagnosis")):
        for size in FULL_SIZES[dataset]:
            assert comparison_warnings(dataset, level, "multilabel", size, "paper") == []
            (warning,) = comparison_warnings(dataset, level, "multilabel", size, "strict")
            assert "this is the strict one" in warning
        (warning,) = comparison_warnings(dataset, level, "multilabel", 400, "paper")
        assert "not the full data: the store was made from 400 records" in warning
    assert comparison_warnings("ptbxl", "rhythm", "multilabel", 400, "strict") == []
