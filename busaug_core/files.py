"""Files on disk: hashes of their content, and the one way they are written, all or nothing."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from busaug_core.errors import UserError
from busaug_core.words import counted


def content_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as hex; raises UserError where it cannot be read."""
    try:
        with open(path, "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}); put it back, or remove its sample.") from None


def refuse_missing(paths: Iterable[str]) -> None:
    """Raises UserError where image files are missing, before any work is done on the others."""
    paths = list(paths)
    if missing := [path for path in paths if not Path(path).is_file()]:
        raise UserError(
            f"{counted(len(missing), f'of {len(paths)} image files is', f'of {len(paths)} image files are')} missing, "
            f"the first {missing[0]}; put back what is gone, or remove its samples."
        )


def weights_hash(place: Path) -> str | dict[str, str]:
    """The `content_hash` of a file, the `folder_hash` of a folder."""
    return content_hash(place) if place.is_file() else folder_hash(place)


def folder_hash(folder: Path, pattern: str = "**/*.safetensors") -> dict[str, str]:
    """`content_hash` of each weight file of a folder, by its path within it."""
    return {str(f.relative_to(folder)): content_hash(f) for f in sorted(folder.glob(pattern))}


def write_whole(path: str | Path, write: Callable[[Path], Any], replace: bool = True) -> bool:
    """Have `write` fill a file or folder beside `path` and rename it, so that what bears the name is complete.

    Returns whether the file is this one: without `replace` one that is there already stays, so that of several
    workers the first has it. The file gets the usual permissions; safetensors writes for its owner alone.
    """
    path = Path(path)
    if replace:
        with written_whole(path) as partial:
            write(partial)
        return True
    with _beside(path) as partial:
        write(partial)
        partial.chmod(0o666 & ~_UMASK)
        try:
            os.link(partial, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links; two workers at one moment may then write the same
            if path.exists():
                return False
            os.replace(partial, path)
        return True


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """`write_whole` for what is written between events, or is a folder: a path to write at, which becomes `path`.

    The file or folder gets its name when the block ends, and is removed where the block raises.
    """
    with _beside(path) as partial:
        yield partial
        for file in (partial, *partial.rglob("*")):
            if file.is_file():
                file.chmod(0o666 & ~_UMASK)
        if partial.is_dir() and path.is_dir():
            shutil.rmtree(path)  # one folder does not take another's place
        os.replace(partial, path)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A path in the same folder that no one else writes at; what is still there at the end is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield partial
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """The document of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document as indented JSON, all or nothing."""
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The documents of a file of JSON lines."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write documents as JSON lines, all or nothing."""

    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    write_whole(path, write)


def make_folder(folder: Path) -> None:
    """Make a folder for runs or a run; raises UserError where it cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("no right to write")
    except OSError as error:
        raise UserError(
            f"{folder} cannot be made or written to ({error}); set BUSAUG_HOME to a folder that can."
        ) from None


def _umask() -> int:
    """What the process takes from new files' permissions; it can only be read by setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask


_UMASK = _umask()
