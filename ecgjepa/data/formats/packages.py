"""Packages that only some formats need."""

import importlib
from types import ModuleType

from ecgjepa.errors import RefusedRecordError


def optional(record: str, package: str, extra: str) -> ModuleType:
    """Import a package of one of the project's extras.

    Raises:
        RefusedRecordError: `missing_package`; the message says how to install it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise RefusedRecordError(
            record, "missing_package", f"this format needs {package}: pip install 'ecgjepa[{extra}]'"
        ) from error
