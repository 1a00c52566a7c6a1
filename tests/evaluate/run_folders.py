"""Run folders as training and probe leave them, for the tests of the report; and a reader of the page."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgjepa.data.store import FORMAT, signal_hash
from ecgjepa.files import write_json
from ecgjepa.signal import DEFAULT_CONTRACT

PROBE = "ptbxl-superdiagnostic-multilabel-strict-teacher"
CLASSES = ["CD", "MI", "NORM"]


def write_store(folder: Path, names: list[str]) -> dict[str, int]:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    signals_uv = rng.integers(-900, 900, (len(names), 8, 2500)).astype(np.int16)
    np.save(folder / "signals.npy", signals_uv)
    table = pd.DataFrame({"record": names, "source": "ptbxl", "patient": names, "flags": [[] for _ in names]})
    table = table.assign(fold=1, split="train", age=50.0, sex="female", file_state=1)
    table = table.assign(signal_hash=[signal_hash(signal_uv) for signal_uv in signals_uv])
    table.to_parquet(folder / "records.parquet")
    account = {"candidates": 9, "kept": len(names), "changed": {"resampled": 2}, "flags": {"clipped": 1}}
    account["refused"] = {"short": 4, "file_absent": 9 - len(names) - 4}
    description = {"format": FORMAT, "dataset": "ptbxl", "contract": DEFAULT_CONTRACT.to_dict(), "levels": {}}
    write_json(folder / "store.json", {**description, "account": account, "checksums": {}})
    return account


def interval(value: float | None) -> dict[str, float | None]:
    return {"value": value, "low": value and value - 0.03, "high": value and value + 0.03}


def result(**changes: Any) -> dict[str, Any]:
    def scores(auc: float) -> dict[str, Any]:
        classes = {name: {"positives": 20, "auc": interval(auc), "f1": interval(0.4)} for name in CLASSES}
        return {"macro": {"auc": interval(auc), "f1": interval(0.4)}, "classes": classes}

    return {
        "dataset": "ptbxl", "level": "superdiagnostic", "task": "multilabel", "protocol": "strict",
        "encoder": "teacher", "seed": 0, "command": "ecgjepa probe --ckpt runs/tiny", "versions": {"torch": "2.13.0"},
        "seconds": 12.0, "records": {"train": 700, "validation": 90, "test": 60}, "patients": {"test": 58},
        "left_out": {"no label": 17}, "classes": CLASSES, "thresholds": {"CD": 0.25},
        "selection": {"C": 0.01, "grid": [[0.01, 0.7], [0.1, 0.69]]},
        "bootstrap": {"resamples": 1000, "unit": "patient", "seed": 0},
        "models": {"pretrained": scores(0.777), "random": scores(0.711)},
        "difference": {"auc": {"value": 0.066, "low": 0.031, "high": 0.102}, "f1": interval(0.01)},
        "published": [{"model": "ST-MEM", "value": 0.88, "metric": "macro AUC", "source": "arXiv:2410.08559"}],
        "warnings": ["These are 60 records, not the full test set."],
    } | changes  # fmt: skip


def write_probe(run_dir: Path, records: int = 60, **changes: Any) -> Path:
    said = result(**changes)
    folder = run_dir / "probes" / PROBE.replace("strict", said["protocol"])
    folder.mkdir(parents=True)
    write_json(folder / "result.json", said)
    rng = np.random.default_rng(0)
    names = [f"{r:05d}_hr" for r in range(records)]
    label_RC = rng.random((records, len(said["classes"]))) < 0.4
    table = {"record": names, "patient": names, "split": "test"}
    for c, name in enumerate(said["classes"]):
        table[f"label:{name}"] = label_RC[:, c].astype(int)
        table |= {f"{model}:{name}": rng.random(records) for model in ("pretrained", "random")}
    pd.DataFrame(table).to_parquet(folder / "predictions.parquet")
    labels = [[name for name, has in zip(said["classes"], row, strict=True) if has] for row in label_RC]
    features = list(rng.normal(size=(records, 8)).astype(np.float32))
    embeddings = pd.DataFrame({"record": names, "split": "test", "labels": labels, "pretrained": features})
    embeddings.to_parquet(folder / "embeddings.parquet")
    return folder


def write_run(run_dir: Path, **changes: Any) -> Path:
    """A run folder with nothing but `run.json`, as it is one second after the start."""
    run_dir.mkdir(parents=True)
    info = {"status": "running", "command": "ecgjepa pretrain", "versions": {"torch": "2.13.0"}, "device": "cpu"}
    info |= {"seed": 7, "config": {"mask": {"type": "block"}}, "stores": [], "steps": 200, "started": "2025-01-01"}
    write_json(run_dir / "run.json", info | changes)
    return run_dir


def write_finished_run(tmp_path: Path) -> Path:
    """A finished run with its store and one probe."""
    account = write_store(tmp_path / "stores" / "ptbxl", ["00001_hr", "00002_hr"])
    store = str(tmp_path / "stores" / "ptbxl")
    run_dir = write_run(
        tmp_path / "runs" / "tiny",
        status="finished",
        finished="2025-01-01T10:00:00+00:00",
        seconds=3725.0,
        parameters=85_400_000,
        stores=[
            {
                "path": store,
                "dataset": "ptbxl",
                "records": 2,
                "trained_on": 1,
                "checksum": "ab" * 32,
                "account": account,
            }
        ],
        example={"store": store, "row": 1, "record": "00002_hr", "hidden_patches": [3, 4, 9], "patch_seconds": 0.2},
    )
    step = np.arange(20, 220, 20)
    table = {"step": step, "epoch": step / 20, "loss": 1 / step, "lr": 1e-4, "momentum": 0.996, "seconds": step}
    pd.DataFrame(table).to_csv(run_dir / "metrics.csv", index=False)
    (run_dir / "config.toml").write_text("[mask]\ntype = 'block'  # the whole file\n")
    write_probe(run_dir)
    return run_dir


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.open = "", []
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)
        self.close()
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data + ("" if self.open[-1] in ("strong", "code") else " ")

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]
