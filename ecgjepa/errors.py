"""The errors that a user's input can cause; the command line shows their message alone."""


class RunError(RuntimeError):
    """A run that cannot start or go on; the message says why and what to do."""


class PrepareError(RuntimeError):
    """Preparing cannot start or go on; the message says why, and what is kept."""


USER_ERRORS = (ValueError, OSError, RunError, PrepareError)
