"""Whether the bundle in use is still the one on disk."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from pathlib import Path

from iospstl_core.bundle import BANK


class BundleState(Enum):
    """What became of the files of a bundle since it was loaded."""

    SAME = "as loaded"
    REPLACED = "replaced on disk since it was loaded; cleanup and configure load what is there now"
    OVERWRITTEN = (
        "overwritten in place while in use: nothing is recognised any more; write a bundle beside "
        "the old one and rename it, then cleanup and configure"
    )


class BundleWatch:
    """Remembers a bundle's files, to notice when they change.

    The donors stay on disk while a bundle is in use. Files that are renamed over them or deleted
    do no harm: the old ones live on unseen. But a file that is written in place changes what is
    mapped into memory, and reading what was cut off ends the process.

    Parameters
    ----------
    folder : Path
        The bundle; look before it is opened.
    """

    def __init__(self, folder: Path) -> None:
        names = [*folder.glob("*"), *folder.glob(f"{BANK}/*")]
        self._files = _look([path for path in names if path.is_file()])

    def state(self) -> BundleState:
        """Look again; costs one call of the system for each file."""
        found = _look(self._files)
        if found == self._files:
            return BundleState.SAME
        for path, (identity, content) in self._files.items():
            new_identity, new_content = found.get(path, (None, None))
            is_mapped = path.parent.name == BANK
            if is_mapped and new_identity == identity and new_content != content:
                return BundleState.OVERWRITTEN
        return BundleState.REPLACED


def _look(paths: Iterable[Path]) -> dict[Path, tuple[tuple[int, int], tuple[int, int]]]:
    """Return of every file that is there what it is and how it was last written."""
    found = {}
    for path in paths:
        try:
            status = path.stat()
        except OSError:  # deleted a moment ago
            continue
        identity = status.st_dev, status.st_ino
        found[path] = identity, (status.st_size, status.st_mtime_ns)
    return found
