"""Checkpoints: whole or told to be damaged, with the one before in reserve; what is kept, and what loads from it."""

import contextlib
import errno
import io
import logging
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ecgjepa.checkpoint import CheckpointError, load_encoder
from ecgjepa.data.store import Store
from ecgjepa.errors import RunError
from ecgjepa.train import checkpoints as module
from ecgjepa.train.checkpoints import KEYS, clear_unfinished, read_checkpoint, read_last, save_last
from ecgjepa.train.run import Run
from ecgjepa.train.training import Training
from tests.data.stores import write_store
from tests.train.runs import assert_same_run, bare_runs, config_for, info_of, quiet

EVERY_STEP = {"training.epochs": 2, "run.checkpoint_minutes": 1e-9, "run.log_every": 2}  # of 6 steps


class Killed(BaseException):
    """In place of SIGKILL: nothing in the loop catches it."""


@pytest.fixture(autouse=True, scope="module")
def fast() -> Iterator[None]:
    with bare_runs():
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("checkpoints") / "ecgs", 16)


@pytest.fixture(scope="module")
def unbroken(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("unbroken") / "run"
    quiet(config_for(store, **EVERY_STEP), path)
    return path


def kill_in_step(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step with this number, from 0, is not begun; of any run."""
    step, begun = Training.step, []

    def counts(self: Training, *arguments: Any, **options: Any) -> torch.Tensor:
        if len(begun) == number:
            raise Killed
        begun.append(1)
        return step(self, *arguments, **options)

    monkeypatch.setattr(Training, "step", counts)


@pytest.fixture(scope="module")
def killed_run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After 5 of 6 steps: `last.pt` is of step 5, `previous.pt` of step 4."""
    path = tmp_path_factory.mktemp("killed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        kill_in_step(5, patch)
        with pytest.raises(Killed):
            quiet(config_for(store, **EVERY_STEP), path)
    return path


@pytest.fixture
def killed(killed_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed_run, tmp_path / "killed"))


def flip(content: bytes, place: int, bit: int = 3) -> bytes:
    return content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]


def largest_entry(content: bytes) -> zipfile.ZipInfo:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return max(archive.infolist(), key=lambda entry: entry.file_size)


def in_a_tensor(content: bytes) -> bytes:
    entry = largest_entry(content)
    return flip(content, entry.header_offset + 128 + entry.file_size // 2)


def in_a_name(content: bytes) -> bytes:
    """In the directory of the archive: it is no text any more."""
    return flip(content, content.rindex(largest_entry(content).filename.encode()), 7)


def in_its_attributes(content: bytes) -> bytes:
    """An entry becomes a folder, for which torch returns whatever is in memory."""
    return flip(content, content.rindex(largest_entry(content).filename.encode()) - 8, 4)


DAMAGES = {
    "cut": lambda content: content[: len(content) // 3],
    "cut at its very end": lambda content: content[:-1],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "a bit of a tensor": in_a_tensor,
    "a bit of a name": in_a_name,
    "a bit of an attribute": in_its_attributes,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_told_of_and_the_one_before_is_taken(
    store: Store, killed: Path, unbroken: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    last = killed / "checkpoints" / "last.pt"
    last.write_bytes(DAMAGES[damage](last.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert quiet(config_for(store, **EVERY_STEP), killed, resume=True).step == 6
    (told,) = [record.getMessage() for record in caplog.records if "going on from" in record.getMessage()]
    assert f"{last} is damaged" in told
    assert told.endswith("going on from previous.pt")
    assert [again["step"] for again in info_of(killed)["resumed"]] == [4]
    assert_same_run(unbroken, killed)


def test_killed_between_the_two_renames(store: Store, killed: Path, unbroken: Path) -> None:
    (killed / "checkpoints" / "last.pt").unlink()
    assert load_encoder(killed).config.width == 16
    assert quiet(config_for(store, **EVERY_STEP), killed, resume=True).step == 6
    assert [again["step"] for again in info_of(killed)["resumed"]] == [4]
    assert_same_run(unbroken, killed)


def test_killed_before_the_first_checkpoint(
    store: Store, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        kill_in_step(0, patch)
        with pytest.raises(Killed):
            quiet(config_for(store, **EVERY_STEP), tmp_path / "run")
    quiet(config_for(store, **EVERY_STEP), tmp_path / "run", resume=True)
    assert_same_run(unbroken, tmp_path / "run")


def test_with_both_damaged_nothing_is_begun_anew_nor_deleted(store: Store, killed: Path) -> None:
    folder = killed / "checkpoints"
    for name in ("last.pt", "previous.pt"):
        (folder / name).write_bytes((folder / name).read_bytes()[:1000])
    before = {path: path.read_bytes() for path in killed.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match=r"previous\.pt is damaged, or is not a checkpoint"):
        quiet(config_for(store, **EVERY_STEP), killed, resume=True)
    assert {path: path.read_bytes() for path in killed.rglob("*") if path.is_file()} == before


def small_checkpoint(step: int) -> dict[str, Any]:
    return dict.fromkeys(KEYS, 0) | {"model": {"weight": torch.arange(40.0) + step}, "step": step}


def test_no_flipped_bit_and_no_cut_is_read_as_something_else(tmp_path: Path) -> None:
    """Every 5th byte of a small one, whatever it is of: tensors, pickle, headers, directory, padding."""
    save_last(tmp_path, small_checkpoint(3), also=[])
    content, file = (tmp_path / "last.pt").read_bytes(), tmp_path / "damaged.pt"
    found = {"damaged": 0, "unhurt": 0}
    pieces = [flip(content, place, place // 5 % 8) for place in range(0, len(content), 5)]
    for damaged in [*pieces, *(content[:length] for length in range(0, len(content), 97))]:
        file.write_bytes(damaged)
        try:
            checkpoint = read_checkpoint(file)
        except CheckpointError as error:
            found["damaged"] += str(file) in str(error)
        else:
            assert checkpoint["step"] == 3
            assert torch.equal(checkpoint["model"]["weight"], small_checkpoint(3)["model"]["weight"])
            found["unhurt"] += 1
    assert found["damaged"] > 100
    assert sum(found.values()) == len(content[::5]) + len(content[::97])
    torch.save({"weights": torch.ones(3)}, file)
    with pytest.raises(CheckpointError, match="is not the checkpoint of a run"):
        read_checkpoint(file)


def test_wherever_saving_is_cut_off_a_whole_checkpoint_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And once `last.pt` is the new one, its copies are new too: the step is not done again, nor are they."""
    replace = Path.replace

    def save_and_die(folder: Path, at: int) -> int:
        """The number of renames, before the last of which it died."""
        renames = 0

        def dies(self: Path, target: Path) -> Path:
            nonlocal renames
            renames += 1
            if renames == at:
                raise Killed
            return replace(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", dies)
            patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)  # the dead do not tidy up
            with contextlib.suppress(Killed):
                save_last(folder, small_checkpoint(2), also=["best.pt", "step-00000002.pt"])
        return renames

    steps = []
    for at in range(1, 6):
        folder = tmp_path / str(at) / "checkpoints"
        folder.parent.mkdir()
        save_last(folder, small_checkpoint(0), also=[])
        save_last(folder, small_checkpoint(1), also=["best.pt"])
        assert save_and_die(folder, at) == min(at, 4)
        clear_unfinished(folder.parent)
        assert not list(folder.glob(".*"))
        found = read_last(folder)
        assert found is not None
        steps.append(found[0]["step"])
        if found[0]["step"] == 2:
            for name in ("best.pt", "step-00000002.pt"):
                assert read_checkpoint(folder / name)["step"] == 2
    assert steps == [1, 1, 1, 1, 2]


def test_a_full_disk_names_the_file_and_keeps_the_old(
    store: Store, tmp_path: Path, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, saved = torch.save, []

    def fills_the_disk(checkpoint: Any, file: Path) -> None:
        if len(saved) == 3:
            file.write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        saved.append(checkpoint["step"])
        save(checkpoint, file)

    with monkeypatch.context() as patch:
        patch.setattr(module.torch, "save", fills_the_disk)
        with pytest.raises(RunError, match=r"cannot be written to .*checkpoints .*free.* the one before it is kept"):
            quiet(config_for(store, **EVERY_STEP), tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["last.pt", "previous.pt"]
    assert read_checkpoint(folder / "last.pt")["step"] == 3
    quiet(config_for(store, **EVERY_STEP), tmp_path / "run", resume=True)
    assert_same_run(unbroken, tmp_path / "run")


def test_a_disk_that_is_full_for_the_copies_keeps_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_last(tmp_path, small_checkpoint(1), also=[])

    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.shutil, "copyfile", full)
    with pytest.raises(RunError, match="No space left on device"):
        save_last(tmp_path, small_checkpoint(2), also=["best.pt"])
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
    assert read_checkpoint(tmp_path / "last.pt")["step"] == 1


def test_what_is_kept_for_good(store: Store, tmp_path: Path) -> None:
    changes = {"training.epochs": 3, "run.keep_epochs": 1}
    quiet(config_for(store, **changes), tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    kept = [f"step-{step:08d}.pt" for step in (3, 6, 9)]
    assert sorted(path.name for path in folder.iterdir()) == ["last.pt", "previous.pt", *kept]
    assert [read_checkpoint(folder / name)["step"] for name in kept] == [3, 6, 9]
    of_3, of_9 = load_encoder(folder / kept[0]), load_encoder(folder / kept[2])
    assert not torch.equal(of_3.patch_embed.weight, of_9.patch_embed.weight)
    finished = load_encoder(tmp_path / "run").state_dict()
    assert all(torch.equal(value, finished[name]) for name, value in of_9.state_dict().items())


@pytest.mark.parametrize("objective", ["mae", "sigreg"])
def test_checkpoints_without_a_teacher_are_of_the_student(
    store: Store, tmp_path: Path, objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {**EVERY_STEP, "training.objective": objective}
    quiet(config_for(store, **changes), tmp_path / "unbroken")
    with monkeypatch.context() as patch:
        kill_in_step(3, patch)
        with pytest.raises(Killed):
            quiet(config_for(store, **changes), tmp_path / "run")
    weights = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["model"]
    encoder = load_encoder(tmp_path / "run")
    assert torch.equal(encoder.patch_embed.weight, weights["student.patch_embed.weight"])
    with pytest.raises(CheckpointError, match="holds no teacher: found student"):
        load_encoder(tmp_path / "run", "teacher")
    quiet(config_for(store, **changes), tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "unbroken", tmp_path / "run")
    with pytest.raises(RunError, match=r"began with training\.objective = '.*', now it is 'jepa'"):
        quiet(config_for(store, **EVERY_STEP), tmp_path / "run", resume=True)


def test_a_checkpoint_of_another_model_is_refused(store: Store, tmp_path: Path, killed: Path) -> None:
    wider = config_for(store, **EVERY_STEP, **{"model.width": 32})
    quiet(wider, tmp_path / "wider")
    shutil.copyfile(tmp_path / "wider" / "checkpoints" / "last.pt", killed / "checkpoints" / "last.pt")
    with pytest.raises(CheckpointError, match=r"last\.pt does not fit the model of the run"):
        quiet(config_for(store, **EVERY_STEP), killed, resume=True)


@pytest.mark.parametrize("left", ["step,epo", "step,epoch,loss,lr,momentum,records_per_s,seconds,core_seconds", ""])
def test_half_a_first_row_is_forgotten(store: Store, tmp_path: Path, unbroken: Path, left: str) -> None:
    """A machine that was lost, or a disk that was full, in the first row that was written."""
    config = config_for(store, **EVERY_STEP)
    with pytest.MonkeyPatch.context() as patch:
        kill_in_step(0, patch)
        with pytest.raises(Killed):
            quiet(config, tmp_path / "run")
    (tmp_path / "run" / "metrics.csv").write_text(left)
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 2, "lo')
    quiet(config, tmp_path / "run", resume=True)
    assert_same_run(unbroken, tmp_path / "run")


def test_rows_after_the_checkpoint_and_half_a_row_are_forgotten(store: Store, killed: Path, unbroken: Path) -> None:
    for name, further in (
        ("metrics.csv", "6,2,0.1,0.1,0.1,1,1,1\n6,2,0."),
        ("metrics.jsonl", '{"step": 6, "loss": 0.1}\n{"step": 6'),
    ):
        (killed / name).write_text((killed / name).read_text() + further)
    (killed / ".run.json.abcd1234.json").write_text("{")
    quiet(config_for(store, **EVERY_STEP), killed, resume=True)
    assert_same_run(unbroken, killed)
    assert not list(killed.glob(".*"))


def test_a_table_can_get_columns_later(tmp_path: Path, store: Store) -> None:
    run = Run(tmp_path, config_for(store), {})
    run.log_evaluation({"step": 0, "a": 1.5})
    run.log_evaluation({"step": 5, "a": 2.5, "b": 3.0})
    run.log_evaluation({"step": 6, "b": 4.0})
    assert run.evaluations() == [{"step": 0, "a": 1.5}, {"step": 5, "a": 2.5, "b": 3.0}, {"step": 6, "b": 4.0}]
