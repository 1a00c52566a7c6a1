"""ECG-JEPA: representations of the 12-lead ECG learned without labels.

The names below are the public ones; each is loaded on first use.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Config": "ecgjepa.config",
    "Encoder": "ecgjepa.model.encoder",
    "JEPA": "ecgjepa.model.jepa",
    "Recording": "ecgjepa.signal",
    "SignalContract": "ecgjepa.signal",
    "Store": "ecgjepa.data.store",
    "embed_rows": "ecgjepa.evaluate.features",
    "load_config": "ecgjepa.config",
    "load_encoder": "ecgjepa.checkpoint",
    "prepare": "ecgjepa.data.prepare",
    "pretrain": "ecgjepa.train.pretrain",
    "read": "ecgjepa.data.readers",
    "run_probe": "ecgjepa.evaluate.probe",
    "standardize": "ecgjepa.signal",
    "write_report": "ecgjepa.evaluate.report",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ecgjepa' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
