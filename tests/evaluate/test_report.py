"""The report opens anywhere, says what the files say, says what is not there, and never runs what a file says."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ecgjepa.evaluate import report
from ecgjepa.evaluate.report import project_to_map, write_report
from ecgjepa.evaluate.run_files import ReportError
from ecgjepa.files import write_json
from ecgjepa.signal import DEFAULT_CONTRACT

PROBE = "ptbxl-superdiagnostic-multilabel-strict-teacher"
CLASSES = ["CD", "MI", "NORM"]
HOSTILE = "<script>alert(1)</script>\"><img src=x onerror='alert(2)'>"


@pytest.fixture
def real_figures() -> None:
    """Ask for this where the figures matter."""


@pytest.fixture(autouse=True)
def quick_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes seconds; figures are tested by themselves, and on the page of `page`."""
    if "real_figures" not in request.fixturenames:
        for name in ("project_to_map", "loss_curve", "ecg_paper", "interval_plot", "roc_curves", "embedding_map"):
            monkeypatch.setattr(report, name, lambda *_, **__: None)
        monkeypatch.setattr(report, "to_svg", lambda *_: "<svg></svg>")


def write_store(folder: Path, names: list[str]) -> dict[str, int]:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    np.save(folder / "signals.npy", rng.integers(-900, 900, (len(names), 8, 2500)).astype(np.int16))
    pd.DataFrame({"record": names, "flags": [[] for _ in names]}).to_parquet(folder / "records.parquet")
    account = {"candidates": 9, "kept": len(names), "changed": {"resampled": 2}, "flags": {"clipped": 1}}
    account["refused"] = {"short": 4, "file_absent": 9 - len(names) - 4}
    write_json(folder / "store.json", {"format": 1, "contract": DEFAULT_CONTRACT.to_dict(), "account": account})
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
        "left_out": {"no label": 17}, "classes": CLASSES, "thresholds": {"f1": 0.5},
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
        parameters={"encoder": 85_400_000, "predictor": 11_000_000},
        stores=[{"path": store, "dataset": "ptbxl", "records": 2, "checksum": "ab", "account": account}],
        example={"store": store, "row": 1, "record": "00002_hr", "hidden_patches": [3, 4, 9], "patch_seconds": 0.2},
    )
    step = np.arange(20, 220, 20)
    table = {"step": step, "epoch": step / 20, "loss": 1 / step, "lr": 1e-4, "momentum": 0.996, "seconds": step}
    pd.DataFrame(table).to_csv(run_dir / "metrics.csv", index=False)
    (run_dir / "config.toml").write_text("[mask]\ntype = 'block'  # the whole file\n")
    write_probe(run_dir)
    return run_dir


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_finished_run(tmp_path)


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


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a finished run, with all its figures."""
    run_dir = write_finished_run(tmp_path_factory.mktemp("report"))
    path = write_report(run_dir)
    assert path == run_dir / "report.html"
    return path


@pytest.fixture(scope="module")
def page(page_file: Path) -> Page:
    return Page(page_file)


def test_says_what_the_files_say(page: Page) -> None:
    assert not page.open, "an element is not closed"
    for fact in (
        "ecgjepa pretrain", "2.13.0", "85,400,000", "1 h 02 min", "2025-01-01 10:00:00 UTC",  # what was run
        "listed 9", "listed, file not there 3", "refused 4", "kept 2", "short 4", "resampled 2", "clipped 1",  # account
        "step 200 of 200, loss 0.0050", "Record 00002_hr", "3 of 50 patches", "Mask: block",
        "PTB-XL (superdiagnostic, multilabel, strict protocol): macro AUC 0.777, 0.066 above",
        "the 95 % interval of the difference excludes zero", "+0.066 +0.031 to +0.102", "0.711 0.681–0.741",
        "Note. These are 60 records", "ST-MEM macro AUC 0.880 arXiv:2410.08559", "no label 17", "the 60 test records",
        "# the whole file",
    ):  # fmt: skip
        assert fact in page.text, fact
    assert len(page.named("svg")) == 5
    assert len(page.html) < 3_000_000


def test_asks_nothing_of_the_network_and_has_no_script(page: Page) -> None:
    assert not {"script", "img", "iframe", "object", "image", "base"} & {tag for tag, _ in page.elements}
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
                assert value.startswith(("#", "data:")), (tag, name, value)
    assert not re.search(r"@import|url\((?!#)", page.html)


def test_is_accessible(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert page.named("html")[0]["lang"] == "en"
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.named("svg"))
    assert all(header["scope"] in ("row", "col") for header in page.named("th"))
    assert all(link["href"].removeprefix("#") in ids for link in page.named("a"))
    assert all(section["aria-labelledby"] in ids for section in page.named("section"))


@pytest.mark.usefixtures("real_figures")
def test_the_same_files_give_the_same_page(page_file: Path) -> None:
    first, second = page_file.read_text(), write_report(page_file.parent).read_text()
    date = r"folder, [\d:\- ]+UTC"
    assert re.sub(date, "", first) == re.sub(date, "", second)


@pytest.mark.usefixtures("real_figures")
def test_what_a_file_says_is_text_and_never_markup(tmp_path: Path) -> None:
    write_store(tmp_path / "store", ["1", HOSTILE])
    store = str(tmp_path / "store")
    run_dir = write_run(
        tmp_path / "run <b>",
        status=HOSTILE,
        command=HOSTILE,
        device=HOSTILE,
        versions={HOSTILE: HOSTILE},
        stores=[
            {"path": HOSTILE, "dataset": HOSTILE, "account": {"candidates": 1, "kept": 1, "refused": {HOSTILE: 1}}}
        ],
        example={"store": store, "row": 1, "record": HOSTILE, "hidden_patches": [3], "patch_seconds": 0.2},
        config={"mask": {"type": HOSTILE}},
    )
    published = [{"model": HOSTILE, "value": 0.5, "metric": HOSTILE, "source": HOSTILE}]
    classes = [HOSTILE, "B"]
    scores = {name: {"positives": 9, "auc": interval(0.7), "f1": interval(0.7)} for name in classes}
    macro = {"auc": interval(0.7), "f1": interval(0.7)}
    models = {"pretrained": {"macro": macro, "classes": scores}}
    write_probe(run_dir, classes=classes, models=models, warnings=[HOSTILE], published=published, left_out={HOSTILE: 1})
    page = Page(write_report(run_dir))
    tags = {tag for tag, _ in page.elements}
    assert not {"script", "img", "b"} & tags
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    for place in (f"Record {HOSTILE}", f"Note. {HOSTILE}", f"Mask: {HOSTILE}", f"{HOSTILE} 9", f"Left out: {HOSTILE}"):
        assert place in page.text, place


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    page = Page(write_report(write_run(tmp_path / "run")))
    for sentence in (
        "No linear evaluation has been made yet",
        "No training step has been logged yet.",
        "run.json names no store.",
        "run.json names no example record",
        "No evaluation yet. Make one with",
        "Finished not yet",
        "of 200",
    ):
        assert sentence in page.text, sentence
    assert not page.named("svg")


def test_an_unfinished_run_and_an_unfinished_probe_say_so(run_dir: Path) -> None:
    info = json.loads((run_dir / "run.json").read_text()) | {"status": "stopped", "finished": None}
    write_json(run_dir / "run.json", info)
    (run_dir / "probes" / PROBE / "result.json").unlink()
    page = Page(write_report(run_dir))
    assert "Training has not finished" in page.text
    assert f"probes/{PROBE} holds no result.json" in page.text
    assert "No linear evaluation has been made yet" in page.text


def test_without_predictions_and_embeddings_the_table_stays(run_dir: Path) -> None:
    for name in ("predictions.parquet", "embeddings.parquet"):
        (run_dir / "probes" / PROBE / name).unlink()
    page = Page(write_report(run_dir))
    assert "No ROC curves: predictions.parquet is not there." in page.text
    assert "No map: embeddings.parquet is not there." in page.text
    assert "0.711 0.681–0.741" in page.text


def test_without_its_store_the_ecg_is_said_to_be_absent(run_dir: Path) -> None:
    store = run_dir.parents[1] / "stores" / "ptbxl"
    store.rename(store.with_name("elsewhere"))
    page = Page(write_report(run_dir))
    assert f"No ECG is drawn, because its store is not there (any more): {store} is not a store" in page.text
    assert "kept 2" in page.text  # the account is in run.json


def test_an_ecg_of_another_record_is_not_drawn(run_dir: Path) -> None:
    store = run_dir.parents[1] / "stores" / "ptbxl"
    pd.DataFrame({"record": ["00001_hr", "other"], "flags": [[], []]}).to_parquet(store / "records.parquet")
    assert "is no longer the record 00002_hr" in Page(write_report(run_dir)).text


def test_strict_stands_before_paper_and_all_are_compared(run_dir: Path) -> None:
    write_probe(run_dir, protocol="paper")
    page = Page(write_report(run_dir))
    assert "macro AUC 0.777" in page.text
    assert page.text.index("strict protocol, teacher") < page.text.index("paper protocol, teacher")
    assert len(page.named("article")) == 1 + 2
    assert len(page.named("svg")) == 2 + 2 * 3


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-0.01, 0.14, "includes zero: no difference is shown"),
        (-0.2, -0.1, "excludes zero"),
        (None, None, "0.066 above"),
    ],
)
def test_the_interval_of_the_difference_decides_the_sentence(
    tmp_path: Path, low: float | None, high: float | None, words: str
) -> None:
    run_dir = write_run(tmp_path / "run")
    write_probe(run_dir, difference={"auc": {"value": 0.066, "low": low, "high": high}, "f1": interval(0.0)})
    page = Page(write_report(run_dir))
    assert words in page.text
    assert ("of the difference" in page.text) == (low is not None)


def test_an_undefined_score_is_a_dash(run_dir: Path) -> None:
    said = result()
    said["models"]["random"]["classes"]["MI"] |= {"positives": 0, "auc": interval(None)}
    write_json(run_dir / "probes" / PROBE / "result.json", said)
    row = re.search(r"MI 20 (.*?) NORM 20", Page(write_report(run_dir)).text)[1]
    assert row == "0.777 0.747–0.807 – 0.400 0.370–0.430 0.400 0.370–0.430"


def cut_in_half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def drop_column(file: Path) -> None:
    table = pd.read_parquet(file)
    table.drop(columns=table.columns[-1]).to_parquet(file)


@pytest.mark.parametrize(
    ("name", "breaks", "said"),
    [
        ("run.json", cut_in_half, "Invalid JSON"),
        ("run.json", Path.unlink, "is not a run folder: no run.json"),
        ("metrics.csv", lambda file: file.write_text("step,loss\n1,2\n"), "epoch"),
        ("metrics.csv", lambda file: file.write_text("step,epoch,loss,lr,momentum\n1,2,x,3,4\n"), "'x'"),
        (f"probes/{PROBE}/result.json", cut_in_half, "Invalid JSON"),
        (f"probes/{PROBE}/result.json", lambda file: file.write_text("{}"), "dataset: Field required"),
        (f"probes/{PROBE}/predictions.parquet", cut_in_half, "is not a Parquet file"),
        (f"probes/{PROBE}/predictions.parquet", drop_column, "no column 'random:NORM'"),
        (f"probes/{PROBE}/embeddings.parquet", drop_column, "no column 'pretrained'"),
    ],
)
def test_a_broken_file_is_an_error_that_names_it(run_dir: Path, name: str, breaks: Any, said: str) -> None:
    page = write_report(run_dir).read_bytes()
    breaks(run_dir / name)
    with pytest.raises(ReportError) as error:
        write_report(run_dir)
    assert said in str(error.value)
    assert str(run_dir / name) in str(error.value) or name == "run.json"
    assert (run_dir / "report.html").read_bytes() == page, "the old report is gone"
    assert not list(run_dir.glob(".report*"))


@pytest.mark.parametrize("kind", ["pretrained", "label"])
def test_numbers_that_are_not_finite_are_an_error(run_dir: Path, kind: str) -> None:
    file = run_dir / "probes" / PROBE / "predictions.parquet"
    table = pd.read_parquet(file).astype({f"{kind}:CD": float})
    table.loc[3, f"{kind}:CD"] = np.nan
    table.to_parquet(file)
    with pytest.raises(ReportError, match=re.escape(str(file))):
        write_report(run_dir)


def test_its_own_report_is_renewed_and_another_file_is_not(run_dir: Path, tmp_path: Path) -> None:
    own = write_report(run_dir)
    own.write_text("old")
    assert "ECG-JEPA" in write_report(run_dir).read_text()
    own.write_text("old")
    assert "ECG-JEPA" in write_report(run_dir, out=own).read_text()

    other = tmp_path / "letter.html"
    other.write_text("mine")
    with pytest.raises(FileExistsError, match=re.escape(str(other))):
        write_report(run_dir, out=other)
    assert other.read_text() == "mine"
    assert "ECG-JEPA" in write_report(run_dir, out=other, overwrite=True).read_text()
    assert write_report(run_dir, out=tmp_path / "new" / "page.html").is_file()


def test_an_encoder_that_gives_everybody_the_same_features_has_no_map(run_dir: Path) -> None:
    file = run_dir / "probes" / PROBE / "embeddings.parquet"
    table = pd.read_parquet(file)
    table["pretrained"] = [np.ones(8, dtype=np.float32)] * len(table)
    table.to_parquet(file)
    assert "the encoder has collapsed" in Page(write_report(run_dir)).text


@pytest.mark.usefixtures("real_figures")
def test_of_many_records_the_map_shows_a_part_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def first_two(features_RD: np.ndarray) -> np.ndarray:
        sizes.append(len(features_RD))
        return features_RD[:, :2]

    monkeypatch.setattr(report, "project_to_map", first_two)
    run_dir = write_run(tmp_path / "run")
    write_probe(run_dir, records=3_500)
    path = write_report(run_dir)
    assert sizes == [3_000]
    assert "Embeddings of 3,000 of the 3,500 test records, drawn at random" in Page(path).text
    assert path.stat().st_size < 1_000_000


def test_map_keeps_groups_together_and_is_the_same_every_time() -> None:
    rng = np.random.default_rng(0)
    group_R = np.repeat([0, 1], 40)
    features_RD = rng.normal(size=(80, 16)) + 8 * group_R[:, None]
    place_R2 = project_to_map(features_RD)
    np.testing.assert_array_equal(place_R2, project_to_map(features_RD))
    distance_RR = np.linalg.norm(place_R2[:, None] - place_R2, axis=-1) + np.diag(np.full(80, np.inf))
    assert (group_R[distance_RR.argmin(axis=1)] == group_R).all()


@pytest.mark.parametrize("records", [5, 12])
def test_map_of_few_records(records: int) -> None:
    assert np.isfinite(project_to_map(np.random.default_rng(0).normal(size=(records, 8)))).all()
