"""The report opens anywhere, says what the files say, says what is not there, and never runs what a file says."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from ecgjepa.evaluate import pages, report_probe, report_training
from ecgjepa.evaluate.report import renew_report, write_report
from ecgjepa.evaluate.run_files import ReportError
from ecgjepa.files import write_json
from tests.evaluate.run_folders import (
    PROBE,
    Page,
    interval,
    result,
    write_finished_run,
    write_probe,
    write_run,
    write_store,
)

HOSTILE = "<script>alert(1)</script>\"><img src=x onerror='alert(2)'>"


@pytest.fixture
def real_figures() -> None:
    """Ask for this where the figures matter."""


@pytest.fixture(autouse=True)
def quick_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes seconds; figures are tested by themselves, and on the page of `page`."""
    if "real_figures" not in request.fixturenames:
        for name in ("project_to_map", "interval_plot", "roc_curves", "embedding_map"):
            monkeypatch.setattr(report_probe, name, lambda *_, **__: Figure())
        for name in ("loss_curve", "ecg_paper", "evaluation_panels", "coverage_bars"):
            monkeypatch.setattr(report_training, name, lambda *_, **__: Figure())
        monkeypatch.setattr(pages, "to_svg", lambda *_: "<svg></svg>")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_finished_run(tmp_path)


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
        "Before you compare These are 60 records", "ST-MEM macro AUC 0.880 arXiv:2410.08559",
        "no label 17", "Threshold, CD 0.250", "1 of 2 records trained on", "Pretrained on 1 ", "the 60 test records",
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
    for place in (
        f"Record {HOSTILE}",
        f"Before you compare {HOSTILE}",
        f"Mask: {HOSTILE}",
        f"{HOSTILE} 9",
        f"Left out: {HOSTILE}",
    ):
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


def change_info(run_dir: Path, **changes: object) -> None:
    write_json(run_dir / "run.json", json.loads((run_dir / "run.json").read_text()) | changes)


def write_evaluations(run_dir: Path, **columns: list[float]) -> None:
    step = [0, 100, 200]
    table = {"step": step, "epoch": step, "seconds": step, "core_seconds": step} | columns
    pd.DataFrame(table).to_csv(run_dir / "evaluations.csv", index=False)


def refreshes(page: Page) -> list[str | None]:
    return [meta["content"] for meta in page.named("meta") if meta.get("http-equiv") == "refresh"]


def test_the_page_loads_itself_again_while_the_run_goes_on_and_not_after(run_dir: Path) -> None:
    change_info(run_dir, status="running", steps=1000)
    page = Page(write_report(run_dir))
    assert refreshes(page) == ["30"]
    assert "loads itself again every 30 seconds. About 13 min are left." in page.text  # 200 s for 200 steps
    for status in ("finished", "stopped", "failed"):
        change_info(run_dir, status=status)
        page = Page(write_report(run_dir))
        assert not refreshes(page), status
        assert "loads itself again" not in page.text


def test_what_evaluations_found_is_shown(run_dir: Path) -> None:
    write_evaluations(run_dir, rankme_pooled=[9, 8, 7], probe_auc=[0.6, 0.7, 0.75])
    change_info(run_dir, probe={"dataset": "ptbxl", "level": "superdiagnostic"})
    page = Page(write_report(run_dir))
    assert "3 evaluations, the last after step 200. The online probe (superdiagnostic)" in page.text
    assert "RankMe that fall" in page.text
    assert "alarms" not in page.text
    assert len(page.named("svg")) == 6


def test_alarms_are_said_at_the_top_in_plain_words(run_dir: Path) -> None:
    write_evaluations(run_dir, record_share=[0.3, 0.2, 0.01])
    alarm = {"step": 1200, "name": "record_share", "found": 0.01234, "explanation": "Tokens say where, not what."}
    change_info(run_dir, alarms=[alarm | {"advice": "Warm up longer."}, alarm | {"step": 1300, "found": HOSTILE}])
    page = Page(write_report(run_dir))
    said = "Signs of collapse After step 1,200, record share: 0.01234. Tokens say where, not what. Warm up longer."
    assert page.text.index(said) < page.text.index("What was run")
    assert f"After step 1,300, record share: {HOSTILE}." in page.text
    assert "Dashed: alarms." in page.text


def test_the_masks_coverage_is_shown_where_the_run_says_it(run_dir: Path) -> None:
    change_info(run_dir, mask_coverage=[0.5] * 48 + [0.2, 0.8])
    page = Page(write_report(run_dir))
    assert "hide 50 % of the patches; least often patch 48 (20 %), most often patch 49 (80 %)" in page.text
    change_info(run_dir, mask_coverage=[1.5])
    with pytest.raises(ReportError, match="mask_coverage"):
        write_report(run_dir)


def test_rate_and_processor_time_are_those_of_the_log(run_dir: Path) -> None:
    table = pd.read_csv(run_dir / "metrics.csv")
    rate = np.where(np.arange(len(table)) % 2, 100.0, 300.0)
    table.assign(records_per_s=rate, core_seconds=7200.0).to_csv(run_dir / "metrics.csv", index=False)
    page = Page(write_report(run_dir))
    assert "Rate, median of the last rows 200 records/s" in page.text
    assert "Processor time, all cores 2 h 00 min" in page.text


def test_a_page_that_cannot_be_written_ends_no_training(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    renew_report(run_dir)
    assert (run_dir / "report.html").is_file()
    assert not caplog.records
    (run_dir / "evaluations.csv").write_text("step,probe_auc\n1,high\n")
    renew_report(run_dir)
    [warning] = [record.getMessage() for record in caplog.records]
    assert f"{run_dir / 'report.html'} is not renewed: {run_dir / 'evaluations.csv'}: could not convert" in warning


def test_a_run_of_an_older_version_has_no_evaluations(run_dir: Path) -> None:
    page = Page(write_report(run_dir))
    assert "No evaluation has been made while it trained" in page.text
    assert "Rate, median" not in page.text
    assert "Signs of collapse" not in page.text


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
    assert f"No ECG is drawn, because its store cannot be opened: {store} is not a store" in page.text
    assert "kept 2" in page.text  # the account is in run.json


def test_an_ecg_of_another_record_is_not_drawn(run_dir: Path) -> None:
    store = run_dir.parents[1] / "stores" / "ptbxl"
    table = pd.read_parquet(store / "records.parquet")
    table.assign(record=["00001_hr", "other"]).to_parquet(store / "records.parquet")
    assert "is no longer the record 00002_hr" in Page(write_report(run_dir)).text


def test_multiclass_shows_the_area_one_against_one(run_dir: Path) -> None:
    said = result(task="multiclass", label_fraction=0.01)
    said["models"]["pretrained"]["macro"]["auc_one_vs_one"] = interval(0.654)
    write_json(run_dir / "probes" / PROBE / "result.json", said)
    (run_dir / "probes" / ".half-written").mkdir()
    page = Page(write_report(run_dir))
    assert "Macro, one against one 0.654 0.624–0.684 –" in page.text
    assert "This run, strict protocol AUC one against one, linear 0.654" in page.text
    assert "PTB-XL · superdiagnostic · multiclass · 1 % of the labels" in page.text
    assert "half-written" not in page.text


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

    monkeypatch.setattr(report_probe, "project_to_map", first_two)
    run_dir = write_run(tmp_path / "run")
    write_probe(run_dir, records=3_500)
    path = write_report(run_dir)
    assert sizes == [3_000]
    assert "Embeddings of 3,000 of the 3,500 test records, drawn at random" in Page(path).text
    assert path.stat().st_size < 1_000_000
