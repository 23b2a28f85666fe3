"""The two error classes of the project, both also ``ValueError``, and how commands end."""

from __future__ import annotations

EXIT_OK, EXIT_FAILED, EXIT_USER_FAULT, EXIT_INTERRUPTED = 0, 1, 2, 130


class InputError(ValueError):
    """A fault in what the user gave: a file, a setting, a message.

    The command line prints it as one line and exits with status 2.
    """


class BundleError(InputError):
    """A bundle that must not be used: damaged, incomplete or of another format version."""
