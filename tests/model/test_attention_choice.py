"""The form of attention is chosen by what was measured."""

import pytest
import torch

from ecgjepa.config import ModelConfig
from ecgjepa.model import attention_choice
from ecgjepa.model.attention import attend_factorised
from ecgjepa.model.attention_choice import choose_attention, measure_attention
from ecgjepa.signal import SignalContract

CPU = torch.device("cpu")


def test_a_processor_is_not_measured(config: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(attention_choice, "measure_attention")
    assert choose_attention(CPU, config) == "factorised"


@pytest.mark.parametrize("faster", ["dense", "factorised"])
def test_the_faster_form_is_taken(config: ModelConfig, monkeypatch: pytest.MonkeyPatch, faster: str) -> None:
    seconds = {form: 1.0 if form == faster else 2.0 for form in ("factorised", "dense")}
    monkeypatch.setattr(attention_choice, "measure_attention", lambda *given, **named: seconds)
    assert choose_attention(torch.device("meta"), config) == faster


def test_teacher_and_student_are_measured(
    config: ModelConfig, contract: SignalContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        seen.append((tuple(query.shape), query.dtype, query.requires_grad))
        return attend_factorised(query, key, value)

    monkeypatch.setattr(attention_choice, "attend_factorised", attend)
    seconds = measure_attention(config, CPU, contract=contract, batch=3, runs=2)
    assert set(seconds) == {"factorised", "dense"}
    assert all(value > 0 for value in seconds.values())
    teacher = ((3, 2, 8, 12, 8), torch.bfloat16, False)
    student = ((3, 2, 8, 4, 8), torch.bfloat16, True)
    assert seen == [teacher, student] * 3  # once to warm up
