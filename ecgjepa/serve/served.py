"""What is served: an encoder, perhaps a classifier, perhaps an index with its ECGs.

Axes: W windows, D features, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from ecgjepa.checkpoint import PUBLISHED_HEADS, Which, choose_device, load_encoder
from ecgjepa.checkpoint.description import CONFIG
from ecgjepa.evaluate.head import HEAD
from ecgjepa.finetune.classifier_folder import LoadedClassifier
from ecgjepa.finetune.predicting import outputs_of_head, pooled_windows
from ecgjepa.model.attention_pooling import AttentionPool
from ecgjepa.model.embedding import embed_windows
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.inference import Precision, accelerate
from ecgjepa.predict.model import Part, find_classifier, reading_contract
from ecgjepa.search import SearchIndex, build_index
from ecgjepa.serve.archive import Archive
from ecgjepa.serve.private_folder import PrivateFolder
from ecgjepa.signal import SignalContract
from ecgjepa.windows import Window

BATCH_SIZE = 16


class ServeError(ValueError):
    """Things that cannot be served together; the message says what was found and what was expected."""


@dataclass(frozen=True, eq=False)
class Served:
    """Everything that answers are made of, ready to use.

    Attributes:
        encoder: on its device, accelerated.
        source: what it was loaded from, as answers call it.
        classifier: its encoder is `encoder` where both have the same weights and contract.
        classifier_source: what that was loaded from.
        index: made with `encoder`.
        archive: the ECGs of the index.
        batch_size: windows that run at once.
        pool: of the classifier, on its device.
        temporary: the folder of an index that was built for this time alone.
    """

    encoder: Encoder
    source: str
    classifier: LoadedClassifier | None = None
    classifier_source: str = ""
    index: SearchIndex | None = None
    archive: Archive = field(default_factory=lambda: Archive.open(()))
    batch_size: int = BATCH_SIZE
    pool: AttentionPool | None = None
    temporary: PrivateFolder | None = None

    @classmethod
    def load(
        cls,
        ckpt: Path | str | None = None,
        model: Path | str | None = None,
        index: Path | None = None,
        stores: Sequence[Path] = (),
        *,
        part: Part | None = None,
        which: Which | None = None,
        heads: int = PUBLISHED_HEADS,
        device: str = "auto",
        precision: Precision = "fp32",
        batch_size: int = BATCH_SIZE,
        tell: Callable[[str], object] = print,
    ) -> "Served":
        """Load what is to be served.

        Args:
            ckpt: the encoder that embeds, whatever `load_model` takes; that of `model` if None.
            model: a classifier, see `find_classifier`; a head alone is one of `ckpt`.
            index: a folder that `ecgjepa index` made, or a `.parquet` of embeddings, indexed now for this time alone.
            stores: where ECGs of the index are found by name, and labels for an index that is built now.
            part, which, heads: see `find_classifier`.
            device, precision, batch_size: see `embed_files`.
            tell: what is to be said while it takes time.

        Raises:
            ServeError: nothing to embed with, or an index of another encoder.
            CheckpointError, HeadError, StoreError, ValueError: a part cannot be loaded; the message names it.
        """
        if ckpt is None and model is None:
            raise ServeError("serve: no model; expected --ckpt with an encoder, --model with a classifier, or both")
        where = choose_device(device)
        loaded = None if model is None else _load_classifier(model, ckpt, part, which, heads)
        if loaded is not None and (ckpt is None or _is_head_alone(str(model))):
            plain = loaded.encoder
        else:
            plain = load_encoder(str(ckpt), which, heads=heads)
        encoder, pool = accelerate(plain, precision, device=where), None
        if loaded is not None:
            same = plain.weights_sha256() == loaded.encoder.weights_sha256()
            same = same and plain.contract == loaded.encoder.contract
            own = encoder if same else accelerate(loaded.encoder, precision, device=where)
            loaded, pool = replace(loaded, encoder=own), loaded.head.attention_pool()
        found, temporary = _open_index(index, stores, encoder, tell)
        return cls(
            encoder,
            _shown(ckpt if ckpt is not None else model),
            loaded,
            "" if model is None else _shown(model),
            found,
            Archive.open(stores if found is not None else ()),
            batch_size,
            None if pool is None else pool.to(where),
            temporary,
        )

    def close(self) -> None:
        """Remove what was built for this time alone."""
        if self.temporary is not None:
            self.temporary.close()

    @property
    def contracts(self) -> tuple[SignalContract, ...]:
        """What is read of a recording: for the encoder, and where that is something else for the classifier."""
        if self.classifier is None or self.heads_read_embeddings:
            return (self.encoder.contract,)
        return self.encoder.contract, reading_contract(self.classifier)

    @property
    def patch_samples(self) -> tuple[int, ...]:
        """Samples of a patch, for each of `contracts`."""
        own = () if self.classifier is None else (self.classifier.encoder.config.patch_samples,)
        return (self.encoder.config.patch_samples, *own)[: len(self.contracts)]

    @property
    def heads_read_embeddings(self) -> bool:
        """Whether what the classifier reads is the embedding itself, so that the encoder runs once."""
        if self.classifier is None or self.classifier.encoder is not self.encoder:
            return False
        return self.classifier.head.pooling is None and self.classifier.leads == self.encoder.contract.leads

    def embed(self, windows: list[Window]) -> Float32[ndarray, "w d"]:
        """Embeddings of windows that were read by `encoder.contract`."""
        return embed_windows(self.encoder, windows, batch_size=self.batch_size)

    def features(self, windows: list[Window]) -> Float32[ndarray, "w d"]:
        """What the head reads of windows that were read by the classifier's contract."""
        assert self.classifier is not None, "asked of a classifier only"
        return pooled_windows(self.classifier.encoder, self.pool, windows, self.batch_size)

    def outputs(self, features_WD: Float32[ndarray, "w d"]) -> Float64[ndarray, "w k"]:
        """Probabilities or values."""
        assert self.classifier is not None, "asked of a classifier only"
        return outputs_of_head(self.classifier.head, features_WD)

    def warm(self) -> None:
        """One forward pass of every network, so that the first request does not wait for what is made on first use."""
        for contract in self.contracts:
            chance = np.random.default_rng(0)
            shape = (len(contract.leads), contract.samples)
            window = Window(chance.standard_normal(shape, dtype=np.float32), contract.leads)
            (self.embed if contract is self.contracts[0] else self.features)([window])


def _load_classifier(
    model: Path | str, ckpt: Path | str | None, part: Part | None, which: Which | None, heads: int
) -> LoadedClassifier:
    if not _is_head_alone(str(model)):
        return find_classifier(model, part=part, which=which if ckpt is None else None, heads=heads)
    return find_classifier(model, ckpt=ckpt, part=part, which=which, heads=heads)


def _is_head_alone(model: str) -> bool:
    """Whether it is a head without its encoder beside it."""
    path = Path(model)
    folder = path.parent if path.is_file() else path
    return (path.is_file() or (path / HEAD).is_file()) and not (folder / CONFIG).is_file()


def _open_index(
    index: Path | None, stores: Sequence[Path], encoder: Encoder, tell: Callable[[str], object]
) -> tuple[SearchIndex | None, PrivateFolder | None]:
    if index is None:
        return None, None
    temporary = None
    folder = index
    if index.suffix.lower() == ".parquet":
        temporary = PrivateFolder()  # which the next server removes if this one is killed
        folder = temporary.path / "index"
        tell(f"indexing {index} for this time; `ecgjepa index {index} --out FOLDER` makes one to keep")
    try:
        found = build_index(index, folder, stores=stores) if temporary is not None else SearchIndex.open(folder)
        if found.weights_sha256 != encoder.weights_sha256():
            raise ServeError(
                f"{index}: made with an encoder of weights {found.weights_sha256[:12]}, expected those of the encoder "
                f"that is served, {encoder.weights_sha256()[:12]}; embed the archive with it and index it again"
            )
        if found.width != encoder.config.width:
            raise ServeError(f"{index}: embeddings of width {found.width}, the encoder gives {encoder.config.width}")
        if found.contract != encoder.contract.to_dict():
            raise ServeError(
                f"{index}: embeddings by the contract {found.contract}, the encoder's is {encoder.contract}"
            )
        if found.layer is not None:
            raise ServeError(
                f"{index}: embeddings of layer {found.layer}, expected those of the encoder's output, as uploads have "
                "them; embed the archive without --layer and index it again"
            )
    except BaseException:
        if temporary is not None:
            temporary.close()
        raise
    return found, temporary


def _shown(source: Path | str | None) -> str:
    """How answers call a model: a repository as it is, of a path the last two parts, for the rest is the operator's."""
    text = str(source)
    return text if "://" in text else "/".join(Path(text).resolve().parts[-2:])
