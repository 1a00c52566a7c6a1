"""A saved classifier says the same in another process, of rows and of windows, and refuses what is no part."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgjepa.checkpoint import CheckpointError, LoadedModel, save_model
from ecgjepa.data.store import Store
from ecgjepa.evaluate.head import HEAD, Head, HeadError, describe_encoder
from ecgjepa.finetune.classifier_folder import load_classifier, save_classifier
from ecgjepa.finetune.finetune import Outcome
from ecgjepa.finetune.predicting import predict_rows, predict_windows
from ecgjepa.signal import Recording
from ecgjepa.windows import take_windows
from tests.finetune.runs import CLASSES, run, tiny

CODE = """
import sys
import numpy as np
from ecgjepa.data.store import Store
from ecgjepa.finetune.classifier_folder import load_classifier
from ecgjepa.finetune.predicting import predict_rows
store, folder, rows, out = sys.argv[1:]
found = predict_rows(load_classifier(folder), Store.open(store), np.array(rows.split(","), int), progress=False)
np.save(out, found)
"""


def rows_of(store: Store, table: pd.DataFrame) -> np.ndarray:
    records = store.records["record"].tolist()
    return np.array([records.index(name) for name in table["record"]])


def test_a_fresh_process_predicts_the_same(finished: Outcome, store: Store, tmp_path: Path) -> None:
    table = pd.read_parquet(finished.path / "predictions.parquet")
    rows = rows_of(store, table)
    arguments = [str(store.path), str(finished.path), ",".join(map(str, rows)), str(tmp_path / "out.npy")]
    subprocess.run([sys.executable, "-c", CODE, *arguments], check=True)
    expected = table[[f"finetuned:{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_windows_of_records_say_what_their_rows_say(
    pooling: str, store: Store, model: LoadedModel, tmp_path: Path
) -> None:
    run(store, model, tiny(pooling=pooling, leads=("I", "V1"), epochs=1), tmp_path / "run")
    classifier = load_classifier(tmp_path / "run")
    contract, signals = classifier.encoder.contract, store.signals_mv(np.arange(4))
    recordings = [Recording(str(k), signal, contract.leads, 100) for k, signal in enumerate(signals)]
    windows = [take_windows(recording, contract)[0] for recording in recordings]
    expected = predict_rows(classifier, store, np.arange(4), progress=False)
    np.testing.assert_allclose(predict_windows(classifier, windows, batch_size=3), expected, atol=1e-6)
    # A lead that is not looked at may be missing, and a gap hides its patch alone.
    without = replace(windows[0], signal_mv=windows[0].signal_mv[[0, 2]], leads=("I", "V1"))
    np.testing.assert_allclose(predict_windows(classifier, [without]), expected[:1], atol=1e-6)
    gap = without.signal_mv.copy()
    gap[1, 60] = np.nan
    broken = predict_windows(classifier, [replace(without, signal_mv=gap), without])
    assert np.isfinite(broken).all()
    np.testing.assert_allclose(broken[1], expected[0], atol=1e-6)
    assert np.abs(broken[0] - expected[0]).max() > 1e-6
    with pytest.raises(HeadError, match="a window has II, expected some of I, V1"):
        predict_windows(classifier, [replace(without, signal_mv=gap[:1], leads=("II",))])


def test_a_model_and_a_head_that_lies_elsewhere(model: LoadedModel, store: Store, tmp_path: Path) -> None:
    about = describe_encoder(model.encoder, "teacher", "x")
    head = Head(np.ones((2, 16)), np.zeros(2), ("A", "B"), about=about)
    head.save(tmp_path / HEAD)
    for place in (tmp_path, tmp_path / HEAD):
        classifier = load_classifier(model.folder, place)
        assert predict_rows(classifier, store, np.arange(3), progress=False).shape == (3, 2)
    with pytest.raises(CheckpointError, match="holds a head but no model"):
        load_classifier(tmp_path)
    with pytest.raises(HeadError, match="no classifier at"):
        load_classifier(model.folder)
    other = replace(head, about=about | {"weights_sha256": "0"})
    with pytest.raises(HeadError, match="learned on the features of x"):
        save_classifier(tmp_path / "new", model.encoder, other)
    assert not (tmp_path / "new").exists()


def test_a_classifier_is_overwritten_on_demand_and_nothing_else(model: LoadedModel, tmp_path: Path) -> None:
    folder, head = tmp_path / "c", Head(np.ones((1, 16)), np.zeros(1), ("A",))
    save_classifier(folder, model.encoder, head, note=1)
    with pytest.raises(FileExistsError, match="--overwrite replaces it"):
        save_classifier(folder, model.encoder, head)
    save_classifier(folder, model.encoder, head, overwrite=True, note=2)
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["note"] == 2
    assert {file.name for file in tmp_path.iterdir()} == {"c"}
    (folder / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match=r"thesis\.txt, which is no part of a classifier"):
        save_classifier(folder, model.encoder, head, overwrite=True)


def test_another_encoder_beside_a_head_is_refused(finished: Outcome, model: LoadedModel, tmp_path: Path) -> None:
    shutil.copytree(finished.path / "best", tmp_path / "c")
    (tmp_path / "c" / "model.safetensors").unlink()
    save_model(tmp_path / "c", {"model": model.encoder})
    with pytest.raises(HeadError, match="this encoder has other weights"):
        load_classifier(tmp_path / "c")
