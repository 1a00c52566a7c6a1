"""A ResNet over time, trained from scratch on the labels of a store, as an encoder beside those of ECG-JEPA.

    python examples/resnet1d.py --store stores/ptbxl --out runs/resnet1d
    ecgjepa evaluate --ckpt examples.resnet1d:trained ...

The kind of network is that of He et al. (2016), along time in place of an image, as in the benchmark of Strodthoff et
al. (2021, "Deep Learning for ECG Analysis: Benchmarks and Insights from PTB-XL"); sizes and training are plain choices,
not theirs. It learns from the train split, the epoch is chosen on validation, the test split is never read.

Axes: B records, L leads, S samples, T steps in time after the last block, D width, K classes.
"""

import copy
import json
import os
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ecgjepa.data.store import Store
from ecgjepa.evaluate.encoders import TorchEncoder
from ecgjepa.evaluate.metrics import auroc, macro
from ecgjepa.evaluate.targets import Targets, arrange_splits, read_targets
from ecgjepa.files import atomic_path, write_json
from ecgjepa.signal import SignalContract

WEIGHTS, DESCRIPTION = "model.safetensors", "resnet1d.json"
# Where `trained` looks; the variable says another folder.
FOLDER, VARIABLE = "runs/resnet1d", "RESNET1D"


class Block(nn.Module):
    """Two convolutions and a shortcut; the first convolution halves the time."""

    def __init__(self, before: int, width: int, kernel: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(before, width, kernel, stride=2, padding=kernel // 2, bias=False)
        self.first_norm = nn.BatchNorm1d(width)
        self.second = nn.Conv1d(width, width, kernel, padding=kernel // 2, bias=False)
        self.second_norm = nn.BatchNorm1d(width)
        self.shortcut = nn.Conv1d(before, width, 1, stride=2, bias=False)
        self.shortcut_norm = nn.BatchNorm1d(width)

    def forward(self, signal_BDT: Tensor) -> Tensor:
        """(B, D, T) -> (B, width, T / 2)."""
        inner_BDT = F.relu(self.first_norm(self.first(signal_BDT)))
        return F.relu(self.second_norm(self.second(inner_BDT)) + self.shortcut_norm(self.shortcut(signal_BDT)))


class ResNet1d(nn.Module):
    """A stem, residual blocks that halve the time, and the mean over what is left of it."""

    def __init__(self, leads: int, width: int = 128, depth: int = 5, kernel: int = 7) -> None:
        super().__init__()
        self.stem = nn.Conv1d(leads, width // 2, 15, stride=2, padding=7, bias=False)
        self.stem_norm = nn.BatchNorm1d(width // 2)
        self.blocks = nn.Sequential(*(Block(width if k else width // 2, width, kernel) for k in range(depth)))

    def forward(self, signal_mv_BLS: Tensor) -> Tensor:
        """(B, L, S) in mV -> (B, D)."""
        return self.tokens(signal_mv_BLS).mean(dim=1)

    def tokens(self, signal_mv_BLS: Tensor) -> Tensor:
        """(B, L, S) in mV -> (B, T, D)."""
        return self.blocks(F.relu(self.stem_norm(self.stem(signal_mv_BLS)))).mT


def train(
    store: Store,
    level: str,
    *,
    width: int = 128,
    depth: int = 5,
    epochs: int = 20,
    batch_size: int = 32,
    peak: float = 3e-3,
    seed: int = 0,
    device: str = "cpu",
    say: bool = True,
) -> tuple[ResNet1d, dict]:
    """The network of the best epoch on validation, and what is to be known of it (JSON values)."""
    targets = arrange_splits(read_targets(store, level, "multilabel"), "strict", seed)
    train_at, validation_at = targets.of("train"), targets.of("validation")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ResNet1d(len(store.contract.leads), width, depth).to(device)
        head = nn.Linear(width, len(targets.classes)).to(device)
    parameters = [*model.parameters(), *head.parameters()]
    steps = epochs * -(-len(train_at) // batch_size)
    optimizer = torch.optim.AdamW(parameters, lr=peak, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps)
    chance, best, history = np.random.default_rng(seed), (-np.inf, 0, model.state_dict()), []
    for epoch in range(1, epochs + 1):
        model.train()
        order = chance.permutation(train_at)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            if len(batch) > 1:  # one record has no variance to normalise by
                optimizer.zero_grad()
                logits_BK = head(model(_signals(store, targets, batch, device)))
                labels_BK = torch.from_numpy(targets.labels_NK[batch]).float().to(device)
                F.binary_cross_entropy_with_logits(logits_BK, labels_BK).backward()
                optimizer.step()
            schedule.step()
        auc = _macro_auc(model, head, store, targets, validation_at, batch_size, device)
        history.append(auc)
        if say:
            click.echo(f"epoch {epoch:3}  validation macro AUC {auc:.4f}")
        if auc > best[0]:
            best = auc, epoch, copy.deepcopy(model.state_dict())
    if best[1] == 0:
        raise ValueError(f"{store.path}: no class with positive and negative validation records, so no epoch is best")
    model.load_state_dict(best[2])
    about = {"leads": len(store.contract.leads), "width": width, "depth": depth, "contract": store.contract.to_dict()}
    about |= {"dataset": store.info["dataset"], "level": level, "classes": list(targets.classes), "seed": seed}
    return model.cpu(), {**about, "epochs": epochs, "epoch": best[1], "validation_macro_auc": history}


def save(model: ResNet1d, about: dict, folder: Path | str, overwrite: bool = False) -> None:
    """Write weights and description to a folder; raises FileExistsError where they are there already."""
    folder = Path(folder)
    if (folder / DESCRIPTION).exists() and not overwrite:
        raise FileExistsError(f"{folder / DESCRIPTION} exists already; --overwrite replaces it")
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, temporary)
    write_json(folder / DESCRIPTION, about)


def load(folder: Path | str) -> TorchEncoder:
    """The trained network as a frozen encoder; raises ValueError where there is none."""
    folder = Path(folder)
    if not (folder / DESCRIPTION).is_file():
        raise ValueError(f"no trained ResNet at {folder}: python examples/resnet1d.py --store STORE --out {folder}")
    about = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    model = ResNet1d(about["leads"], about["width"], about["depth"])
    model.load_state_dict(load_file(folder / WEIGHTS))
    return TorchEncoder(model.eval(), SignalContract.from_dict(about["contract"]), about["width"], model.tokens)


def trained() -> TorchEncoder:
    """What `--ckpt examples.resnet1d:trained` means: the network in `runs/resnet1d`, or in the folder `$RESNET1D`."""
    return load(os.environ.get(VARIABLE, FOLDER))


def _signals(store: Store, targets: Targets, positions: np.ndarray, device: str) -> Tensor:
    return torch.from_numpy(store.signals_mv(targets.rows_N[positions])).to(device)


def _macro_auc(
    model: ResNet1d, head: nn.Linear, store: Store, targets: Targets, at: np.ndarray, batch_size: int, device: str
) -> float:
    model.eval()
    with torch.inference_mode():
        batches = (at[start : start + batch_size] for start in range(0, len(at), batch_size))
        logits_VK = torch.cat([head(model(_signals(store, targets, batch, device))).cpu() for batch in batches])
    return float(macro(auroc(targets.labels_NK[at], logits_VK.numpy()))[0])


@click.command()
@click.option(
    "--store", required=True, type=click.Path(exists=True, file_okay=False), help="Made by `ecgjepa prepare`."
)
@click.option("--out", default=FOLDER, show_default=True, help="Folder to write to.")
@click.option("--level", default="superdiagnostic", show_default=True, help="Labels to learn.")
@click.option("--width", default=128, show_default=True)
@click.option("--epochs", default=20, show_default=True)
@click.option("--batch-size", default=32, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
def main(
    store: str, out: str, level: str, width: int, epochs: int, batch_size: int, seed: int, device: str, overwrite: bool
) -> None:
    """Train a ResNet-1D on the labels of a store and keep its best epoch."""
    if (Path(out) / DESCRIPTION).exists() and not overwrite:
        raise click.ClickException(f"{out} holds a trained ResNet already; --overwrite replaces it")
    try:
        sizes = {"width": width, "epochs": epochs, "batch_size": batch_size}
        model, about = train(Store.open(store), level, **sizes, seed=seed, device=device)
        save(model, about, out, overwrite)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"epoch {about['epoch']} is in {out}; as an encoder: {VARIABLE}={out} ... examples.resnet1d:trained")


if __name__ == "__main__":
    main()
