"""The demo, smaller: every stage leaves what the next one and the page need."""

from pathlib import Path

import pytest

from ecgjepa import demo
from ecgjepa.cli.serve import prepare_demo


@pytest.mark.slow
def test_a_demo_is_run_indexed_and_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ecgjepa.serve.served import Served

    monkeypatch.setattr(demo, "LABELLED_RECORDS", 60)
    monkeypatch.setattr(demo, "UNLABELLED_RECORDS", 10)
    small = {"training.epochs": 1, "model.width": 16, "model.depth": 1, "model.heads": 2}
    monkeypatch.setattr(demo, "SETTINGS", {**demo.SETTINGS, **small})
    folder = tmp_path / "demo"
    assert demo.find_demo(folder) is None
    ckpt, head, index, stores = prepare_demo(folder)
    assert (folder / "report.html").is_file()
    served = Served.load(ckpt, head, index, stores)
    assert served.heads_read_embeddings
    assert served.classifier is not None
    assert served.index is not None
    assert len(served.index) == 60
    assert served.index.places_R2 is not None
    assert {label for label, _ in served.index.label_counts} >= set(served.classifier.head.classes)

    before = (index / "index.json").stat().st_mtime_ns
    assert prepare_demo(folder) == (ckpt, head, index, stores)
    assert (index / "index.json").stat().st_mtime_ns == before
    (folder / "report.html").unlink()
    with pytest.raises(FileExistsError, match="holds no demo that has run to its end"):
        prepare_demo(folder)
