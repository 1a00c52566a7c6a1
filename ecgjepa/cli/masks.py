"""Settings -> a picture of what the masks of a run hide."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecgjepa.cli.flags import config_flags
from ecgjepa.cli.main import command_line, main
from ecgjepa.config import Config, load_config

if TYPE_CHECKING:
    from ecgjepa.signal import Recording


@main.command()
@click.option("--config", "config_file", help="TOML file, or the name of a recipe; flags lie over it.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="SVG, PNG or HTML file to write.")
@click.option("--overwrite", is_flag=True, help="Replace the file that is there.")
@config_flags
def masks(config_file: str | None, out: Path, overwrite: bool, **flags: Any) -> None:
    """Settings of pretraining -> a picture of its masks: on an ECG, side by side, and how often each patch is hidden.

    The ECG is the first training record of --store, else a synthetic one. The masks are those of a run's first steps.
    """
    overrides = {key.replace("__", "."): value for key, value in flags.items() if value not in (None, ())}
    config = load_config(config_file, overrides)
    from ecgjepa.evaluate.mask_plots import RASTER_MASKS, coverage_figure, mask_numbers, mask_raster, masked_sheets
    from ecgjepa.evaluate.mask_preview import Panel, check_preview, write_preview
    from ecgjepa.train.mask_sample import expected_coverage, sample_masks

    check_preview(out, overwrite)
    ecg, rate_hz, samples = _example(config)
    patch_samples = config.model.patch_samples
    if samples % patch_samples or samples < 2 * patch_samples:
        raise ValueError(f"patch_samples {patch_samples}: {samples} samples of a lead are not two or more such patches")
    patches, patch_s = samples // patch_samples, patch_samples / rate_hz
    hidden_NP = sample_masks(config, patches)
    numbers = mask_numbers(hidden_NP)
    expected_P = expected_coverage(config.mask, patches, reference=config.training.reference)

    title = _title(config)
    sheets = masked_sheets(
        ecg.signal_mv, ecg.leads, ecg.sampling_rate_hz, hidden_NP, patch_s, (ecg.name, f"{title}; hidden: grey")
    )
    captions = [f"{ecg.name}: hidden patches are grey.", *["The same with another mask."] * (len(sheets) - 1)]
    panels = [
        Panel(f"sheet-{n}", sheet, caption) for n, (sheet, caption) in enumerate(zip(sheets, captions, strict=True))
    ]
    shown = min(RASTER_MASKS, len(hidden_NP))
    whose = "records of the first batch" if config.mask.scope == "record" else "steps, the same for all of a batch"
    raster = mask_raster(hidden_NP, patch_s, f"{shown} masks, a row each; hidden patches are blue ({whose})")
    panels.append(Panel("raster", raster, f"The first {shown} masks of a run ({whose}), in time."))
    coverage = coverage_figure(hidden_NP.mean(axis=0), expected_P, patch_s)
    panels.append(Panel("coverage", coverage, f"Share of {numbers.masks:,} masks that hide each patch."))
    write_preview(out, panels, title=title, lead=numbers.describe(), command=command_line(), overwrite=overwrite)
    click.echo(f"{title}\n{numbers.describe()}\n{out}")


def _example(config: Config) -> tuple["Recording", float, int]:
    """An ECG to draw; sampling rate and samples of a lead that the masks are made for."""
    from ecgjepa.signal import DEFAULT_CONTRACT, Recording

    if config.data.stores:
        from ecgjepa.data.store import Store
        from ecgjepa.train.sources import training_rows

        store = Store.open(config.data.stores[0])
        rows = training_rows(store, config.data)
        if not len(rows):
            raise ValueError(f"{store.path}: no record to train on, so none to draw")
        contract, row = store.contract, int(rows[0])
        name = f"{store.info['dataset']} {store.column('record')[row].as_py()}"
        ecg = Recording(name, store.signals_mv([row])[0], contract.leads, contract.sampling_rate_hz)
        return ecg, contract.sampling_rate_hz, contract.samples
    from ecgjepa.data.simulated.population import synthesize
    from ecgjepa.leads import LEADS_12

    contract, made = DEFAULT_CONTRACT, synthesize(0, 0, seconds=DEFAULT_CONTRACT.seconds)
    ecg = Recording("a synthetic ECG", made.signal_mv, LEADS_12, made.sampling_rate_hz)
    return ecg, contract.sampling_rate_hz, contract.samples


def _title(config: Config) -> str:
    mask, (low, high) = config.mask, config.mask.share
    what = (
        f"{low:g} to {high:g} of the patches"
        if mask.type == "random"
        else f"{mask.blocks} blocks of {low:g} to {high:g}"
    )
    form = "as the released code draws them, " if config.training.reference and mask.type == "block" else ""
    each = f", {mask.masks_per_record} for each record" if mask.masks_per_record > 1 else ""
    scope = "one mask for a batch" if mask.scope == "batch" else "one mask for each record"
    return f"{mask.type.capitalize()} masks, {what}, {form}{scope}{each}"
