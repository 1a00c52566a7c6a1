"""The model card, README.md of a repository: what the files of the model say, and where they say nothing, that."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from ecgjepa.checkpoint import CheckpointError
from ecgjepa.hub.results import Result, as_row
from ecgjepa.model.encoder import Encoder

TAGS = ("ecg", "electrocardiogram", "12-lead-ecg", "self-supervised-learning", "jepa", "ecg-jepa")
PAPER = "arXiv:2410.08559"
RESAMPLING = {
    "polyphase": "polyphase filter at the exact ratio of the rates",
    "fft": "in the frequency domain (`scipy.signal.resample`), as the published code does",
}
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")

USE = """\
```python
from pathlib import Path

import ecgjepa
import torch

encoder = ecgjepa.from_pretrained("{name}")
recording = ecgjepa.read(Path("record.hea"))
signal = ecgjepa.standardize(recording, encoder.contract)
with torch.inference_mode():
    features = encoder(torch.from_numpy(signal.signal_mv)[None])  # (1, {width})
```"""

CITATION = """\
```bibtex
@article{kim2024ecgjepa,
  title   = {Learning General Representation of 12-Lead Electrocardiogram With a Joint-Embedding Predictive
             Architecture},
  author  = {Sehun Kim},
  journal = {arXiv preprint arXiv:2410.08559},
  year    = {2024}
}
```"""


def model_card(
    name: str,
    encoder: Encoder,
    network: str,
    notes: Mapping[str, Any],
    results: Sequence[Result],
    license: str | None = None,
) -> str:
    """README.md of a model, Markdown with YAML front matter.

    Args:
        name: `owner/name` on the hub.
        encoder: the model.
        network: `teacher`, `student` or `model`.
        notes: what its `config.json` says beside sizes and contract: `provenance`, `training`, ...
        results: what was measured.
        license: identifier of the hub's list, such as `mit`; none is stated where None.

    Raises:
        CheckpointError: the licence is no identifier.
    """
    width = encoder.config.width
    parts = [
        _front_matter(license),
        f"# {name.partition('/')[2]}",
        f"Encoder of the ECG as in ECG-JEPA ([{PAPER}](https://arxiv.org/abs/2410.08559)), learned without labels: "
        f"from a recording to {width} numbers, or to {width} for each patch of each lead.\n\n"
        "**For research, not for diagnosis.** It is no medical device, and nothing here shows it fit for clinical use.",
        f"## Use\n\n`pip install 'ecgjepa[hub]'`\n\n{USE.format(name=name, width=width)}",
        f"## What it expects of a signal\n\n{_table(_contract(encoder))}\n\n"
        "`ecgjepa.standardize` brings a recording there, or refuses it with a reason.",
        f"## Architecture\n\n{_table(_sizes(encoder, network))}",
        f"## Training data\n\n{_data(notes.get('training'))}",
        f"## Training\n\n{_training(notes)}",
        f"## Measured\n\n{_measured(results)}",
        f"## Provenance\n\n{_provenance(notes.get('provenance'))}",
        f"## Citation\n\n{CITATION}",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(license: str | None) -> str:
    if license is not None and not _LICENSE.fullmatch(license):
        raise CheckpointError(f"license {license!r}: expected an identifier of the hub, such as mit or cc-by-nc-4.0")
    lines = ["---", *([f"license: {json.dumps(license)}"] if license else []), "library_name: ecgjepa"]
    return "\n".join([*lines, "pipeline_tag: feature-extraction", "tags:", *(f"- {tag}" for tag in TAGS), "---"])


def _contract(encoder: Encoder) -> dict[str, Any]:
    contract = encoder.contract
    return {
        "leads": ", ".join(contract.leads),
        "sampling rate": f"{contract.sampling_rate_hz} Hz",
        "duration": f"{contract.seconds:g} s ({contract.samples:,} samples)",
        "unit": contract.unit,
        "resampling": RESAMPLING.get(contract.resampling, contract.resampling),
        "filter, normalisation": "none",
    }


def _sizes(encoder: Encoder, network: str) -> dict[str, Any]:
    config, millions = encoder.config, sum(weight.numel() for weight in encoder.parameters()) / 1e6
    known = {"teacher": "teacher (running average of the student)", "student": "student"}
    patch_ms = 1000 * config.patch_samples / encoder.contract.sampling_rate_hz
    return {
        "network": known.get(network, "not stated"),
        "parameters": f"{millions:.3g} M",
        "width, depth, heads": f"{config.width}, {config.depth}, {config.heads}",
        "MLP ratio": f"{config.mlp_ratio:g}",
        "patches": f"{len(encoder.contract.leads)} leads x {encoder.patches} patches of {patch_ms:g} ms",
        "patch embedding normalised": "yes" if config.patch_norm else "no",
        "attention": "within a lead, and within a moment (cross-pattern)",
    }


def _data(training: Any) -> str:
    if not isinstance(training, dict) or not training.get("stores"):
        return "Not stated in the files of this model."
    rows = []
    for store in training["stores"]:
        account = store.get("account") or {}
        refused = ", ".join(f"{reason} {count:,}" for reason, count in account.get("refused", {}).items()) or "none"
        rows.append(
            {
                "store": store["name"],
                "data set": store.get("dataset", ""),
                "records found": _count(account.get("candidates")),
                "kept": _count(store.get("records")),
                "trained on": _count(store.get("trained_on")),
                "refused, by reason": refused,
                "SHA-256 of the signals": f"`{str(store.get('checksum', ''))[:16]}`",
            }
        )
    held_out = (
        "Validation and test records **were trained on**: any evaluation on them is spoilt."
        if training.get("include_held_out")
        else "Records that a store marks as validation or test were not trained on."
    )
    mixed = "".join(
        f" {what}: {', '.join(f'{source} {value:g}' for source, value in training[key].items())}."
        for key, what in (("weights", "Drawn by weights"), ("gains", "Amplitudes multiplied by"))
        if training.get(key)
    )
    return f"{_wide(rows)}\n\n{held_out}{mixed}"


def _training(notes: Mapping[str, Any]) -> str:
    training = notes.get("training")
    if not isinstance(training, dict):
        known = {name: notes[name] for name in ("epoch", "steps", "seed") if name in notes}
        return _table(known) if known else "Not stated in the files of this model."
    rows = {"status": training.get("status"), "steps planned": _count(training.get("steps"))}
    rows["steps done"] = _count(notes.get("steps", training.get("steps_done")))
    rows |= {f"mask: {name}": value for name, value in training.get("mask", {}).items()}
    rows |= {name.replace("_", " "): value for name, value in training.get("recipe", {}).items()}
    if training.get("seconds") is not None:
        rows["time"] = f"{training['seconds'] / 3600:.2f} h"
    rows["device"] = training.get("device")
    rows["versions"] = ", ".join(f"{name} {version}" for name, version in training.get("versions", {}).items())
    return _table({name: value for name, value in rows.items() if value not in (None, "")})


def _measured(results: Sequence[Result]) -> str:
    if not results:
        return "Not measured."
    lines = [
        _wide([as_row(result) for result in results]),
        "The encoder frozen, a linear read-out on top; the same encoder with random weights in the same way beside it. "
        "In brackets: 95 % intervals over resamples of the test patients; differences are paired.",
    ]
    warnings = dict.fromkeys(warning for result in results for warning in result.warnings)
    return "\n\n".join([*lines, *(["\n".join(f"- {warning}" for warning in warnings)] if warnings else [])])


def _provenance(provenance: Any) -> str:
    return _table(provenance) if isinstance(provenance, dict) and provenance else "Not stated."


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else ""


def _table(rows: Mapping[str, Any]) -> str:
    cells = [[_cell(name), _cell(value)] for name, value in rows.items()]
    return tabulate(cells, ["", ""], tablefmt="github", disable_numparse=True)


def _wide(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [[_cell(value) for value in row.values()] for row in rows]
    return tabulate(cells, list(rows[0]), tablefmt="github", disable_numparse=True)


def _cell(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return " ".join(text.replace("|", "\\|").split())
