"""What the processes and the parts of a batch are given, put together, is what one process is given at once."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ecgjepa.config import Config
from ecgjepa.data.store import Store
from ecgjepa.train.distributed import Processes
from ecgjepa.train.inputs import Feed, Inputs
from ecgjepa.train.sources import Sources
from ecgjepa.train.training import Training, build_objective
from tests.data.stores import write_store
from tests.train.runs import config_for

BATCH = 12
# Axis of the records of each argument, and whether it is there once for every mask.
AXES = {
    "signal_mv_BLS": (0, False),
    "visible_patches": (0, True),
    "hidden_patches": (0, True),
    "path_scale": (2, True),
    "teacher_path_scale": (2, False),
}
MASKS: dict[str, dict[str, Any]] = {
    "batch": {},
    "batch, 3 masks": {"mask.masks_per_record": 3},
    "record": {"mask.scope": "record"},
    "record, 2 masks": {"mask.scope": "record", "mask.masks_per_record": 2, "mask.type": "block"},
    "reference": {"training.reference": True, "model.patch_norm": False},
    "sigreg": {"training.objective": "sigreg", "mask.scope": "record", "mask.masks_per_record": 2},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("inputs") / "ecgs", 40)


def settings(store: Store, masks: str, **changes: Any) -> Config:
    return config_for(store, **{"training.batch_size": BATCH, "model.drop_path": 0.5, **MASKS[masks], **changes})


def feed_of(config: Config, store: Store, rank: int = 0, processes: int = 1) -> Feed:
    reference = config.training.reference  # of which a store must be resampled as published
    opened = config.model_copy(update={"training": config.training.model_copy(update={"reference": False})})
    objective = build_objective(config, store.contract)
    batches = Sources.open(opened if reference else config).batches
    return Feed(batches, config, objective.student.patches, objective.extra_inputs, rank, processes)


def put_together(parts: list[Inputs], masks: int, *, one_mask: bool) -> dict[str, Tensor]:
    """The arguments for all records of some parts that follow each other; one mask is that of all of them."""
    whole: dict[str, Tensor] = {}
    for name, first in parts[0].arguments.items():
        if name not in AXES or (one_mask and name.endswith("patches")):
            assert all(torch.equal(part.arguments[name], first) for part in parts), name
            whole[name] = first
            continue
        axis, of_masks = AXES[name]
        copies = masks if of_masks else 1
        rows = [part.arguments[name].unflatten(axis, (copies, -1)) for part in parts]
        whole[name] = torch.cat(rows, dim=axis + 1).flatten(axis, axis + 1)
    return whole


@pytest.mark.parametrize("masks", MASKS)
def test_parts_of_all_processes_are_the_whole_batch(store: Store, masks: str) -> None:
    config = settings(store, masks)
    copies = config.mask.masks_per_record
    for step in (0, 4):  # of the first and of the second epoch
        (whole,) = feed_of(config, store).inputs(step)
        assert whole.share == 1
        for processes, micro in ((1, 5), (2, 4), (4, None), (3, 1)):
            divided = settings(store, masks, **{"run.micro_batch": micro})
            parts = [feed_of(divided, store, rank, processes).inputs(step) for rank in range(processes)]
            own = BATCH // processes
            sizes = [len(part.arguments["signal_mv_BLS"]) for part in parts[0]]
            assert max(sizes) == min(micro or own, own)
            for mine in parts:
                assert [part.share for part in mine] == [size / own for size in sizes]
                assert sum(part.share for part in mine) == pytest.approx(1, abs=1e-12)
            one_mask = copies == 1 and config.mask.scope == "batch"
            found = put_together([part for mine in parts for part in mine], copies, one_mask=one_mask)
            assert found.keys() == whole.arguments.keys()
            for name, expected in whole.arguments.items():
                assert torch.equal(found[name], expected), (name, step, processes, micro)
                assert found[name].is_contiguous()


@pytest.mark.parametrize("masks", MASKS)
def test_shapes_say_which_masks_a_record_has(store: Store, masks: str) -> None:
    config = settings(store, masks, **{"run.micro_batch": 5})
    copies = config.mask.masks_per_record
    for part, size in zip(feed_of(config, store).inputs(2), (5, 5, 2), strict=True):
        given = part.arguments
        rows = 1 if config.mask.scope == "batch" and copies == 1 else copies * size
        assert given["signal_mv_BLS"].shape == (size, len(store.contract.leads), store.contract.samples)
        assert given["visible_patches"].shape[0] == given["hidden_patches"].shape[0] == rows
        assert given["path_scale"].shape == (config.model.depth, 2, copies * size)
        patches = torch.cat([given["visible_patches"], given["hidden_patches"]], dim=1).sort(dim=1).values
        assert torch.equal(patches, torch.arange(patches.shape[1]).expand(rows, -1))
        assert ("teacher_path_scale" in given) == config.training.reference


def test_mask_rows_go_mask_by_mask(store: Store) -> None:
    """Row k * B + b is mask k of record b; those of a batch are the same in all of its records."""
    of_batch, of_record = settings(store, "batch, 3 masks"), settings(store, "record, 2 masks")
    (part,) = feed_of(of_batch, store).inputs(1)
    hidden_KBH = part.arguments["hidden_patches"].unflatten(0, (3, BATCH))
    assert torch.equal(hidden_KBH, hidden_KBH[:, :1].expand_as(hidden_KBH))
    assert len({tuple(row) for row in hidden_KBH[:, 0].tolist()}) == 3
    feed = feed_of(of_record, store)
    (part,) = feed.inputs(1)
    drawn_KBH = feed.masks(1).hidden_KBH
    assert drawn_KBH.shape[:2] == (2, BATCH)
    for k in range(2):
        for b in range(BATCH):
            assert torch.equal(part.arguments["hidden_patches"][k * BATCH + b], drawn_KBH[k, b])
    assert len({tuple(row) for row in drawn_KBH.flatten(0, 1).tolist()}) > BATCH


def test_functions_of_seed_and_step_only(store: Store) -> None:
    config = settings(store, "record, 2 masks")
    one, other = feed_of(config, store), feed_of(config, store)
    torch.manual_seed(7)
    first = [one.inputs(step)[0].arguments for step in range(5)]
    torch.manual_seed(8)
    for step in (4, 1, 3, 0, 2):  # in another order, and from other states of the global generator
        again = other.inputs(step)[0].arguments
        assert all(torch.equal(again[name], first[step][name]) for name in again)
    for name in ("signal_mv_BLS", "hidden_patches", "path_scale"):
        assert not torch.equal(first[0][name], first[1][name]), name
        elsewhere = feed_of(settings(store, "record, 2 masks", **{"training.seed": 1}), store).inputs(0)[0]
        assert not torch.equal(first[0][name], elsewhere.arguments[name]), name


def test_masks_do_not_depend_on_drop_path_nor_records_on_masks(store: Store) -> None:
    """Each has its own stream of chance, so that two runs that differ in one setting share the others."""
    (one,) = feed_of(settings(store, "record"), store).inputs(3)
    (still,) = feed_of(settings(store, "record", **{"model.drop_path": 0.0}), store).inputs(3)
    (twice,) = feed_of(settings(store, "record, 2 masks"), store).inputs(3)
    assert torch.equal(one.arguments["hidden_patches"], still.arguments["hidden_patches"])
    assert torch.equal(still.arguments["path_scale"], torch.ones_like(still.arguments["path_scale"]))
    assert not torch.equal(one.arguments["path_scale"], still.arguments["path_scale"])
    assert torch.equal(one.arguments["signal_mv_BLS"], twice.arguments["signal_mv_BLS"])


def test_reading_ahead_gives_the_same_steps(store: Store) -> None:
    feed = feed_of(settings(store, "record"), store)
    ahead = list(feed.from_step(2, 5))
    assert [step for step, _ in ahead] == [2, 3, 4]
    for step, parts in ahead:
        for name, expected in feed.inputs(step)[0].arguments.items():
            assert torch.equal(parts[0].arguments[name], expected)
    assert list(feed.from_step(5, 5)) == []


def test_an_error_of_the_reader_arrives_at_its_step(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = feed_of(settings(store, "batch"), store)
    read = type(feed.batches).batch

    def fails_at_3(self: Any, step: int, part: slice = slice(None)) -> Tensor:
        if step == 3:
            raise OSError("signals.npy: cannot be read")
        return read(self, step, part)

    monkeypatch.setattr(type(feed.batches), "batch", fails_at_3)
    steps = feed.from_step(0, 6)
    assert [step for step, _ in itertools.islice(steps, 3)] == [0, 1, 2]
    with pytest.raises(OSError, match="cannot be read"):
        next(steps)


def test_what_cannot_be_divided_is_refused_by_name(store: Store) -> None:
    with pytest.raises(ValueError, match="a batch of 12 records cannot be divided among 5 processes"):
        feed_of(settings(store, "batch"), store, processes=5)
    config = settings(store, "sigreg", **{"run.micro_batch": 4})
    processes = Processes(0, 1, torch.device("cpu"))
    with pytest.raises(ValueError, match="micro_batch 4 of 12 records: the objective sigreg compares all records"):
        Training.begin(config, Sources.open(config), processes, "factorised")
    sharded = settings(store, "batch", **{"run.shard": True})
    with pytest.raises(ValueError, match="--shard splits a model over several processes: start them with torchrun"):
        Training.begin(sharded, Sources.open(sharded), processes, "factorised")


def test_accumulation_gives_the_gradient_of_the_whole_batch(store: Store) -> None:
    """Of parts of 5, 5 and 2 records, in one process."""
    for masks, changes in (("record, 2 masks", {"training.target": "centred"}), ("batch", {}), ("batch, 3 masks", {})):
        found = []
        for micro in (None, 5):
            config = settings(store, masks, **{"run.micro_batch": micro, **changes})
            sources = Sources.open(config)
            training = Training.begin(config, sources, Processes(0, 1, torch.device("cpu")), "factorised")
            losses = [training.step(training.feed.inputs(step), training.rates(step)).item() for step in range(3)]
            found.append((losses, training.objective.state_dict()))
        (losses, weights), (losses_accumulated, accumulated) = found
        assert losses == pytest.approx(losses_accumulated, rel=1e-5)
        for name in weights:
            assert torch.allclose(weights[name], accumulated[name], rtol=1e-3, atol=2e-5), name


def test_the_feed_reads_its_own_records_only(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = feed_of(settings(store, "batch"), store, rank=1, processes=4)
    read, rows_read = Store.read_into, []

    def counts(self: Store, rows: Any, *further: Any) -> None:
        rows_read.extend(rows.tolist())
        read(self, rows, *further)

    monkeypatch.setattr(Store, "read_into", counts)
    feed.inputs(0)
    assert len(rows_read) == BATCH // 4


def test_a_path_of_the_store_may_be_relative(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(store, "batch", **{"data.stores": [store.path.name]})
    monkeypatch.chdir(Path(store.path).parent)
    (part,) = feed_of(config, store).inputs(0)
    assert part.arguments["signal_mv_BLS"].isfinite().all()
