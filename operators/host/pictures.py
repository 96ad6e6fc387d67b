"""The pictures of a run's folder, curves and grids and plots, as the App shows them."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from fiftyone.operators import types

from busaug_core.jobs.run import Run

SERIES = "samples"
"""The folder of pictures that are named by their step, of which the one drawn last is shown."""


def pictures_of(run: Run) -> dict[str, Path]:
    """The files by what they are called; those of one folder are a series, whose latest stands for it."""
    found = {path.stem: path for path in sorted(run.folder.glob("*.png"))}
    series = list(run.folder.glob(f"{SERIES}/*.png"))
    return found | ({SERIES: max(series, key=lambda path: path.stat().st_mtime_ns)} if series else {})


def add_pictures(view: types.Object, run: Run) -> dict[str, Any]:
    """Add the run's pictures to what is shown; returns the values that go with them."""
    values = {}
    for name, path in pictures_of(run).items():
        view.view(f"title_{name}", types.HeaderView(label=name.replace("_", " ").capitalize(), divider=True))
        view.img(f"picture_{name}", width="100%", alt_text=path.name)
        values[f"picture_{name}"] = address_of(path)
    return values


def address_of(path: Path) -> str:
    """Where the App's own server has the file; another one once it was written anew, so that no old one is shown."""
    return f"/media?filepath={quote(str(path))}&written={path.stat().st_mtime_ns}"
