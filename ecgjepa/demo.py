"""The main job from end to end on synthetic ECGs: files -> stores -> pretraining -> linear evaluation -> report."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import click

from ecgjepa.config import load_config
from ecgjepa.data.prepare import prepare
from ecgjepa.data.seen import Seen
from ecgjepa.data.synthetic import write_code15_archive, write_ptbxl_archive

LABELLED_RECORDS, UNLABELLED_RECORDS = 600, 200
LEVEL = "all"
MARKER = "THIS-IS-A-DEMO.txt"
# Large enough to learn something in two minutes on two cores, and no larger.
SETTINGS = {
    "model.width": 96,
    "model.depth": 3,
    "model.heads": 4,
    "model.patch_norm": True,
    "model.predictor_width": 48,
    "model.predictor_depth": 2,
    "model.predictor_heads": 4,
    "mask.scope": "record",
    "training.target": "centred",
    "training.epochs": 20,
    "training.batch_size": 32,
    "training.lr": 1e-3,
    "training.warmup_epochs": 1.0,
    "training.precision": "fp32",  # bfloat16 is fifty times slower on a processor that does not have it
    "run.log_every": 5,
}


@dataclass(frozen=True)
class DemoParts:
    """What there is to look at once a demo has run, below its folder.

    Attributes:
        run: the trained encoder.
        head: the classifier that was learned on its frozen features.
        store: the labelled ECGs.
        index: their embeddings, to be searched; made when they are first looked at.
    """

    run: Path
    head: Path
    store: Path
    index: Path


def find_demo(out: Path) -> DemoParts | None:
    """The parts of a demo that has run to its end; None where none has, and something may be missing."""
    run = out / "runs" / "demo"
    heads = sorted((run / "probes").glob("*/head.safetensors"))
    if not (out / MARKER).is_file() or not (out / "report.html").is_file() or len(heads) != 1:
        return None
    return DemoParts(run, heads[0], out / "stores" / "ptbxl", out / "index")


def index_demo(parts: DemoParts) -> None:
    """Embed and index the labelled ECGs of a demo, if that is not done yet."""
    if parts.index.exists():
        return
    from ecgjepa.checkpoint import load_encoder
    from ecgjepa.embed.pipeline import embed_files
    from ecgjepa.search import build_index

    table = parts.index.with_name("embeddings.parquet")
    embed_files(load_encoder(parts.run), parts.store, table, overwrite=True, source=str(parts.run))
    build_index(table, parts.index, level=LEVEL)


def run_demo(out: Path, *, seed: int, overwrite: bool, command: str) -> Path:
    """Run every stage into one folder; the path of the report.

    Args:
        out: the folder; must be absent or empty unless `overwrite`, which deletes it if it holds a demo.
        seed: of the records and of the training.
        command: what was typed, for the report.

    Raises:
        FileExistsError: `out` is not empty, and `overwrite` is False or it holds no demo.
    """
    from ecgjepa.checkpoint import SEEN, load_encoder, random_twin
    from ecgjepa.evaluate.probe import Conditions, run_probe
    from ecgjepa.evaluate.report import write_report
    from ecgjepa.evaluate.result_table import format_table
    from ecgjepa.train.pretrain import pretrain

    run = out / "runs" / "demo"
    _clear(out, overwrite)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).write_text("Made by `ecgjepa demo`; `--overwrite` deletes this folder.\n", encoding="utf-8")
    began = time.monotonic()
    click.echo(f"1/5  Synthetic ECGs as WFDB and HDF5 files, in the layouts of PTB-XL and CODE-15%: {out / 'raw'}")
    write_ptbxl_archive(out / "raw" / "ptbxl", LABELLED_RECORDS, seed, progress=True)
    write_code15_archive(out / "raw" / "code15", UNLABELLED_RECORDS, seed + 1, progress=True)

    click.echo(f"2/5  Files -> stores: {out / 'stores'}")
    stores = [
        prepare(layout, out / "raw" / layout, out / "stores" / layout, name=f"synthetic-{layout}")
        for layout in ("ptbxl", "code15")
    ]

    click.echo(f"3/5  Pretraining without labels: {run}")
    paths = [str(store.path) for store in stores]
    config = load_config(overrides={**SETTINGS, "training.seed": seed, "data.stores": paths})
    outcome = pretrain(config, run, command=command)
    if outcome.stopped_by is not None:
        raise KeyboardInterrupt

    click.echo("4/5  Linear evaluation of the frozen encoder, beside the same encoder with random weights")
    encoder = load_encoder(run)
    result = run_probe(
        stores[0],
        encoder,
        random_twin(encoder, seed),
        level=LEVEL,
        conditions=Conditions(seed=seed),
        encoder_name="teacher",
        command=command,
        seen=Seen.read(run / SEEN),
    )
    result.save(run / "probes" / result.name)
    click.echo(format_table(result.summary))

    report = write_report(run, out / "report.html")
    click.echo(f"5/5  Report: {report}   ({time.monotonic() - began:.0f} s in all)")
    return report


def _clear(out: Path, overwrite: bool) -> None:
    if not out.exists() or not any(out.iterdir()):
        return
    if not overwrite:
        raise FileExistsError(f"{out} exists already; --overwrite replaces it")
    if not (out / MARKER).is_file():
        raise FileExistsError(f"{out} is not empty and holds no demo: it is left as it is")
    shutil.rmtree(out)
