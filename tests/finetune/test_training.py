"""Rates, stages, weights of classes, settings of the protocols, batches as functions of (seed, step)."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from ecgjepa.checkpoint import LoadedModel
from ecgjepa.data.store import Store
from ecgjepa.evaluate.targets import read_targets
from ecgjepa.finetune.building import loss_of, make_network, numbers_of, prepare_encoder
from ecgjepa.finetune.losses import balanced_weights, make_loss
from ecgjepa.finetune.optimizer import Stages, make_optimizer, set_rates, warm_cosine
from ecgjepa.finetune.records import TrainingRecords
from ecgjepa.finetune.settings import AUGMENTATIONS, FinetuneSettings, settings_of
from ecgjepa.finetune.training import Training
from tests.finetune.runs import tiny

CPU = torch.device("cpu")


def records_of(store: Store, model: LoadedModel, settings: FinetuneSettings) -> TrainingRecords:
    targets = read_targets(store, "kind", "multilabel")
    train = targets.of("train")
    contract = prepare_encoder(model.encoder, settings).contract
    return TrainingRecords(store, targets.rows_N[train], numbers_of(targets)[train], contract, settings, 2)


def training_of(store: Store, model: LoadedModel, settings: FinetuneSettings) -> tuple[Training, TrainingRecords]:
    records = records_of(store, model, settings)
    network = make_network(prepare_encoder(model.encoder, settings), records, settings, CPU)
    stages = Stages.of(settings, records.steps_per_epoch)
    return Training(network, settings, stages, loss_of(records, settings, CPU), records.leads), records


def test_paper_protocol_is_the_published_one() -> None:
    paper = settings_of("paper", level="superdiagnostic")
    assert (paper.batch_size, paper.epochs, paper.warmup_epochs, paper.weight_decay) == (16, 10, 3, 0.05)
    assert paper.betas == (0.9, 0.95)
    assert paper.lr == pytest.approx(1e-4 * 16 / 256)
    assert settings_of("paper", level="x", batch_size=64).lr == pytest.approx(1e-4 * 64 / 256)
    assert (paper.filter, paper.layer_decay, paper.clip, paper.mode) == ("butterworth", 1.0, None, "full")
    assert (paper.standardise, paper.class_weights, paper.pooling) == (False, "none", "mean")
    augmentation = paper.augmentation
    assert set(augmentation.operations) == set(AUGMENTATIONS)
    assert (augmentation.per_record, augmentation.chance, augmentation.share) == (2, 0.5, 0.3)
    assert (augmentation.amplitude_mv, augmentation.period) == (0.3, 0.05)
    strict = settings_of("strict", level="superdiagnostic")
    assert "flip" not in strict.augmentation.operations
    assert settings_of("paper", level="x", epochs=3).warmup_epochs == 1


def test_settings_that_do_not_go_together_are_refused() -> None:
    for changes, message in (
        ({"mode": "two-stage", "head_epochs": 20}, "head_epochs: 1 to epochs - 1"),
        ({"task": "regression", "class_weights": "balanced"}, "a regression has no class weights"),
        ({"epoch": 3}, "finetune: epoch: Extra inputs"),
        ({"augmentation": {"operations": ("sine", "sine")}}, "each once"),
        ({"lr": -1}, "finetune: lr: Input should be greater than 0"),
    ):
        with pytest.raises(ValueError, match=message):
            settings_of("strict", level="x", **changes)


def test_the_rate_rises_from_0_and_falls_to_0_along_half_a_cosine() -> None:
    rates = [warm_cosine(step, steps=100, warmup_steps=30, peak=2.0) for step in range(101)]
    np.testing.assert_allclose(rates[:31], 2 * np.arange(31) / 30)
    np.testing.assert_allclose(rates[30:], 1 + np.cos(np.pi * np.arange(71) / 70), atol=1e-12)


def test_rates_fall_from_layer_to_layer_and_small_weights_do_not_decay(store: Store, model: LoadedModel) -> None:
    settings = tiny(layer_decay=0.5, lr=0.1, warmup_epochs=0)
    training, _ = training_of(store, model, settings)
    optimizer = make_optimizer(training.network, settings)
    set_rates(optimizer, settings, training.stages, 0)
    found = {}
    names = {id(weight): name for name, weight in training.network.named_parameters()}
    for group in optimizer.param_groups:
        for weight in group["params"]:
            found[names[id(weight)]] = group["lr"], group["weight_decay"]
    assert len(found) == len(names)
    assert found["linear.weight"] == (0.1, 0.05)
    assert found["encoder.norm.weight"] == (0.1, 0.0)
    assert found["encoder.blocks.1.mlp.fc1.weight"] == (0.1, 0.05)
    assert found["encoder.blocks.0.mlp.fc1.bias"] == (0.05, 0.0)
    assert found["encoder.patch_embed.weight"] == (0.025, 0.05)


def test_the_first_of_two_stages_leaves_the_encoder_alone(store: Store, model: LoadedModel) -> None:
    training, records = training_of(store, model, tiny(mode="two-stage", epochs=3, head_epochs=1, drop_path=0.2))
    before = {name: value.clone() for name, value in training.network.encoder.state_dict().items()}
    head = training.network.linear.weight.clone()

    def changed() -> list[str]:
        state = training.network.encoder.state_dict()
        return [name for name in before if not torch.equal(before[name], state[name])]

    for _, batch in records.from_step(0, records.steps_per_epoch):
        training.advance(batch)
    assert changed() == []
    assert not torch.equal(head, training.network.linear.weight)
    for _, batch in records.from_step(records.steps_per_epoch, 2 * records.steps_per_epoch):
        training.advance(batch)
    assert len(changed()) == len(before)


def test_weights_of_classes() -> None:
    labels = np.zeros((20, 3), bool)
    labels[:4, 0] = labels[:15, 1] = True
    np.testing.assert_allclose(balanced_weights(labels, "multilabel"), [4, 5 / 15, 1])
    exclusive = np.eye(3, dtype=bool)[np.array([0] * 12 + [1] * 6 + [2] * 2)]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=exclusive.argmax(axis=1))
    np.testing.assert_allclose(balanced_weights(exclusive, "multiclass"), expected, rtol=1e-6)


def test_losses_are_those_of_their_formulas() -> None:
    outputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    target = (torch.arange(18).view(6, 3) % 4 == 0).float()
    weights = torch.tensor([2.0, 1.0, 0.5])
    probability = outputs.sigmoid()
    expected = -(weights * target * probability.log() + (1 - target) * (1 - probability).log()).mean()
    torch.testing.assert_close(make_loss("multilabel", weights, None)(outputs, target), expected)
    chosen = torch.tensor([0, 1, 2, 0, 1, 1])
    one_hot = torch.eye(3)[chosen]
    each = -outputs.log_softmax(dim=1)[torch.arange(6), chosen] * weights[chosen]
    torch.testing.assert_close(
        make_loss("multiclass", weights, None)(outputs, one_hot), each.sum() / weights[chosen].sum()
    )
    scale = torch.tensor([10.0, 1.0, 1.0])
    expected = (((outputs - target) / scale) ** 2).mean()
    torch.testing.assert_close(make_loss("regression", None, scale)(outputs, target), expected)


def test_a_batch_is_a_function_of_seed_and_step(store: Store, model: LoadedModel) -> None:
    settings = tiny(drop_path=0.3, batch_size=50)
    one, other = records_of(store, model, settings), records_of(store, model, settings)
    assert one.steps_per_epoch == 3
    list(one.from_step(0, 4))
    first, again = one.batch(4), dict(other.from_step(4, 5))[4]
    assert torch.equal(first.signal_mv_BLS, again.signal_mv_BLS)
    assert torch.equal(first.path_scale, again.path_scale)
    assert torch.equal(first.draws.noise_PLS, again.draws.noise_PLS)
    seen = np.concatenate([one.positions(step) for step in range(3, 6)])
    assert sorted(seen.tolist()) == list(range(len(one)))
    assert len(one.positions(5)) == 20
    changed = records_of(store, model, tiny(drop_path=0.3, batch_size=50, seed=1))
    assert changed.positions(4).tolist() != one.positions(4).tolist()


def test_filtered_signals_are_the_same_kept_or_not(
    store: Store, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny(filter="butterworth")
    kept = records_of(store, model, settings)
    monkeypatch.setattr("ecgjepa.finetune.records.CACHE_BYTES", 0)
    read = records_of(store, model, settings)
    assert (len(kept._kept), len(read._kept)) == (1, 0)
    assert torch.equal(kept.batch(1).signal_mv_BLS, read.batch(1).signal_mv_BLS)


def test_half_precision_needs_a_gpu_and_bf16_trains(store: Store, model: LoadedModel) -> None:
    with pytest.raises(ValueError, match="fp16 needs a CUDA device"):
        training_of(store, model, tiny(precision="fp16"))
    training, records = training_of(store, model, tiny(precision="bf16"))
    training.advance(records.batch(0))
    assert training.network.linear.weight.dtype == torch.float32
    assert np.isfinite(training.losses).all()


def test_a_loss_that_is_not_finite_ends_the_run_by_name(store: Store, model: LoadedModel) -> None:
    training, records = training_of(store, model, tiny())
    with torch.no_grad():
        training.network.linear.bias[0] = torch.nan
    with pytest.raises(ValueError, match="the loss of step 0 is nan"):
        training.advance(records.batch(0))
