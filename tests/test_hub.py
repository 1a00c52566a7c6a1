"""The Hugging Face hub, over a real server: what is pushed comes back to the bit, what fails is said in one line."""

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

import ecgjepa
from ecgjepa.checkpoint import CheckpointError, generator_of, load_encoder, save_model
from ecgjepa.cli import main
from ecgjepa.config import Config, ModelConfig
from ecgjepa.files import write_json
from ecgjepa.hub import from_pretrained, prepare_upload, push_to_hub
from ecgjepa.model.encoder import Encoder
from ecgjepa.signal import DEFAULT_CONTRACT
from tests.data.archives import smooth_signal, write_wfdb
from tests.evaluate.run_folders import write_probe
from tests.fake_hub import OWNER, READER, FakeHub

constants = pytest.importorskip("huggingface_hub.constants")
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars  # noqa: E402

SIZE = ModelConfig(width=16, depth=2, heads=2, predictor_width=8, predictor_depth=1, predictor_heads=2)
NAME = "ward7/ecg-jepa-tiny"
CLOSED = "http://127.0.0.1:9"  # the port of `discard`, where nothing listens


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
    monkeypatch.setenv("HF_TOKEN", OWNER)
    disable_progress_bars()
    with FakeHub() as server:
        ask(monkeypatch, server.url)
        yield server
    enable_progress_bars()


def ask(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """What HF_ENDPOINT does, to a client that is imported already."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run, its teacher and student different."""
    folder, path = tmp_path / "runs" / "tiny", str(tmp_path / "stores" / "a")
    encoders = {
        name: Encoder(SIZE, DEFAULT_CONTRACT, generator=generator_of(seed))
        for seed, name in enumerate(("teacher", "student"))
    }
    save_model(folder / "model", encoders, seed=3, steps=40, stores=[path])
    account = {"candidates": 9, "kept": 7, "changed": {}, "refused": {"short": 2}, "flags": {}}
    store = {"path": path, "dataset": "ptbxl", "records": 7, "trained_on": 5, "checksum": "ab" * 32, "account": account}
    info = {"status": "finished", "command": f"ecgjepa pretrain --store {path}", "steps": 40, "seconds": 90}
    write_json(folder / "run.json", info | {"config": Config().model_dump(mode="json"), "stores": [store]})
    return folder


def features(encoder: Encoder) -> torch.Tensor:
    with torch.inference_mode():
        return encoder(torch.linspace(-1, 1, 2 * 8 * 2500).view(2, 8, 2500))


def rejected(source: str | Path, **arguments: object) -> str:
    with pytest.raises(CheckpointError) as caught:
        from_pretrained(source, **arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_what_is_pushed_comes_back_to_the_bit(hub: FakeHub, run: Path, tmp_path: Path) -> None:
    commit = push_to_hub(run, NAME, license="cc-by-4.0").rpartition("/")[2]
    assert hub.repos[NAME].private
    assert set(hub.repos[NAME].commits[commit]) == {".gitattributes", "README.md", "config.json", "teacher.safetensors"}
    expected = features(load_encoder(run))
    hub.requests.clear()
    assert torch.equal(features(from_pretrained(NAME, cache_dir=tmp_path / "fresh")), expected)
    files = {request.rpartition("/")[2] for request in hub.requests if "/resolve/" in request}
    assert files == {"config.json", "teacher.safetensors"}, "nothing else is downloaded"
    assert torch.equal(features(ecgjepa.load_encoder(f"hf://{NAME}")), expected)
    assert torch.equal(features(ecgjepa.from_pretrained(f"hf://{NAME}@{commit}")), expected)
    assert "no student.safetensors" in rejected(NAME, which="student")

    hub.requests.clear()
    assert torch.equal(features(load_encoder(f"{NAME}@{commit}")), expected)
    assert torch.equal(features(from_pretrained(NAME, revision=commit)), expected)
    assert not hub.requests, "a commit that is in the cache asks no server"


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the hub's client
def test_large_files_go_by_lfs(hub: FakeHub, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    hub.large = ".safetensors"
    push_to_hub(run, NAME, which="student")
    assert any(request.startswith("PUT /lfs/") for request in hub.requests)
    assert torch.equal(features(from_pretrained(NAME)), features(load_encoder(run, "student")))


def test_branches_and_earlier_commits_stay(hub: FakeHub, run: Path) -> None:
    first = push_to_hub(run, NAME).rpartition("/")[2]
    push_to_hub(run, NAME, which="student", revision="student")
    teacher, student = features(load_encoder(run)), features(load_encoder(run, "student"))
    assert torch.equal(features(load_encoder(f"hf://{NAME}")), teacher)
    assert torch.equal(features(load_encoder(f"hf://{NAME}@student")), student)
    assert torch.equal(features(from_pretrained(f"hf://{NAME}", revision="student")), student)
    push_to_hub(run, NAME, which="student")
    assert torch.equal(features(load_encoder(f"hf://{NAME}")), student), (
        "the weights of another network do not stay beside"
    )
    assert torch.equal(features(load_encoder(f"hf://{NAME}@{first}")), teacher)
    assert "expected one revision" in rejected(f"{NAME}@{first}", revision="main")


def test_nothing_is_pushed_over_something_else(hub: FakeHub, run: Path) -> None:
    def refused(**arguments: object) -> str:
        before = {name: dict(repo.branches) for name, repo in hub.repos.items()}
        with pytest.raises(CheckpointError) as caught:
            push_to_hub(run, NAME, **arguments)
        assert before == {name: dict(repo.branches) for name, repo in hub.repos.items()}
        return str(caught.value)

    assert "no permission" in refused(token=READER)
    assert "no permission" in refused(token=False)
    hub.add(NAME, {".gitattributes": b"", "config.json": b'{"model_type": "bert"}', "model.safetensors": b""}, True)
    assert "holds something else, config.json among it" in refused()
    hub.add(NAME, {"pytorch_model.bin": b"x"}, private=True)
    assert "holds something else, pytorch_model.bin among it" in refused()
    hub.add(NAME, {}, private=False)
    assert "is public, expected private" in refused()
    assert "license 'My own'" in refused(private=False, license="My own")
    hub.failure = 503
    assert "the server answers HTTP 503, on purpose" in refused(private=False)
    with pytest.raises(CheckpointError, match="'not-an-id' is no repository of the hub, expected owner/name"):
        push_to_hub(run, "not-an-id")


def test_repositories_of_something_else(hub: FakeHub) -> None:
    hub.add(NAME, {"README.md": b"", "pytorch_model.bin": b"x"})
    assert "expected config.json and teacher.safetensors or" in (said := rejected(NAME))
    assert "found README.md, pytorch_model.bin" in said
    hub.add(NAME, {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"x"})
    assert "not the description of a model of ecgjepa" in rejected(NAME)
    assert not any("model.safetensors" in request for request in hub.requests), "found out before the weights"


def test_missing_private_and_unreachable(
    hub: FakeHub, run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(run.parent)
    assert f"hf://{NAME} at {hub.url}: no such repository, or no permission" in rejected(NAME)
    assert rejected(f"hf://{NAME}", token=False).startswith(f"hf://{NAME} at {hub.url}: no such repository, or no")
    push_to_hub("tiny", NAME)
    assert "has no revision 'v9'" in rejected(f"{NAME}@v9")
    assert "no permission with this token" in rejected(NAME, token=False)

    for status, url in ((500, hub.url), (None, CLOSED)):
        hub.failure = status
        ask(monkeypatch, url)
        assert "it is not in the cache" in rejected(NAME)
    hub.failure = None
    ask(monkeypatch, hub.url)
    expected = features(from_pretrained(NAME))
    ask(monkeypatch, CLOSED)
    with caplog.at_level(logging.WARNING, "ecgjepa"):
        assert torch.equal(features(from_pretrained(NAME)), expected)
    assert "using what is in the cache" in caplog.text
    assert re.search(rf"at {CLOSED}: Connect\w*Error: .*not in the cache", rejected(f"{NAME}@v9"))


def test_a_cut_download_leaves_no_model(hub: FakeHub, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push_to_hub(run, NAME)
    hub.cut = {"teacher.safetensors": 0}
    with monkeypatch.context() as patch:
        patch.setattr("time.sleep", lambda seconds: None)  # the client waits before it tries again
        assert re.search(rf"{NAME} at {hub.url}: \w+Error: ", rejected(NAME))
    hub.cut = {}
    assert torch.equal(features(from_pretrained(NAME)), features(load_encoder(run)))


def test_what_is_local_asks_no_server(hub: FakeHub, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parents[1])
    (run.parents[1] / "owner" / "model").mkdir(parents=True)
    load_encoder("runs/tiny")
    load_encoder(run / "model")
    load_encoder("runs/tiny/model/teacher.safetensors")
    assert "no model at owner/model" in rejected("owner/model")
    assert "no model at runs/tinny" in rejected("runs/tinny"), "a folder of that owner is here"
    for source in (Path("nowhere/tiny"), "nowhere/a.pth", "./a/b", "a/b/c", "a--b/c", "name", "a/b@", f"a/{'b' * 96}"):
        assert f"no model at {source}" in rejected(source)
    assert "no repository of the hub" in rejected("hf://name")
    assert "which is no repository" in rejected("runs/tiny", revision="main")
    assert not hub.requests


def test_what_may_be_a_path_asks_no_server(hub: FakeHub, run: Path) -> None:
    push_to_hub(run, NAME)
    hub.requests.clear()
    with pytest.raises(CheckpointError, match=f"no path {NAME} is here; .*; hf://{NAME} downloads it"):
        load_encoder(NAME)
    assert not hub.requests
    expected = features(load_encoder(f"hf://{NAME}"))
    hub.requests.clear()
    assert torch.equal(features(load_encoder(NAME)), expected), "it is in the cache now"
    assert not hub.requests


def test_offline_takes_what_is_in_the_cache(hub: FakeHub, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push_to_hub(run, NAME)
    from_pretrained(NAME)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert torch.equal(features(load_encoder(NAME)), features(load_encoder(run)))
    assert "HF_HUB_OFFLINE is set; it is not in the cache" in rejected("ward7/other")
    assert not hub.requests


def test_the_card_says_what_the_files_say(run: Path, tmp_path: Path) -> None:
    write_probe(run)
    write_probe(run, protocol="paper", encoder="student")
    prepare_upload(run, tmp_path / "out", NAME, license="mit")
    card = (tmp_path / "out" / "README.md").read_text()
    assert re.match(r'---\nlicense: "mit"\nlibrary_name: ecgjepa\npipeline_tag: \S+\ntags:\n(- \S+\n)+---\n', card)
    rows = {" ".join(line.split()) for line in card.splitlines()}
    assert "| leads | I, II, V1, V2, V3, V4, V5, V6 |" in rows
    assert "| sampling rate | 250 Hz |" in rows
    assert "| a | ptbxl | 9 | 7 | 5 | short 2 | `abababababababab` |" in rows
    assert "| mask: scale | 0.6, 0.7 |" in rows
    assert "| steps done | 40 |" in rows
    measured = "| ptbxl superdiagnostic, multilabel | strict | 60 (58) | 0.777 [0.747, 0.807] | 0.711 [0.681, 0.741] |"
    assert any(row.startswith(measured) and "+0.066 [+0.031, +0.102]" in row for row in rows)
    assert "| paper |" not in card, "a result of the student is none of the teacher"
    assert "- These are 60 records, not the full test set." in rows
    assert "not for diagnosis" in card
    assert "arXiv:2410.08559" in card
    for file in (tmp_path / "out").iterdir():
        assert str(tmp_path).encode() not in file.read_bytes(), f"{file.name} tells where it was made"

    prepare_upload(Encoder(SIZE, DEFAULT_CONTRACT), tmp_path / "bare", NAME)
    card = (tmp_path / "bare" / "README.md").read_text()
    assert "license" not in card.partition("\n---\n")[0]
    assert "## Measured\n\nNot measured." in card
    assert card.count("Not stated in the files of this model.") == 2
    assert (tmp_path / "bare" / "model.safetensors").is_file()


def test_the_code_of_the_card_runs_with_a_mirror(hub: FakeHub, run: Path, tmp_path: Path) -> None:
    """In a process of its own, because the hub's client reads its environment when it is imported."""
    push_to_hub(run, NAME)
    card = hub.repos[NAME].commits[hub.repos[NAME].branches["main"]]["README.md"].decode()
    code = card.partition("```python\n")[2].partition("```")[0]
    write_wfdb(tmp_path, "record", smooth_signal(0))
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "mirrored")}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[1])}
    process = [sys.executable, "-c", f"{code}\nprint(tuple(features.shape))"]
    done = subprocess.run(process, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.stdout == f"(1, {SIZE.width})\n", done.stderr
    assert list((tmp_path / "mirrored").rglob("teacher.safetensors"))


def test_broken_files_of_a_run_are_named(run: Path, tmp_path: Path) -> None:
    folder = write_probe(run)
    (folder / "result.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"result\.json is not the result of a probe: .*dataset"):
        prepare_upload(run, tmp_path / "out", NAME)
    (run / "run.json").write_text('{"stores": 3}')
    with pytest.raises(CheckpointError, match=r"run\.json is not that of a run"):
        prepare_upload(run, tmp_path / "out", NAME)
    assert not (tmp_path / "out").exists()


def test_push_on_the_command_line(hub: FakeHub, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "what would be uploaded" in command("push", run, NAME, "--dry-run", out).output
    assert sorted(file.name for file in out.iterdir()) == ["README.md", "config.json", "teacher.safetensors"]
    assert json.loads((out / "config.json").read_text())["provenance"]["source"] == "tiny/model/teacher.safetensors"
    assert "exists already" in command("push", run, NAME, "--dry-run", out).output
    assert not hub.requests
    (tmp_path / "card.md").write_text("---\nlicense: mit\n---\nours\n")
    pushed = command("push", run, NAME, "--public", "--encoder", "student", "--card", tmp_path / "card.md")
    assert pushed.output.startswith(f"{hub.url}/{NAME}/commit/")
    assert not hub.repos[NAME].private
    files = hub.repos[NAME].commits[pushed.output.strip().rpartition("/")[2]]
    assert files["README.md"].endswith(b"ours\n")
    assert "student.safetensors" in files
    failed = command("push", run, NAME)
    assert failed.output == f"Error: {NAME} is there already and is public, expected private: nothing was uploaded\n"


def test_without_the_package_the_extra_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert rejected(f"hf://{NAME}") == "the Hugging Face hub needs: pip install 'ecgjepa[hub]'"
    with pytest.raises(CheckpointError, match=f"no path {NAME} is here; the Hugging Face hub needs: pip install"):
        load_encoder(NAME)
    with pytest.raises(CheckpointError, match=r"ecgjepa\[hub\]"):
        push_to_hub(run, NAME)
    load_encoder(run)
