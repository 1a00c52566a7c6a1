"""How much a client may ask for, in bytes, seconds and numbers; what is more is refused by name, never tried."""

from dataclasses import dataclass, fields

MEBIBYTE = 2**20


@dataclass(frozen=True)
class Limits:
    """What one server allows.

    Attributes:
        max_upload_bytes: of the body of one request, all its files together.
        max_json_bytes: of a body that is no form with files; it is read where all requests wait for it.
        max_held_bytes: of the bodies of all requests that are under way.
        max_files: in one request.
        max_fields: beside the files.
        max_field_bytes: of one field.
        max_batch_ecgs: in one batch.
        max_windows: of one recording, where all are taken; 360 windows of 10 s are an hour.
        body_seconds: from the first to the last byte of a body.
        header_seconds: from the first to the last byte of a request's head.
        max_header_bytes: of a request's head.
        read_seconds: for reading one ECG; the process that takes longer is ended.
        request_seconds: from the head of a request to the end of its answer.
        at_once: requests that are worked on together.
        queue: further ones that may wait, or still send their body.
        connections: open at once, idle ones among them.
        keep_alive_seconds: until an idle connection is closed.
        shutdown_seconds: that requests have left when the server ends.
        retry_after_seconds: what a client is told when it may come again.
        readers: processes that read files.
        reader_memory_bytes: that one of them may take for one file.

    Raises:
        ValueError: a limit that is not above 0, or a queue below 0.
    """

    max_upload_bytes: int = 64 * MEBIBYTE
    max_json_bytes: int = 2 * MEBIBYTE
    max_held_bytes: int = 512 * MEBIBYTE
    max_files: int = 256
    max_fields: int = 256
    max_field_bytes: int = 64 * 1024
    max_batch_ecgs: int = 256
    max_windows: int = 360
    body_seconds: float = 30.0
    header_seconds: float = 10.0
    max_header_bytes: int = 32 * 1024
    read_seconds: float = 20.0
    request_seconds: float = 120.0
    at_once: int = 16
    queue: int = 64
    connections: int = 256
    keep_alive_seconds: int = 15
    shutdown_seconds: int = 5
    retry_after_seconds: int = 1
    readers: int = 2
    reader_memory_bytes: int = 2048 * MEBIBYTE

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 0 or (value == 0 and field.name != "queue"):
                raise ValueError(f"limits: {field.name} must be above 0, found {value}")
