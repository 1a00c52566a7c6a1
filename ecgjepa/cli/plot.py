"""One file with an ECG -> a picture of it: on paper, and with what an encoder makes of it."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecgjepa.cli.flags import HEADS
from ecgjepa.cli.main import main

if TYPE_CHECKING:
    from ecgjepa.evaluate.shading import Shading
    from ecgjepa.signal import Recording

    Shaded = tuple[Shading, tuple[str, ...]]


@main.command()
@click.argument("record", type=click.Path(path_type=Path))
@click.option("--row", type=click.IntRange(0), help="Row of a file that holds many records.")
@click.option("--out", type=click.Path(path_type=Path), help="PNG, SVG or PDF; RECORD.png in this folder if not given.")
@click.option("--overwrite", is_flag=True, help="Replace the picture that is there.")
@click.option("--start-s", type=click.FloatRange(0), default=0.0, show_default=True)
@click.option("--seconds", type=float, default=10.0, show_default=True, help="At most 60.")
@click.option("--gain-mm-per-mv", type=float, help="10; 5 or 20 by itself where traces are very large or small.")
@click.option("--comments", is_flag=True, help="Show the header's text, which may name the patient.")
@click.option("--sampling-rate-hz", type=float, help="Of a file that does not say it.")
@click.option("--leads", help="Names of the leads of a file that does not say them, as I,II,V1.")
@click.option("--unit", help="mV, uV, V, nV or adc, of a file that does not say it.")
@click.option("--gain-per-mv", type=float, help="Counts per mV, with --unit adc.")
@click.option("--attention", metavar="CKPT", help="Shade the attention received.")
@click.option("--layer", help="Block whose attention is shown, from 1, or rollout; the last if not given.")
@click.option(
    "--occlusion",
    type=(str, click.Path(path_type=Path)),
    metavar="CKPT HEAD",
    help="Shade what speaks for a class. HEAD: head.safetensors, or a result folder of probe.",
)
@click.option("--class", "class_name", metavar="NAME", help="Class of the head.")
@click.option("--stretch-s", type=float, default=0.4, show_default=True, help="Length of what is hidden at once.")
@click.option("--all-leads", is_flag=True, help="Hide it in all leads at once.")
@click.option("--score", type=click.Choice(["probability", "log-odds"]), default="probability", show_default=True)
@click.option(
    "--encoder",
    type=click.Choice(["teacher", "student"]),
    help="The head's own, else the teacher, if not given.",
)
@HEADS
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Stretches hidden at once.")
@click.option("--device", default="auto", show_default=True)
def plot(
    record: Path,
    row: int | None,
    out: Path | None,
    overwrite: bool,
    start_s: float,
    seconds: float,
    gain_mm_per_mv: float | None,
    comments: bool,
    sampling_rate_hz: float | None,
    leads: str | None,
    unit: str | None,
    gain_per_mv: float | None,
    attention: str | None,
    layer: str | None,
    occlusion: tuple[str, Path] | None,
    class_name: str | None,
    stretch_s: float,
    all_leads: bool,
    score: Any,
    encoder: Any,
    heads: int,
    batch_size: int,
    device: str,
) -> None:
    """One ECG -> a picture: 25 mm/s and 10 mm/mV in print, and what an encoder looks at or a class rests on."""
    if attention is not None and occlusion is not None:
        raise click.UsageError("give either --attention or --occlusion")
    if not math.isfinite(start_s):
        raise click.UsageError(f"--start-s {start_s}: expected a number of seconds")
    if (occlusion is None) != (class_name is None):
        raise click.UsageError("--occlusion and --class belong together")
    if layer is not None and attention is None:
        raise click.UsageError("--layer belongs to --attention")
    from ecgjepa.data.formats.hints import Hints
    from ecgjepa.data.readers import read
    from ecgjepa.embed.inputs import split_leads
    from ecgjepa.evaluate.picture import check_target, draw_recording, save_figure, take_stretch

    name = record.stem if row is None else f"{record.stem}-{row}"
    suffix = "-attention" if attention else f"-occlusion-{class_name}" if occlusion else ""
    target = out or Path("".join(c if c.isalnum() or c in "-_." else "_" for c in name + suffix) + ".png")
    check_target(target, overwrite)
    named = None if leads is None else split_leads(leads)
    hints = Hints(sampling_rate_hz, named, unit, gain_per_mv)
    recording = read(record, row, None, hints)
    stretch = take_stretch(recording, start_s, seconds)
    shading: Shading | None = None
    notes: tuple[str, ...] = ()
    if attention is not None:
        shading, notes = _attention(stretch, attention, layer, encoder, heads, device)
    elif occlusion is not None:
        options = {"stretch_s": stretch_s, "all_leads": all_leads, "batch_size": batch_size}
        options["score"] = score.replace("-", "_")
        shading, notes = _occlusion(stretch, *occlusion, str(class_name), encoder, heads, device, options)
    figure = draw_recording(
        recording,
        start_s=start_s,
        seconds=seconds,
        gain_mm_per_mv=gain_mm_per_mv,
        comments=comments,
        notes=notes,
        shading=shading,
    )
    save_figure(figure, target, overwrite)
    click.echo(target)


def _attention(stretch: "Recording", ckpt: str, layer: str | None, which: Any, heads: int, device: str) -> "Shaded":
    from ecgjepa.checkpoint import choose_device, load_encoder
    from ecgjepa.evaluate.overlays import attention_shading

    if layer is not None and layer != "rollout" and not layer.isdecimal():
        raise click.UsageError(f"--layer {layer}: expected the number of a block, from 1, or rollout")
    encoder = load_encoder(ckpt, which, heads=heads).to(choose_device(device))
    return attention_shading(stretch, encoder, layer if layer in (None, "rollout") else int(layer))  # type: ignore[arg-type]


def _occlusion(
    stretch: "Recording",
    ckpt: str,
    head_path: Path,
    class_name: str,
    which: Any,
    heads: int,
    device: str,
    options: dict[str, Any],
) -> "Shaded":
    from ecgjepa.checkpoint import choose_device, load_encoder
    from ecgjepa.evaluate.head import Head
    from ecgjepa.evaluate.overlays import occlusion_shading

    head = Head.load(head_path)
    own = head.about.get("encoder")
    encoder = load_encoder(ckpt, which or (own if own in ("teacher", "student") else None), heads=heads)
    return occlusion_shading(stretch, encoder.to(choose_device(device)), head, class_name, progress=True, **options)
