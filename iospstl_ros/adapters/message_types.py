"""Message classes by name: only the driver in use needs its package of messages."""

from __future__ import annotations

import importlib
from typing import Any

from iospstl_core.errors import InputError


def message_class(message_type: str, install: str) -> Any:
    """Return the class of ``package/msg/Name``.

    Parameters
    ----------
    message_type : str
    install : str
        Command that installs the package; part of the error.

    Raises
    ------
    InputError
        If the name has another form, or the package or the message is not installed.
    """
    parts = message_type.split("/")
    if len(parts) != 3 or parts[1] != "msg" or not all(part.isidentifier() for part in parts):
        raise InputError(f"message_type: expected package/msg/Name, got '{message_type}'")
    package, _, name = parts
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"message_type: expected {message_type} to be installed, got: {error}; install it "
            f"with: {install}"
        ) from error
