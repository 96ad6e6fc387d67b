"""Bringing in a run folder that was made elsewhere, such as on a machine without FiftyOne."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from busaug_core.errors import UserError
from busaug_core.files import read_json, read_rows, write_json, write_rows, written_whole
from busaug_core.jobs.config import KEY_PATTERN
from busaug_core.jobs.processes import Workers
from busaug_core.jobs.run import INPUTS, Run
from busaug_core.jobs.runs import runs_folder
from busaug_core.paths import absolute

LEFT_BEHIND = ("overwritten", "lock*", "turn*", "stop", ".*.partial")
"""What of a run's folder is of no use elsewhere."""


def import_run(source: str | Path, dataset: str, key: str | None = None) -> Run:
    """Copy a run's folder to a dataset's runs; paths into it, and to runs beside it that are here too, are set right.

    Args:
        source: the folder
        dataset: the dataset's name
        key: what the run is to be called, by default its folder's name

    Raises:
        UserError: `source` is no run's folder, the run is being worked on, or its key is taken or no key
    """
    folder = absolute(source)
    if not (folder / INPUTS).is_file() or Run(folder).job is None:
        raise UserError(f"{folder} is no run's folder; name one that holds config.json and {INPUTS}.")
    if Workers(folder).others():
        raise UserError(f"{folder} is being worked on; wait for the run to end, or stop it.")
    if missing := [name for name in _members(folder) if not (runs_folder(dataset) / name).exists()]:
        raise UserError(f"{folder} is a chain of runs; import those first that are not here: {', '.join(missing)}.")
    key = key or folder.name
    if not re.fullmatch(KEY_PATTERN, key):
        raise UserError(f"{key!r} is no run key; give another as run_key, of letters, digits and underscores.")
    new = runs_folder(dataset) / key
    if new.exists():
        raise UserError(f"There is a run '{key}' of dataset '{dataset}' already; give another run_key.")
    with written_whole(new) as partial:
        shutil.copytree(folder, partial, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
        _rebase(partial, _folder_of(folder), new)
    return Run(new)


def _members(folder: Path) -> list[str]:
    """The keys of the runs that a chain's result names; none for any other run."""
    result = folder / "result.json"
    return read_json(result).get("runs", []) if result.exists() else []


def _folder_of(folder: Path) -> Path:
    """Where the run lay when it was made, as its documents call it."""
    result = folder / "result.json"
    return Path(read_json(result)["folder"]) if result.exists() else folder


def _rebase(folder: Path, old: Path, new: Path) -> None:
    """Set the paths in the documents of a run's folder right."""

    def moved(value: Any) -> Any:
        match value:
            case dict():
                return {name: moved(inner) for name, inner in value.items()}
            case list():
                return [moved(inner) for inner in value]
            case str() if value.startswith(str(old.parent)):
                return _moved(value, old, new)
        return value

    for path in folder.glob("*.json"):
        document = json.loads(path.read_text(encoding="utf-8"))
        if (changed := moved(document)) != document:
            write_json(path, changed)
    for path in folder.glob("*.jsonl"):
        if path.name != "events.jsonl":
            write_rows(path, [moved(row) for row in read_rows(path)])
    result = folder / "result.json"
    if result.exists():
        write_json(result, {**read_json(result), "run_key": new.name, "folder": str(new)})


def _moved(path: str, old: Path, new: Path) -> str:
    """A path into the old folder as one into the new; one into a run beside it where that run is here too."""
    if Path(path).is_relative_to(old):
        return str(new / Path(path).relative_to(old))
    beside = new.parent / Path(path).relative_to(old.parent) if Path(path).is_relative_to(old.parent) else None
    return str(beside) if beside is not None and beside.exists() else path
