"""What a user calls a model -> the file or folder on this machine that holds it.

In this order: a path that is there; the names of the published files; a repository of the Hugging Face hub.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from ecgjepa.checkpoint.description import CheckpointError
from ecgjepa.checkpoint.folder import Which

WEIGHTS = Path("weights")
# The names of the released code, and the files they stand for.
PUBLISHED_FILES = {"ejepa_random": "random_epoch100.pth", "ejepa_multiblock": "multiblock_epoch100.pth"}

HUB = "hf://"
_NAME = r"[A-Za-z0-9_](?:(?!--|\.\.)[\w.-])*(?<![.-])"
_REPOSITORY = re.compile(rf"(?P<id>{_NAME}/{_NAME})(?:@(?P<revision>[\w][\w./-]*))?", re.ASCII)
_MAX_ID = 96
_FILE_SUFFIXES = (".pth", ".pt", ".safetensors", ".json", ".ckpt", ".bin", ".git")


@dataclass(frozen=True)
class Repository:
    """A repository of the hub, `owner/name`, and its branch, tag or commit; the default branch where None.

    `certain` is False where it might have been meant as a path that is not there: then no server is asked.
    """

    id: str
    revision: str | None = None
    certain: bool = True

    def __str__(self) -> str:
        return f"{HUB}{self.id}" + (f"@{self.revision}" if self.revision else "")


def find_model(
    source: Path | str,
    which: Which | None = None,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: Path | str | None = None,
) -> Path:
    """Where a model is on this machine, downloaded if it is a repository of the hub and not yet here.

    `hf://owner/name` is a repository. `owner/name` is looked for in the hub's cache if no such path is there, and no
    folder `owner` either; a path with a slip of the pen asks no server. A `Path` is never a repository. `@revision` may
    follow.

    Args:
        source: path, name or id.
        which: the network that is needed, of a repository.
        revision: branch, tag or commit of a repository, where `source` says none.
        token: of the hub; where None, that of HF_TOKEN or of `hf auth login`; False sends none.
        cache_dir: of the hub; its own where None.

    Raises:
        CheckpointError: it is nowhere, or cannot be downloaded.
    """
    repository = parse_repository(source)
    if repository is None and revision is not None:
        raise CheckpointError(f"revision {revision!r} of {source}, which is no repository of the hub but a local path")
    if repository is not None:
        from ecgjepa.checkpoint.download import download

        if revision is not None and repository.revision not in (None, revision):
            raise CheckpointError(f"{source} with revision {revision!r}: expected one revision, found two")
        return download(replace(repository, revision=revision or repository.revision), which, token, cache_dir)
    path = Path(source)
    if path.exists():
        return path
    if str(source) in PUBLISHED_FILES:
        return _find_published(str(source))
    expected = f"expected a path, {', '.join(PUBLISHED_FILES)}, or hf://owner/name of the Hugging Face hub"
    raise CheckpointError(f"no model at {source}: {expected} (it does not exist)")


def parse_repository(source: Path | str) -> Repository | None:
    """The repository that is meant, or None if it is a local path; see `find_model` for the rule.

    Raises:
        CheckpointError: `hf://` before what is no valid id.
    """
    if not isinstance(source, str):
        return None
    found = _REPOSITORY.fullmatch(source.removeprefix(HUB))
    if found is not None and len(found["id"]) > _MAX_ID:
        found = None
    if source.startswith(HUB):
        if found is None:
            raise CheckpointError(f"{source.removeprefix(HUB)!r} is no repository of the hub, expected owner/name")
        return Repository(found["id"], found["revision"])
    if found is None or found["id"].endswith(_FILE_SUFFIXES):
        return None
    if Path(source).exists() or Path(found["id"]).exists() or Path(found["id"]).parent.exists():
        return None
    return Repository(found["id"], found["revision"], certain=False)


def _find_published(name: str) -> Path:
    file = WEIGHTS / PUBLISHED_FILES[name]
    if not file.is_file():
        raise CheckpointError(
            f"{name}: no file {file} (looked for in {Path.cwd()}); the authors of arXiv:2410.08559 publish it on a "
            f"file share, from where it is fetched by hand into {WEIGHTS}/"
        )
    return file
