"""Runs of entries -> parts, by an engine whose processes and nodes know only what lies in `OUT.parts/`."""

import functools
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from ecgjepa.checkpoint import load_encoder, save_model
from ecgjepa.data.preparing.engines import Engine
from ecgjepa.embed.embedder import Embedder, Options
from ecgjepa.embed.listed import LISTING, ListedEntries
from ecgjepa.embed.reading import read_windows
from ecgjepa.embed.table import part_file
from ecgjepa.errors import ClusterError
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.inference import InferenceEncoder, accelerate

MODEL = "model"


class RunDone(NamedTuple):
    """What a node says of a run.

    Attributes:
        entries: how many it has.
        host: the node.
        unseen: paths at which the node sees nothing.
    """

    entries: int
    host: str
    unseen: list[str]


def embed_elsewhere(
    engine: Engine, send: Callable[[Path], Callable[[], Embedder]], folder: Path, todo: Sequence[int], workers: int
) -> Iterator[int]:
    """Have runs embedded; how many entries each of them had, as they are done.

    Args:
        send: writes the model into a folder, unless it is there; gives what opens it there, in any process.
        folder: `OUT.parts`, with the entries.

    Raises:
        ClusterError: a node does not see a file that is there.
    """
    if not todo:
        return
    folder = folder.absolute()
    work = functools.partial(embed_run, folder=folder, opened=send(folder / MODEL), paths_from=os.getcwd())
    for number, done in engine(work, todo, workers):
        if lost := [path for path in done.unseen if os.path.lexists(path)]:
            part_file(folder, number).unlink(missing_ok=True)
            raise ClusterError(
                f"node {done.host} does not see {len(lost)} of the files that are there, {lost[0]} the first: every "
                "node must see them at the same path"
            )
        yield done.entries


def embed_run(number: int, *, folder: Path, opened: Callable[[], Embedder], paths_from: str) -> RunDone:
    """Read, embed and write one run, on one thread.

    Args:
        opened: gives what embeds, the same one within a process.
        paths_from: the folder of relative paths, which stay relative in the table.
    """
    embedder = opened()
    entries = ListedEntries(folder / LISTING).take(number)
    if not all(os.path.isabs(entry.path) for entry in entries):
        if not os.path.isdir(paths_from):
            raise ClusterError(f"node {socket.gethostname()} has no folder {paths_from}: give absolute paths")
        os.chdir(paths_from)
    found = ((entry, read_windows(entry, embedder.reading_job)) for entry in entries)
    refused = embedder.write_run(part_file(folder, number), entries, found)
    unseen = [entry.path for entry in refused if not os.path.lexists(entry.path)]
    return RunDone(len(entries), socket.gethostname(), unseen)


def send_encoder(model: Path, *, encoder: Encoder, options: Options, device: str) -> Callable[[], Embedder]:
    """Write an encoder in float32 to a folder once, for other processes; what opens it there, on their device."""
    if not (model / "config.json").is_file():  # written last
        save_model(model, {"model": encoder})
    return functools.partial(_open_embedder, model, options, encoder.weights_sha256(), device)


@functools.lru_cache(maxsize=1)
def _open_embedder(model: Path, options: Options, weights_sha256: str, device: str) -> Embedder:
    """Once in each process."""
    return Embedder(accelerate_here(load_encoder(model), options, weights_sha256, device), options)


def accelerate_here(encoder: Encoder, options: Options, weights_sha256: str, device: str) -> Encoder:
    """An encoder as it runs on a node, on one thread.

    Raises:
        ClusterError: the node has not the precision.
    """
    torch.set_num_threads(1)
    assert encoder.weights_sha256() == weights_sha256, "the file holds the encoder that was given"
    fast = accelerate(encoder, options.precision, device=device)
    assert isinstance(fast, InferenceEncoder)
    if fast.precision != options.precision:
        raise ClusterError(f"node {socket.gethostname()} has no {options.precision}; choose another --precision")
    return fast
