"""A repository of the Hugging Face hub -> its snapshot in the hub's local cache.

Only `config.json` and the weights beside it are ever asked for. HF_ENDPOINT names a mirror, HF_HUB_OFFLINE=1 keeps to
the cache.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ecgjepa import __version__
from ecgjepa.checkpoint.description import CONFIG, CheckpointError, check_description, read_description
from ecgjepa.checkpoint.folder import NETWORKS, SUFFIX, Which
from ecgjepa.checkpoint.source import Repository

TIMEOUT_S = 10.0
_COMMIT = re.compile(r"[0-9a-f]{40}")
_log = logging.getLogger(__name__)


def download(
    repository: Repository, which: Which | None, token: str | bool | None, cache_dir: Path | str | None
) -> Path:
    """The folder of a snapshot that holds `config.json` and the weights.

    For a full commit hash that is in the cache, and for what may be a path, no server is asked. Of a branch or tag the
    hub is asked where it points to; if it cannot be reached, what it last pointed to is taken from the cache, with a
    warning.

    Args:
        repository: which, and at which revision.
        which: the network that is needed; decides only whether the cache is complete.
        token: see `find_model`.
        cache_dir: the hub's own where None.

    Raises:
        CheckpointError: not there, no permission, not reachable and not in the cache, or no model of ecgjepa.
    """
    not_here = f"no path {repository.id} is here; "
    hub = import_hub("" if repository.certain else not_here)
    from huggingface_hub import constants

    revision = repository.revision or "main"
    place = {"repo_id": repository.id, "cache_dir": str(cache_dir or constants.HF_HUB_CACHE)}
    is_fixed = _COMMIT.fullmatch(revision) is not None
    if (is_fixed or not repository.certain) and (cached := _find_cached(hub, place, revision, which)):
        return cached
    if not repository.certain:
        raise CheckpointError(
            f"{not_here}no model of that name is in the cache of the hub either; {repository} downloads it"
        )
    try:
        with hub_errors(repository):
            info = hub_api(token).model_info(repository.id, revision=revision, timeout=TIMEOUT_S)
    except UnreachableError as error:
        if not (cached := _find_cached(hub, place, revision, which)):
            raise CheckpointError(f"{error}; it is not in the cache {place['cache_dir']} either") from error
        if not constants.HF_HUB_OFFLINE:
            _log.warning("%s; using what is in the cache: %s", error, cached)
        return cached
    files = {file.rfilename for file in info.siblings or []}
    weights = [f"{network}{SUFFIX}" for network in NETWORKS if f"{network}{SUFFIX}" in files]
    if CONFIG not in files or not weights:
        expected = f"{CONFIG} and {' or '.join(f'{network}{SUFFIX}' for network in NETWORKS)}"
        found = ", ".join(sorted(files - {".gitattributes"})[:8]) or "no files"
        raise CheckpointError(f"{repository} is no model of ecgjepa: expected {expected}, found {found}")
    with hub_errors(repository):
        access = {"token": token, "library_name": "ecgjepa", "library_version": __version__}
        # By its branch, so that the cache keeps where that points to; the weights then of the same commit.
        config = Path(hub.hf_hub_download(filename=CONFIG, revision=revision, **place, **access))
        check_description(read_description(config), f"{CONFIG} of {repository}")
        for name in weights:
            hub.hf_hub_download(filename=name, revision=config.parent.name, **place, **access)
    return config.parent


class UnreachableError(CheckpointError):
    """The hub does not answer, is overloaded, or must not be asked: the cache may still have the model."""


@contextmanager
def hub_errors(repository: Repository) -> Iterator[None]:
    """Failures of the hub's client as one line of ours."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"{repository} at {constants.ENDPOINT}"
    # The client's transport is another one in each of its versions; its errors share a base with the client's own.
    failures: tuple[type[BaseException], ...] = (OSError, RuntimeError, ValueError, KeyError, TypeError)
    failures += HfHubHTTPError.__bases__
    log_in = "(a token is taken from HF_TOKEN or `hf auth login`)"
    none = f"{where}: no such repository, or no permission with this token {log_in}"
    try:
        yield
    except CheckpointError:
        raise
    except GatedRepoError as error:
        raise CheckpointError(
            f"{where}: its owner asks that conditions be accepted on its page first {log_in}"
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(none) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{where} has no revision {repository.revision or 'main'!r}") from error
    except OfflineModeIsEnabled as error:
        raise UnreachableError(f"{where} is not asked, because HF_HUB_OFFLINE is set") from error
    except failures as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise CheckpointError(none) from error
        kind = UnreachableError if status is None or status == 429 or status >= 500 else CheckpointError
        raise kind(f"{where}: {_reason(error, status)}") from error


def _reason(error: BaseException, status: int | None) -> str:
    """What the server said, or else the error at the bottom of the client's own."""
    if status is not None:
        said = getattr(error, "server_message", None)
        return f"the server answers HTTP {status}" + (f", {' '.join(said.split())[:200]}" if said else "")
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def hub_api(token: str | bool | None) -> Any:
    """The hub's client."""
    return import_hub().HfApi(token=token, library_name="ecgjepa", library_version=__version__)


def import_hub(before: str = "") -> ModuleType:
    """The package `huggingface_hub`; raises CheckpointError where it is not installed."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise CheckpointError(f"{before}the Hugging Face hub needs: pip install 'ecgjepa[hub]'") from error
    return huggingface_hub


def _find_cached(hub: ModuleType, place: dict[str, str], revision: str, which: Which | None) -> Path | None:
    """The snapshot that the cache has of a revision, if it has what is needed."""
    config = hub.try_to_load_from_cache(filename=CONFIG, revision=revision, **place)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    # Of several networks the preferred one is downloaded first, so that one that is here is the right one.
    needed = (which, "model") if which else NETWORKS
    return folder if any((folder / f"{name}{SUFFIX}").is_file() for name in needed) else None
