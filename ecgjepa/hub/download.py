"""A repository or a path -> an encoder."""

from pathlib import Path

from ecgjepa.checkpoint import Which, find_model, load_encoder
from ecgjepa.checkpoint.source import parse_repository
from ecgjepa.model.encoder import Encoder


def from_pretrained(
    repo_id_or_path: str | Path,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: Path | str | None = None,
    *,
    which: Which | None = None,
) -> Encoder:
    """Load an encoder of the hub, or whatever else `load_encoder` takes: float32 on the CPU, ready to use.

    Args:
        repo_id_or_path: `owner/name`, or a path, which comes first if it is there.
        revision: branch, tag or commit; only the full hash of a commit is always the same weights.
        token: where None, that of HF_TOKEN or of `hf auth login`; False sends none.
        cache_dir: where downloads are kept; where None, the hub's own cache.
        which: teacher or student; where None, the teacher if it is there, else what is there.

    Raises:
        CheckpointError: nothing of that kind is there, it cannot be downloaded, or it is no model of ecgjepa.
    """
    repository = parse_repository(repo_id_or_path)
    source = repo_id_or_path if repository is None else str(repository)
    return load_encoder(find_model(source, which, revision=revision, token=token, cache_dir=cache_dir), which)
