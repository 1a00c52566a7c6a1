"""Attention pooling on frozen tokens: it finds what the mean hides, chooses on validation, and depends on its seed."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from ecgjepa.evaluate.readouts import AttentionProbe, LinearProbe, TokenPart


@dataclass(frozen=True)
class Tokens:
    """A source in memory."""

    array_NTD: np.ndarray

    def __len__(self):
        return len(self.array_NTD)

    @property
    def width(self):
        return self.array_NTD.shape[2]

    def tokens(self, positions):
        return torch.from_numpy(self.array_NTD[positions])


def make_tokens(records=360, seed=0, exclusive=False):
    """8 tokens of width 12. One of them, marked by its first number, tells the classes; the rest is noise.

    All of it is squeezed into a few thousandths about an offset, as features of random weights are.
    """
    rng = np.random.default_rng(seed)
    tokens = rng.standard_normal((records, 8, 12))
    tokens[:, :, 0] = 0
    labels = rng.random((records, 3)) < 0.4
    if exclusive:
        labels = np.eye(3, dtype=bool)[rng.integers(3, size=records)]
    where = rng.integers(8, size=records)
    tokens[np.arange(records), where, 0] = 8
    tokens[np.arange(records), where, 1:4] = 3 * labels - 1.5
    return Tokens((1 + 1e-3 * tokens + rng.standard_normal(12)).astype(np.float32)), labels


def parts(source, labels, bounds=(200, 280)):
    return [part for at in np.split(np.arange(len(source)), bounds) for part in (TokenPart(source, at), labels[at])]


def small(task="multilabel", seed=0, **changes):
    return AttentionProbe(task, seed, **{"epochs": 12, "batch_size": 32, "learning_rates": (1e-3, 1e-2)} | changes)


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_it_finds_the_token_that_tells(task):
    train, y, validation, v, test, t = parts(*make_tokens(exclusive=task == "multiclass"))
    probe = small(task).fit(train, y, validation, v)
    probabilities = probe.predict_proba(test)
    assert probabilities.dtype == np.float64
    pooled = [part.tokens(np.arange(len(part))).mean(dim=1).numpy() for part in (train, validation, test)]
    mean = LinearProbe(task).fit(pooled[0], y, pooled[1], v).predict_proba(pooled[2])
    assert roc_auc_score(t, probabilities, average="macro") > roc_auc_score(t, mean, average="macro") + 0.08
    if task == "multiclass":
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
        assert probe.thresholds_ is None
    else:
        np.testing.assert_array_equal(probe.predict(test), probabilities >= probe.thresholds_)


def test_epoch_and_rate_are_the_best_on_validation():
    train, y, validation, v, *_ = parts(*make_tokens())
    probe = small().fit(train, y, validation, v)
    selection = json.loads(json.dumps(probe.selection_))
    assert selection == probe.selection_
    assert len(selection["grid"]) == 12 * 2
    best = max(selection["grid"], key=lambda row: row[3])
    assert best[:3] == [selection["epoch"], selection["learning_rate"], selection["weight_decay"]]
    scores = probe.predict_proba(validation)
    assert roc_auc_score(v, scores, average="macro") == pytest.approx(best[3], abs=1e-9)


def test_a_rate_alone_gives_what_it_gives_beside_others():
    train, y, validation, v, *_ = parts(*make_tokens())
    both = small(epochs=2).fit(train, y, validation, v).selection_["grid"]
    alone = small(epochs=2, learning_rates=(1e-2,)).fit(train, y, validation, v).selection_["grid"]
    assert [row for row in both if row[1] == 1e-2] == alone


def test_it_depends_on_nothing_but_its_seed():
    train, y, validation, v, *_ = parts(*make_tokens())
    first = small(epochs=2, seed=1).fit(train, y, validation, v).predict_proba(validation)
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    np.testing.assert_array_equal(first, small(epochs=2, seed=1).fit(train, y, validation, v).predict_proba(validation))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not np.array_equal(first, small(epochs=2, seed=2).fit(train, y, validation, v).predict_proba(validation))


def test_the_raw_layer_reads_what_the_pooling_gives():
    train, y, validation, v, *_ = parts(*make_tokens())
    y[:, 1] = False
    probe = small(epochs=2).fit(train, y, validation, v)
    with torch.no_grad():
        pooled = probe.model_.pool(validation.tokens(np.arange(len(validation)))).double().numpy()
    weight, bias = probe.raw_layer()
    probabilities = 1 / (1 + np.exp(-np.clip(pooled @ weight.T + bias, -700, 700)))
    np.testing.assert_allclose(probabilities, probe.predict_proba(validation), atol=1e-4)


def test_constant_classes_get_a_constant():
    train, y, validation, v, *_ = parts(*make_tokens())
    y[:, 1], y[:, 2] = False, True
    probabilities = small(epochs=1).fit(train, y, validation, v).predict_proba(validation)
    assert (probabilities[:, 1] == 0).all()
    assert (probabilities[:, 2] == 1).all()


def test_labels_without_relation_to_the_tokens_give_chance():
    source, labels = make_tokens(900)
    labels = labels[np.random.default_rng(1).permutation(len(labels))]
    train, y, validation, v, test, t = parts(source, labels, (300, 600))
    probe = small(epochs=4).fit(train, y, validation, v)
    assert roc_auc_score(t, probe.predict_proba(test), average="macro") == pytest.approx(0.5, abs=0.08)


def test_what_cannot_be_learned_is_a_clear_error():
    source, labels = make_tokens(60)
    broken = Tokens(source.array_NTD.copy())
    broken.array_NTD[3, 2, 1] = np.nan
    narrow = Tokens(source.array_NTD[:, :, 1:])
    for arguments, message in (
        ((broken, labels, source, labels), "training: 1 of 60 records have tokens that are not finite"),
        ((source, labels, broken, labels), "validation: 1 of 32 records have tokens that are not finite"),
        ((source, labels & False, source, labels), "training: no class has positive and negative records"),
        ((source, labels, source, labels & False), "validation: no class has positive and negative records"),
        ((source, labels[1:], source, labels), "training: 60 records with features and 59 with labels"),
        ((TokenPart(source, np.arange(0)), labels[:0], source, labels), "training: 0 records"),
        ((source, labels, narrow, labels), "validation: tokens of width 11, in training 12"),
    ):
        with pytest.raises(ValueError, match=message):
            small(epochs=1).fit(*arguments)
    with pytest.raises(ValueError, match="prediction: 1 of 32"):
        small(epochs=1).fit(source, labels, source, labels).predict_proba(broken)
