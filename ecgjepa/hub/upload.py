"""A model -> the folder that a repository is to hold -> one commit."""

import tempfile
from pathlib import Path
from typing import Any

from ecgjepa import __version__
from ecgjepa.checkpoint import (
    PUBLISHED_HEADS,
    CheckpointError,
    LoadedModel,
    Which,
    load_model,
    public_notes,
    write_model_folder,
)
from ecgjepa.checkpoint.description import CONFIG, read_description
from ecgjepa.checkpoint.download import TIMEOUT_S, hub_api, hub_errors
from ecgjepa.checkpoint.folder import NETWORKS, SUFFIX
from ecgjepa.checkpoint.source import HUB, Repository, parse_repository
from ecgjepa.hub.card import model_card
from ecgjepa.hub.results import read_results
from ecgjepa.model.encoder import Encoder

# What a repository may hold before anything was pushed to it.
BLANK = {".gitattributes", ".gitignore", "README.md", "LICENSE", "LICENSE.md", "LICENSE.txt"}


def push_to_hub(
    encoder_or_path: Encoder | Path | str,
    repo_id: str,
    *,
    which: Which | None = None,
    heads: int = PUBLISHED_HEADS,
    private: bool = True,
    token: str | bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    license: str | None = None,
    card: str | None = None,
) -> str:
    """Publish one network of a model: weights, `config.json` and a model card, in one commit.

    The repository is made if it is not there. Earlier commits stay in its history.

    Args:
        encoder_or_path: an encoder, or whatever `load_encoder` takes; an encoder alone says nothing of its training.
        repo_id: `owner/name`.
        which: where None, the teacher if it is there, else what is there.
        heads: attention heads of a published file, which does not state them.
        private: whether others may see it; must be what the repository is, if it is there already.
        token: where None, that of HF_TOKEN or of `hf auth login`.
        revision: branch, made if it is not there; `main` where None.
        commit_message: one line.
        license: of the weights, an identifier of the hub's list such as `mit`; not stated where None.
        card: README.md in place of the one that `model_card` makes.

    Returns:
        The address of the commit.

    Raises:
        CheckpointError: no model, no valid id, no permission, not reachable, or the repository holds something else.
    """
    repository = _repository(repo_id, revision)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        prepare_upload(encoder_or_path, folder, repo_id, which=which, heads=heads, license=license, card=card)
        return _upload(folder, repository, private, token, commit_message or f"Model, by ecgjepa {__version__}")


def prepare_upload(
    encoder_or_path: Encoder | Path | str,
    folder: Path,
    repo_id: str,
    *,
    which: Which | None = None,
    heads: int = PUBLISHED_HEADS,
    license: str | None = None,
    card: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write the folder that `push_to_hub` would upload; see there.

    Raises:
        CheckpointError: no model, or no valid id.
        FileExistsError: the folder exists and `overwrite` is False, or it holds anything but a model.
    """
    _repository(repo_id)
    notes: dict[str, Any]
    if isinstance(encoder_or_path, Encoder):
        network: str = which or "model"
        encoder, notes, results = encoder_or_path, {"provenance": {"network": network}}, []
    else:
        model = load_model(encoder_or_path, which, heads=heads)
        encoder, network, notes = model.encoder, model.network, public_notes(model)
        results = read_results(model.folder, network) if _has_own_folder(model) else []
    text = model_card(repo_id, encoder, network, notes, results, license) if card is None else card
    write_model_folder(folder, {network: encoder}, readme=text, overwrite=overwrite, **notes)


def _repository(repo_id: str, revision: str | None = None) -> Repository:
    repository = parse_repository(HUB + repo_id)
    if repository is None or repository.revision is not None:
        raise CheckpointError(f"{repo_id!r} is no repository, expected owner/name")
    return Repository(repository.id, revision)


def _has_own_folder(model: LoadedModel) -> bool:
    return model.file.suffix == SUFFIX or model.file.parent != model.folder


def _upload(folder: Path, repository: Repository, private: bool, token: str | bool | None, message: str) -> str:
    api, name, branch = hub_api(token), repository.id, repository.revision or "main"
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    with hub_errors(repository):
        api.create_repo(name, private=private, exist_ok=True)
        if api.model_info(name, timeout=TIMEOUT_S).private != private:
            found, expected = ("public", "private") if private else ("private", "public")
            raise CheckpointError(f"{name} is there already and is {found}, expected {expected}: nothing was uploaded")
        if repository.revision is not None:
            api.create_branch(name, branch=branch, exist_ok=True)
        before = api.model_info(name, revision=branch, timeout=TIMEOUT_S)
        there = {file.rfilename for file in before.siblings or []}
        _refuse_other_content(api, name, before.sha, there)
        files = sorted(path.name for path in folder.iterdir())
        stale = sorted({f"{network}{SUFFIX}" for network in NETWORKS} & there - set(files))
        operations: list[Any] = [CommitOperationAdd(path_in_repo=file, path_or_fileobj=folder / file) for file in files]
        operations += [CommitOperationDelete(path_in_repo=file) for file in stale]
        # On top of what was looked at, so that nobody's commit in between is undone.
        done = api.create_commit(name, operations, commit_message=message, revision=branch, parent_commit=before.sha)
    return str(done.commit_url)


def _refuse_other_content(api: Any, name: str, commit: str, there: set[str]) -> None:
    if not (other := sorted(there - BLANK)):
        return
    if CONFIG in there:
        with tempfile.TemporaryDirectory() as temporary:
            config = Path(api.hf_hub_download(name, CONFIG, revision=commit, cache_dir=temporary))
            try:
                read_description(config)
                return
            except CheckpointError:
                pass
    raise CheckpointError(f"{name} holds something else, {other[0]} among it: nothing was uploaded")
