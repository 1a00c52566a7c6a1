"""The errors that a user's input can cause; the command line shows their message alone."""


class RunError(RuntimeError):
    """A run that cannot start or go on; the message says why and what to do."""


class PrepareError(RuntimeError):
    """Preparing cannot start or go on; the message says why, and what is kept."""


class ClusterError(RuntimeError):
    """The machines that were asked for cannot do the work; the message says why."""


class RefusedRecordError(ValueError):
    """A record that cannot be brought to the contract.

    Attributes:
        record: name of the record.
        reason: short machine-readable reason, one of those listed in `docs/data.md`.
        detail: what was found and what was expected.
    """

    def __init__(self, record: str, reason: str, detail: str) -> None:
        super().__init__(f"{record}: {detail} [{reason}]")
        self.record, self.reason, self.detail = record, reason, detail

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.record, self.reason, self.detail)  # crosses process borders


USER_ERRORS = (ValueError, OSError, RunError, PrepareError, ClusterError)
