"""How paths are written down."""

import os
from pathlib import Path


def absolute(path: str | Path) -> Path:
    """The path as FiftyOne stores it: absolute, without `~` and `..`; links stay links."""
    return Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111 (pathlib follows links, or raises)
