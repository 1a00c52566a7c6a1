"""Models from anywhere: run folders, model folders, published files, the Hugging Face hub; and their one layout.

`load_encoder(path or name)` needs nothing else. Nothing is ever unpickled blindly.
"""

from ecgjepa.checkpoint.convert import convert
from ecgjepa.checkpoint.description import CheckpointError, describe_model
from ecgjepa.checkpoint.device import choose_device
from ecgjepa.checkpoint.folder import SEEN, Which, refuse_folder, save_model, write_model_folder
from ecgjepa.checkpoint.load import LoadedModel, find_seen, load_encoder, load_model, read_notes
from ecgjepa.checkpoint.pickles import PUBLISHED_HEADS, load_pickle
from ecgjepa.checkpoint.provenance import public_notes
from ecgjepa.checkpoint.random_weights import generator_of, random_twin
from ecgjepa.checkpoint.source import find_model

__all__ = [
    "PUBLISHED_HEADS",
    "SEEN",
    "CheckpointError",
    "LoadedModel",
    "Which",
    "choose_device",
    "convert",
    "describe_model",
    "find_model",
    "find_seen",
    "generator_of",
    "load_encoder",
    "load_model",
    "load_pickle",
    "public_notes",
    "random_twin",
    "read_notes",
    "refuse_folder",
    "save_model",
    "write_model_folder",
]
