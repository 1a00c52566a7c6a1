"""The part of the report about pretraining: the loss, the evaluations made meanwhile, the masks, time and rate."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ecgjepa.data.store import Store, StoreError
from ecgjepa.evaluate.pages import Picture, picture
from ecgjepa.evaluate.paper import ecg_paper
from ecgjepa.evaluate.plots import MAX_LOSS_POINTS, loss_curve
from ecgjepa.evaluate.run_files import ReportError, RunInfo
from ecgjepa.evaluate.training_plots import coverage_bars, evaluation_panels, measured

RATE_ROWS = 20
LOSSES = {
    "jepa": "Smooth L1 between predicted and target features; features that hold nothing but positions are easy to "
    "predict.",
    "mae": "Mean squared error of the hidden patches, each normalised by its own mean and deviation.",
    "sigreg": "Squared error between predicted and target features, and SIGReg.",
}


@dataclass(frozen=True)
class Pace:
    """How fast a run trains; None for what its files do not say.

    Attributes:
        seconds: of training so far.
        core_seconds: of all processor cores.
        records_per_s: the median of the last rows of the log.
        left_seconds: until the last step at this pace, while the run goes on.
    """

    seconds: float | None
    core_seconds: float | None
    records_per_s: float | None
    left_seconds: float | None


def pace(run: RunInfo, metrics: pd.DataFrame | None) -> Pace:
    """Time and rate from the log, the time from `run.json` where the log has none."""
    last = {} if metrics is None else {name: float(value) for name, value in metrics.iloc[-1].items()}
    seconds = run.seconds if run.status == "finished" else last.get("seconds", run.seconds)
    rate = None if metrics is None or "records_per_s" not in metrics else metrics["records_per_s"].tail(RATE_ROWS)
    left = None
    if run.status == "running" and run.steps and last.get("step") and seconds:
        left = seconds / last["step"] * (run.steps - last["step"])
    return Pace(seconds, last.get("core_seconds"), None if rate is None else float(rate.median()), left)


def loss_picture(metrics: pd.DataFrame | None, run: RunInfo) -> Picture:
    """Loss, learning rate and momentum over the steps."""
    if metrics is None:
        return Picture("No training step has been logged yet.")
    objective = run.config.get("training", {}).get("objective", "jepa")
    caption = LOSSES.get(objective, f"Objective: {objective}.") + (
        " A falling loss alone is no sign of learning; the comparison with random weights tells."
    )
    if len(metrics) > MAX_LOSS_POINTS:
        caption += " The line is the mean of neighbouring rows of the log, the band their extremes."
    return picture(loss_curve(metrics), "loss", "Loss, learning rate and teacher momentum over the steps", caption)


def evaluations_picture(evaluations: pd.DataFrame | None, run: RunInfo) -> Picture:
    """What was measured of the representation while it was trained."""
    if evaluations is None:
        return Picture("No evaluation has been made while it trained; --evaluate-epochs says how often.")
    if not (names := measured(evaluations)):
        return Picture("evaluations.csv holds no finite number.")
    caption = f"{len(evaluations):,} evaluations, the last after step {evaluations['step'].iloc[-1]:,.0f}. "
    if "probe_auc" in names:
        level = run.probe.level if run.probe and run.probe.level else run.config.get("run", {}).get("probe_level")
        caption += (
            f"The online probe{f' ({level})' if level else ''} learns from part of the training records and is scored "
            "on validation records, so it is for following a run, and not the number to report. "
        )
    if any(name != "probe_auc" for name in names):
        caption += (
            "The others tell a representation that holds records apart from one that has collapsed: variance between "
            "records and RankMe that fall, or a mean cosine that nears 1, are its signs. "
        )
    if run.alarms:
        caption += "Dashed: alarms."
    figure = evaluation_panels(evaluations, [alarm.step for alarm in run.alarms])
    return picture(figure, "evaluations", "Measures of the representation over the steps", caption.strip())


def coverage_picture(run: RunInfo) -> Picture | None:
    """How often each patch is hidden, None if the run does not say it.

    Raises:
        ReportError: a share that is none.
    """
    shares = run.mask_coverage
    if not shares:
        return None
    if not all(math.isfinite(share) and 0 <= share <= 1 for share in shares):
        raise ReportError(f"run.json: mask_coverage must be shares of 0 to 1, found {min(shares)} to {max(shares)}")
    least, most = int(np.argmin(shares)), int(np.argmax(shares))
    caption = (
        f"Masks of this run hide {100 * np.mean(shares):.0f} % of the patches; least often patch {least} "
        f"({100 * shares[least]:.0f} %), most often patch {most} ({100 * shares[most]:.0f} %)."
    )
    figure = coverage_bars(shares, run.example.patch_seconds if run.example else 0.2)
    return picture(figure, "coverage", "Share of masks that hide each patch", caption)


def example_picture(run: RunInfo) -> Picture:
    """The example ECG on paper with the patches that its mask hides."""
    example = run.example
    if example is None:
        return Picture("run.json names no example record, so no ECG is drawn.")
    try:
        store = Store.open(example.store)
    except StoreError as error:
        return Picture(f"No ECG is drawn, because its store cannot be opened: {error}.")
    row, contract = example.row, store.contract
    if not 0 <= row < len(store) or store.column("record")[row].as_py() != example.record:
        return Picture(f"No ECG is drawn: row {row} of {example.store} is no longer the record {example.record}.")
    figure = ecg_paper(
        store.signals_mv([row])[0] * np.float32(example.gain),
        contract.leads,
        contract.sampling_rate_hz,
        example.hidden_patches,
        example.patch_seconds,
    )
    patches = round(contract.seconds / example.patch_seconds)
    hidden = f"{len(example.hidden_patches)} of {patches} patches of {example.patch_seconds:g} s"
    caption = (
        f"Record {example.record}, as the model gets it: {contract.sampling_rate_hz} Hz, no filter. Shaded: the "
        f"{hidden} that this mask hides, in every lead alike; their features are predicted from the rest. "
        f"III, aVR, aVL and aVF are computed from I and II and drawn for the reader only."
    )
    return picture(figure, "ecg", f"ECG of record {example.record} on standard paper; {hidden} are shaded", caption)
