"""Runs of entries -> parts, by an engine whose processes and nodes know only what lies in `OUT.parts/`."""

import functools
import os
import socket
from collections.abc import Iterator, Sequence
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
    engine: Engine, encoder: Encoder, folder: Path, options: Options, todo: Sequence[int], workers: int, device: str
) -> Iterator[int]:
    """Have runs embedded; how many entries each of them had, as they are done.

    Args:
        encoder: in float32; it is written to a file once.
        folder: `OUT.parts`, with the entries.
        device: of the nodes.

    Raises:
        ClusterError: a node does not see a file that is there.
    """
    if not todo:
        return
    folder = folder.absolute()
    if not (folder / MODEL / "config.json").is_file():  # written last
        save_model(folder / MODEL, {"model": encoder})
    work = functools.partial(
        embed_run,
        folder=folder,
        options=options,
        weights_sha256=encoder.weights_sha256(),
        device=device,
        paths_from=os.getcwd(),
    )
    for number, done in engine(work, todo, workers):
        if lost := [path for path in done.unseen if os.path.lexists(path)]:
            part_file(folder, number).unlink(missing_ok=True)
            raise ClusterError(
                f"node {done.host} does not see {len(lost)} of the files that are there, {lost[0]} the first: every "
                "node must see them at the same path"
            )
        yield done.entries


def embed_run(
    number: int, *, folder: Path, options: Options, weights_sha256: str, device: str, paths_from: str
) -> RunDone:
    """Read, embed and write one run, on one thread.

    Args:
        paths_from: the folder of relative paths, which stay relative in the table.
    """
    embedder = _open_embedder(folder, options, weights_sha256, device)
    entries = ListedEntries(folder / LISTING).take(number)
    if not all(os.path.isabs(entry.path) for entry in entries):
        if not os.path.isdir(paths_from):
            raise ClusterError(f"node {socket.gethostname()} has no folder {paths_from}: give absolute paths")
        os.chdir(paths_from)
    found = ((entry, read_windows(entry, embedder.reading_job)) for entry in entries)
    refused = embedder.write_run(part_file(folder, number), entries, found)
    unseen = [entry.path for entry in refused if not os.path.lexists(entry.path)]
    return RunDone(len(entries), socket.gethostname(), unseen)


@functools.lru_cache(maxsize=1)
def _open_embedder(folder: Path, options: Options, weights_sha256: str, device: str) -> Embedder:
    """Once in each process."""
    torch.set_num_threads(1)
    encoder = load_encoder(folder / MODEL)
    assert encoder.weights_sha256() == weights_sha256, "the file holds the encoder that was given"
    fast = accelerate(encoder, options.precision, device=device)
    assert isinstance(fast, InferenceEncoder)
    if fast.precision != options.precision:
        raise ClusterError(f"node {socket.gethostname()} has no {options.precision}; choose another --precision")
    return Embedder(fast, options)
