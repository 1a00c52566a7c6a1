"""Encoder -> a file for other programs."""

from pathlib import Path
from typing import Any

import click

from ecgjepa.cli.flags import ENCODER, HEADS
from ecgjepa.cli.main import main


@main.command()
@click.argument("ckpt")
@click.argument("out", type=click.Path(path_type=Path))
@ENCODER
@HEADS
@click.option("--layer", type=click.IntRange(1), help="Tokens after this block, without the final norm.")
@click.option("--overwrite", is_flag=True, help="Replace the file that is there.")
def export(ckpt: str, out: Path, encoder: Any, heads: int, layer: int | None, overwrite: bool) -> None:
    """Any model -> OUT.onnx, compared with the encoder before it is there.

    CKPT is what `ecgjepa convert` takes.
    """
    from ecgjepa.checkpoint import load_model, public_notes
    from ecgjepa.export.onnx_file import check_target, export_onnx

    check_target(out, overwrite)
    model = load_model(ckpt, encoder, heads=heads)
    difference = export_onnx(model.encoder, out, layer=layer, notes=public_notes(model), overwrite=overwrite)
    size_mb = out.stat().st_size / 1e6
    click.echo(f"{out}: {size_mb:,.1f} MB, {model.network} of {model.file}, at most {difference:.1e} from the encoder")
