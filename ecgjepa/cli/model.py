"""A model as it is passed on: as a folder, or to the Hugging Face hub."""

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
@click.option("--overwrite", is_flag=True, help="Replace the model folder that is there.")
def convert(ckpt: str, out: Path, encoder: Any, heads: int, overwrite: bool) -> None:
    """Any model -> a folder with its weights as safetensors and its config.json.

    CKPT is a run folder, a model folder, a .safetensors or published .pth file, ejepa_random, ejepa_multiblock, or
    hf://OWNER/NAME of the Hugging Face hub.
    """
    from ecgjepa.checkpoint import convert, refuse_folder

    refuse_folder(out, overwrite)
    model = convert(ckpt, out, encoder, heads=heads, overwrite=overwrite)
    sizes, contract = model.encoder.config, model.encoder.contract
    click.echo(
        f"{out}: {model.network} of {model.file}, width {sizes.width}, depth {sizes.depth}, {sizes.heads} heads; "
        f"{len(contract.leads)} leads, {contract.seconds:g} s at {contract.sampling_rate_hz} Hz in {contract.unit}, "
        f"{contract.resampling} resampling"
    )


@main.command()
@click.argument("ckpt")
@click.argument("repository")
@ENCODER
@HEADS
@click.option("--private/--public", default=True, show_default=True, help="Who may see a repository that is made.")
@click.option("--revision", help="Branch; main if not given.")
@click.option("--message", help="Of the commit.")
@click.option("--license", help="Of the weights, as the hub calls it: mit, cc-by-4.0, ...; not stated if not given.")
@click.option("--card", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="README.md of your own.")
@click.option("--dry-run", type=click.Path(path_type=Path), help="Write what would be uploaded here, upload nothing.")
def push(
    ckpt: str,
    repository: str,
    encoder: Any,
    heads: int,
    private: bool,
    revision: str | None,
    message: str | None,
    license: str | None,
    card: Path | None,
    dry_run: Path | None,
) -> None:
    """Publish a model on the Hugging Face hub, as OWNER/NAME, with a model card.

    CKPT is what `ecgjepa convert` takes. The token is that of HF_TOKEN or `hf auth login`.
    """
    from ecgjepa.hub import prepare_upload, push_to_hub

    settings: dict[str, Any] = {"which": encoder, "heads": heads, "license": license}
    settings["card"] = None if card is None else card.read_text(encoding="utf-8")
    if dry_run is not None and dry_run.exists():
        raise FileExistsError(f"{dry_run} exists already; choose another folder")
    if dry_run is not None:
        prepare_upload(ckpt, dry_run, repository, **settings)
        click.echo(f"{dry_run}: what would be uploaded to {repository}")
        return
    click.echo(push_to_hub(ckpt, repository, private=private, revision=revision, commit_message=message, **settings))
