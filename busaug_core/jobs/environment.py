"""What a run was made with: versions, platform, revision."""

import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

VERSIONED = ("busaug", "torch", "diffusers", "transformers", "peft", "torchvision", "numpy", "scipy", "fiftyone")


def environment() -> dict[str, Any]:
    """Versions of Python and the packages that decide results, the platform, the code's revision, and the time."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "versions": {package: version_of(package) for package in VERSIONED},
        "revision": _git_revision(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def version_of(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        # An installed copy may lie within a repository that knows nothing of it.
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], capture_output=True, check=True, timeout=10)
        command = [*git, "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
