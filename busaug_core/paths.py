"""How paths are written down."""

import os
from pathlib import Path


def absolute(path: str | Path) -> Path:
    """The path as FiftyOne stores it: absolute, without `~` and `..`; links stay links."""
    return Path(os.path.normpath(Path(path).expanduser().absolute()))
