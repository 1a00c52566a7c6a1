"""Sizes that a file claims, held against its own size before memory is taken for them."""

from pathlib import Path

from ecgjepa.errors import RefusedRecordError

# Below this a claim can do no harm.
FREE_BYTES = 64 * 2**20
# Compressed ECGs are 2 to 20 times smaller than the numbers they hold.
MAX_EXPANSION = 100
# A day of twelve leads at 1,000 Hz in float32 is 4.1 GB; a sparse file holds a terabyte of nothing in no room.
MAX_RECORD_BYTES = 4 * 2**30


def check_claim(
    record: str, claimed_bytes: int, held_bytes: int, what: str, limit_bytes: int = MAX_RECORD_BYTES
) -> None:
    """Refuse `what` if it claims far more than the bytes that are there can hold, or more than any ECG has.

    Raises:
        RefusedRecordError: `malformed`.
    """
    if claimed_bytes > limit_bytes:
        raise RefusedRecordError(
            record, "malformed", f"{what} claims {claimed_bytes} bytes, expected at most {limit_bytes // 2**20} MiB"
        )
    if claimed_bytes < 0 or claimed_bytes > max(FREE_BYTES, MAX_EXPANSION * held_bytes):
        raise RefusedRecordError(
            record, "malformed", f"{what} claims {claimed_bytes} bytes, the file holds {held_bytes} for it"
        )


def check_size(record: str, path: Path, limit_bytes: int, what: str) -> None:
    """Refuse a file that is larger than any ECG of its kind.

    Raises:
        RefusedRecordError: `malformed`.
    """
    if (found := path.stat().st_size) > limit_bytes:
        raise RefusedRecordError(
            record, "malformed", f"{what} of {found} bytes, expected at most {limit_bytes // 2**20} MiB"
        )
