"""Heads of a regression and heads with attention pooling, as files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from ecgjepa.evaluate.head import HEAD, Head, HeadError
from ecgjepa.model.attention_pooling import AttentionPool


def header(file: Path) -> dict:
    with safe_open(file, framework="numpy") as opened:
        return json.loads(opened.metadata()["ecgjepa_head"])


def pooled_head() -> tuple[Head, AttentionPool]:
    pool = AttentionPool(8, 4, torch.Generator().manual_seed(0))
    tensors = {name: value.numpy() for name, value in pool.state_dict().items()}
    return Head(np.ones((2, 8)), np.zeros(2), ("A", "B"), pooling=tensors, pooling_heads=4), pool


def test_a_regression_gives_values_and_no_probabilities(tmp_path: Path) -> None:
    head = Head(np.array([[1.0, 2.0]]), np.array([3.0]), ("age",), "regression", about={"unit": "years"})
    head.save(tmp_path / HEAD)
    loaded = Head.load(tmp_path)
    assert (loaded.task, loaded.thresholds_K, loaded.about) == ("regression", None, {"unit": "years"})
    np.testing.assert_array_equal(loaded.predict(np.array([[1.0, 1.0], [0.0, 2.0]])), [[6.0], [7.0]])
    for ask in (loaded.predict_proba, loaded.log_odds):
        with pytest.raises(HeadError, match="probabilities are asked of a regression head"):
            ask(np.ones((1, 2)))
    with pytest.raises(HeadError, match="thresholds for a regression head"):
        replace(head, thresholds_K=np.ones(1))
    with pytest.raises(HeadError, match="values are asked of a multilabel head"):
        pooled_head()[0].predict(np.ones((1, 8)))


def test_pooling_comes_back_equal_to_the_bit(tmp_path: Path) -> None:
    head, pool = pooled_head()
    head.save(tmp_path / HEAD)
    loaded = Head.load(tmp_path).attention_pool()
    assert loaded is not None
    assert loaded.heads == 4
    tokens = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(loaded(tokens), pool(tokens))


def test_only_what_an_older_reader_would_misread_has_the_new_format(tmp_path: Path) -> None:
    plain = Head(np.ones((1, 2)), np.zeros(1), ("A",))
    plain.save(tmp_path / "plain.safetensors")
    pooled_head()[0].save(tmp_path / "pooled.safetensors")
    assert header(tmp_path / "plain.safetensors")["format"] == 1
    assert header(tmp_path / "pooled.safetensors")["format"] == 2
    assert Head.load(tmp_path / "plain.safetensors").pooling is None


def test_pooling_of_another_kind_is_refused() -> None:
    head, _ = pooled_head()
    assert head.pooling is not None
    with pytest.raises(HeadError, match="unusable attention pooling"):
        replace(head, pooling={name: value for name, value in head.pooling.items() if name != "query"})
    with pytest.raises(HeadError, match="unusable attention pooling"):
        replace(head, pooling_heads=3)
    with pytest.raises(HeadError, match="not a finite number"):
        replace(head, pooling=dict(head.pooling) | {"query": np.full(8, np.nan, np.float32)})
