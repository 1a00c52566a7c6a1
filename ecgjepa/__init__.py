"""ECG-JEPA: representations of the 12-lead ECG learned without labels.

The names below are the public ones; each is loaded on first use.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Config": "ecgjepa.config",
    "ECGEmbedder": "ecgjepa.embed.estimator",
    "Encoder": "ecgjepa.model.encoder",
    "Head": "ecgjepa.evaluate.head",
    "Hints": "ecgjepa.data.formats.hints",
    "JEPA": "ecgjepa.model.jepa",
    "OnnxEncoder": "ecgjepa.export.onnx_encoder",
    "Recording": "ecgjepa.signal",
    "SignalContract": "ecgjepa.signal",
    "Store": "ecgjepa.data.store",
    "accelerate": "ecgjepa.model.inference",
    "embed_files": "ecgjepa.embed.pipeline",
    "embed_rows": "ecgjepa.evaluate.features",
    "export_onnx": "ecgjepa.export.onnx_file",
    "from_pretrained": "ecgjepa.hub",
    "load_classifier": "ecgjepa.finetune.classifier_folder",
    "load_config": "ecgjepa.config",
    "load_encoder": "ecgjepa.checkpoint",
    "predict_files": "ecgjepa.predict.files",
    "predict_signals": "ecgjepa.predict.api",
    "prepare": "ecgjepa.data.prepare",
    "pretrain": "ecgjepa.train.pretrain",
    "push_to_hub": "ecgjepa.hub",
    "read": "ecgjepa.data.readers",
    "read_embeddings": "ecgjepa.embed.table",
    "run_probe": "ecgjepa.evaluate.probe",
    "standardize": "ecgjepa.windows",
    "take_windows": "ecgjepa.windows",
    "write_report": "ecgjepa.evaluate.report",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ecgjepa' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
