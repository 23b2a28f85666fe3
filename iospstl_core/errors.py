"""The two error classes of the project; both are also ``ValueError``."""

from __future__ import annotations


class InputError(ValueError):
    """A fault in what the user gave: a file, a setting, a message.

    The command line prints it as one line and exits with status 2.
    """


class BundleError(InputError):
    """A bundle that must not be used: damaged, incomplete or of another format version."""
