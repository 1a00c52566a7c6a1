"""Both published learning-rate schedules and the teacher's momentum, to rounding."""

import json
from pathlib import Path

import pytest

from ecgjepa.schedules import learning_rate, teacher_momentum

EXACT = {"rel": 1e-12, "abs": 1e-18}


@pytest.mark.parametrize("name", ["learning_rate_pretrain", "learning_rate_probe"])
def test_published_learning_rates(parity_dir: Path, name: str) -> None:
    published = json.loads((parity_dir / "expected.json").read_text())[name]
    found = [
        learning_rate(
            step,
            steps=published["iterations_per_epoch"] * published["epochs"],
            warmup_steps=published["warmup_t"],
            peak=published["lr"],
            warmup_from=published["warmup_lr_init"],
            minimum=published["lr_min"],
        )
        for step in published["steps"]
    ]
    assert found == pytest.approx(published["values"], **EXACT)


def test_published_momentum(parity_dir: Path) -> None:
    published = json.loads((parity_dir / "expected.json").read_text())["teacher_momentum"]
    found = [teacher_momentum(step, steps=published["steps_total"]) for step in published["steps"]]
    assert found == pytest.approx(published["values"], **EXACT)


def test_learning_rate_without_warmup_starts_at_the_peak_and_ends_at_the_minimum() -> None:
    rates = [
        learning_rate(step, steps=10, warmup_steps=0, peak=1.0, warmup_from=0.0, minimum=0.1) for step in range(13)
    ]
    assert rates[0] == 1.0
    assert rates == sorted(rates, reverse=True)
    assert rates[10:] == [0.1, 0.1, 0.1]


def test_a_warmup_as_long_as_the_run_never_reaches_the_cosine() -> None:
    rates = [learning_rate(step, steps=4, warmup_steps=4, peak=1.0, warmup_from=0.0, minimum=0.1) for step in range(5)]
    assert rates == [0.0, 0.25, 0.5, 0.75, 0.1]


def test_momentum_stays_at_its_end() -> None:
    assert teacher_momentum(20, steps=10, start=0.9, end=0.99) == pytest.approx(0.99)
    assert teacher_momentum(0, steps=0) == 0.996
