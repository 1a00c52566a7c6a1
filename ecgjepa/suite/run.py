"""All cells of a suite, one result folder each; what is there already is not computed again.

OUT/suite.json      settings, encoders, stores, versions, and the cells that could not be evaluated, with the reason
    features/       of frozen encoders, kept for the next task, read-out or call
    results/ENCODER/TASK/READOUT.../result.json, predictions.parquet, ...
    table.csv, table.tex, report.html
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import torch

from ecgjepa.checkpoint import find_seen
from ecgjepa.data.seen import Seen
from ecgjepa.data.store import Store
from ecgjepa.errors import RunError
from ecgjepa.evaluate.encoders import NamedEncoder, random_twin_of
from ecgjepa.evaluate.feature_cache import FeatureCache
from ecgjepa.evaluate.probe import Conditions, run_probe
from ecgjepa.evaluate.questions import read_question
from ecgjepa.evaluate.summary import versions
from ecgjepa.evaluate.targets import RegressionTargets, Targets
from ecgjepa.files import write_json
from ecgjepa.suite.cells import Cell, plan_cells
from ecgjepa.suite.results import SUITE, cell_of, is_whole, read_suite_file
from ecgjepa.suite.settings import SuiteSettings
from ecgjepa.suite.tasks import Task, choose_tasks, tasks_of
from ecgjepa.suite.tuned import tune_cell

FEATURES, MEASURED = "features", "measured"
PARTS = {SUITE, FEATURES, MEASURED, "results", "table.csv", "table.tex", "report.html"}


@dataclass(frozen=True)
class Place:
    """Where and how a suite runs; changes no result.

    Attributes:
        out: its folder.
        device: of encoders and training.
        batch_size: records embedded at once.
        command: what was typed, for the results.
        overwrite: begin again in place of the suite that is there.
    """

    out: Path
    device: str | torch.device = "cpu"
    batch_size: int = 64
    command: str = ""
    progress: bool = True
    allow_overlap: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Failure:
    """A cell that could not be evaluated, and why."""

    cell: Cell
    reason: str


def run_suite(
    stores: Sequence[Store], encoders: Sequence[NamedEncoder], settings: SuiteSettings, place: Place
) -> list[Failure]:
    """Evaluate every encoder on every store, and leave the folder of a suite, but for tables and page.

    A cell that cannot be evaluated (no test record, an encoder of other leads, records seen in pretraining) is named
    in `suite.json` with the reason, and the others go on.

    Raises:
        ValueError: two encoders or two stores of one name, or a task that a store does not have.
        RunError: the folder holds a suite with other settings, encoders or stores.
    """
    named = {each.name: each for each in encoders}
    _check_distinct("encoder", [each.name for each in encoders])
    _check_names([each.name for each in encoders])
    _check_distinct("data set", [str(store.info["dataset"]) for store in stores])
    tasks = [tasks_of(store) for store in stores]
    if settings.tasks:
        tasks = choose_tasks(tasks, settings.tasks)
    before, failed_before, info = _begin(stores, encoders, settings, place)
    planned = [plan_cells(settings, list(named), asked) for asked in tasks]
    failures: list[Failure] = []
    for store, cells in zip(stores, planned, strict=True):
        targets: dict[Task, Targets | RegressionTargets | ValueError] = {}
        for number, cell in enumerate(cells, 1):
            folder = place.out / cell.folder
            if is_whole(folder):
                continue
            if place.progress:
                click.echo(f"{store.info['dataset']} {number}/{len(cells)}  {cell.folder.removeprefix('results/')}")
            if cell.task not in targets:
                targets[cell.task] = _targets(store, cell.task, place.out / MEASURED)
            try:
                if isinstance(problem := targets[cell.task], ValueError):
                    raise problem
                _evaluate(cell, store, named[cell.encoder], problem, settings, place)
            except RunError:
                raise
            except (ValueError, OSError, RuntimeError) as error:  # of one cell, or of somebody's encoder
                reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                failures.append(Failure(cell, reason))
                if place.progress:
                    click.echo(f"    not evaluated: {reason}", err=True)
    every = [asdict(cell) for cells in planned for cell in cells]
    failed = [{**asdict(each.cell), "reason": each.reason} for each in failures]
    failed += [each for each in failed_before if _cell(each) not in every and not is_whole(place.out / _folder(each))]
    kept = [cell for cell in before if cell not in every and is_whole(place.out / cell_of(cell).folder)]
    write_json(place.out / SUITE, info | {"status": "finished", "cells": [*every, *kept], "failed": failed})
    return failures


def _evaluate(
    cell: Cell,
    store: Store,
    named: NamedEncoder,
    targets: Targets | RegressionTargets,
    settings: SuiteSettings,
    place: Place,
) -> None:
    if cell.is_tuned:
        tune_cell(cell, store, named, targets, settings, place)
        return
    result = run_probe(
        store,
        named.encoder,
        random_twin_of(named.encoder, _seed_of_twin(named, cell.seed - settings.seed if cell.is_plain else 0)),
        level=cell.task.level,
        task=cell.task.kind if cell.task.kind in ("multilabel", "multiclass") else "multilabel",
        targets=targets,
        protocol=settings.protocol,
        conditions=Conditions(
            readout=cell.readout,  # type: ignore[arg-type]
            label_fraction=cell.label_fraction,
            leads=cell.leads,
            snr_db=cell.snr_db,
            seed=cell.seed,
        ),
        encoder_name=named.name,
        resamples=settings.resamples,
        min_positives=settings.min_positives,
        cache=FeatureCache(place.out / FEATURES, place.batch_size, place.device, place.progress),
        command=place.command,
        checkpoint=named.source,
        seen=_seen(named),
        allow_overlap=place.allow_overlap,
    )
    result.save(place.out / cell.folder, overwrite=True)  # what is there is no whole result


def _seed_of_twin(named: NamedEncoder, number: int) -> int:
    """The first twin has the weights from which the encoder's own run began; further ones have others."""
    began = 0 if named.loaded is None else int(named.loaded.notes.get("seed", 0))
    return began + number


def _seen(named: NamedEncoder) -> Seen | None:
    file = None if named.loaded is None else find_seen(named.loaded)
    return None if file is None else Seen.read(file)


def _targets(store: Store, task: Task, measured: Path) -> Targets | RegressionTargets | ValueError:
    try:
        return read_question(store, task.question, measured)
    except ValueError as error:
        return error


def _begin(
    stores: Sequence[Store], encoders: Sequence[NamedEncoder], settings: SuiteSettings, place: Place
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """Write what the suite is, or check that it is the one that is there.

    Returns the cells it had, those that had failed, and what it is now.
    """
    same: dict[str, Any] = {
        "settings": settings.model_dump(mode="json") | {"allow_overlap": place.allow_overlap},
        "encoders": [
            {"name": each.name, "network": each.network, "fingerprint": each.fingerprint} for each in encoders
        ],
        "stores": [
            {"dataset": str(store.info["dataset"]), "records": len(store), "checksums": store.info["checksums"]}
            for store in stores
        ],
    }
    file, before, failed = place.out / SUITE, [], []
    if place.overwrite:
        _remove(place.out)
    if file.is_file():
        found = read_suite_file(file)
        before, failed = found["cells"], found["failed"]
        for part in ("encoders", "stores", "settings"):
            if _differ(part, found.get(part), same[part]):
                raise RunError(
                    f"{place.out} holds a suite of other {part}; choose another --out, or --overwrite that one"
                )
    place.out.mkdir(parents=True, exist_ok=True)
    info = same | {"sources": [each.source for each in encoders], "command": place.command, "versions": versions()}
    write_json(file, info | {"status": "running", "cells": before, "failed": failed})
    return before, failed, info


def _differ(part: str, old: Any, new: Any) -> bool:
    """Whether results of the two must not stand in one table; more cells of the same kind may be added."""
    if part != "settings":
        return bool(old != new)
    fixed = ("allow_overlap", "protocol", "epochs", "finetune_lr", "scratch_lr", "resamples", "min_positives", "seed")
    return not isinstance(old, Mapping) or any(old.get(name) != new[name] for name in fixed)


def _remove(out: Path) -> None:
    """Remove the parts of a suite, and nothing else."""
    for name in PARTS:
        part = out / name
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)


def _cell(failed: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in failed.items() if key != "reason"}


def _folder(failed: dict[str, Any]) -> str:
    return cell_of(_cell(failed)).folder


def _check_names(names: Sequence[str]) -> None:
    """Names of encoders are names of folders."""
    if wrong := [name for name in names if not re.fullmatch(r"\w[\w .+-]*", name)]:
        raise ValueError(f"encoder {wrong[0]!r}: expected a name of letters, digits and . + - _, as in name=CKPT")


def _check_distinct(what: str, names: Sequence[str]) -> None:
    if twice := [name for name in names if list(names).count(name) > 1]:
        raise ValueError(f"two {what}s are called {twice[0]!r}; results stand by name, so each needs its own")
