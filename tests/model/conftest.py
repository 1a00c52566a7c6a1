"""A model small enough for tests."""

import pytest
import torch
from torch import Tensor

from ecgjepa.config import ModelConfig
from ecgjepa.signal import SignalContract


@pytest.fixture(scope="session")
def config() -> ModelConfig:
    return ModelConfig(
        width=16, depth=3, heads=2, patch_samples=10, predictor_width=8, predictor_depth=2, predictor_heads=2
    )


@pytest.fixture(scope="session")
def contract() -> SignalContract:
    """8 leads, 12 patches of 10 samples."""
    return SignalContract(sampling_rate_hz=20, seconds=6)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def signal_mv_BLS(contract: SignalContract, generator: torch.Generator) -> Tensor:
    return torch.randn(5, len(contract.leads), contract.samples, generator=generator)
