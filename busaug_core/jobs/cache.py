"""Rows of numbers that are costly to compute: kept on disk by key, for later runs too, by any number of processes."""

import os
import time
import uuid
import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from busaug_core.files import write_whole
from busaug_core.jobs.events import Progress, Steps
from busaug_core.parallel import in_order

SAVE_EVERY = 30
"""Seconds of work that a killed process may lose."""
FILE_BYTES = 2**25
"""A file is written when so much is waiting."""
KEYS, CHECKSUM = "sha256", "crc32"
UNREADABLE = (OSError, SafetensorError, KeyError, ValueError)
"""What a file raises that is damaged, of another kind, or gone since."""

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


class RowCache:
    """A folder of arrays of one shape, by keys that are SHA-256 hashes as hex.

    Each save adds a file and none is ever written anew, so that processes can share the folder without locks, and
    saving costs the same however much is there. A file that cannot be read, or that holds other things, is passed
    over: what it should hold is computed and kept again.
    """

    def __init__(self, folder: Path, name: str, limit: int | None = None):
        """`name` is that of the arrays in the files; `limit` the most bytes of the folder above and all in it."""
        self.folder, self.name, self.limit = folder, name, limit
        self._places: dict[str, tuple[Path, int]] = {}
        self._files: set[Path] = set()
        self._waiting: dict[str, np.ndarray] = {}
        self._saved = time.monotonic()
        self.refresh()

    def refresh(self) -> None:
        """Take note of what other processes have saved."""
        for path in sorted(set(self.folder.glob("*.safetensors")) - self._files):
            try:
                with safe_open(path, "numpy") as file:
                    keys = file.get_tensor(KEYS)
                    if self.name not in file.keys():  # noqa: SIM118
                        continue
            except UNREADABLE:
                continue
            self._note(path, [row.tobytes().hex() for row in keys])

    def rows(self, keys: Collection[str]) -> Iterator[tuple[str, np.ndarray]]:
        """The saved arrays of those of the keys that have one."""
        wanted: dict[Path, list[tuple[str, int]]] = defaultdict(list)
        for key in keys:
            if key in self._places:
                path, row = self._places[key]
                wanted[path].append((key, row))
        for path, pairs in wanted.items():
            try:
                with safe_open(path, "numpy") as file:
                    hashes, stored = file.get_tensor(KEYS), file.get_tensor(self.name)
                    checksum = (file.metadata() or {}).get(CHECKSUM)
            except UNREADABLE:
                continue
            if self.limit is not None:
                with suppress(OSError):
                    os.utime(path)  # what is used is dropped last
            if checksum in (None, _checksum(hashes, stored)):
                yield from ((key, stored[row]) for key, row in pairs)

    def complete(
        self,
        items: dict[str, Item],
        load: Callable[[Item], Loaded],
        compute: Callable[[list[Loaded]], np.ndarray],
        batch_size: int,
        message: str,
    ) -> Steps[dict[str, np.ndarray]]:
        """The arrays of all items, by their keys: kept ones, and the others computed, and kept, batch by batch.

        `load` is called by several threads. What was computed is saved also where the work is stopped.
        """
        found = dict(self.rows(items))
        missing = [key for key in items if key not in found]
        loaded = in_order(load, [items[key] for key in missing])
        try:
            for i in range(0, len(missing), batch_size):
                keys, rows = missing[i : i + batch_size], compute(list(islice(loaded, batch_size)))
                found.update(zip(keys, rows, strict=True))
                self.add(keys, rows)
                yield Progress(min(i + batch_size, len(missing)), len(missing), message)
        finally:
            self.save()
        return found

    def add(self, keys: list[str], rows: np.ndarray) -> None:
        """Keep arrays; they are saved now and then."""
        self._waiting.update(zip(keys, rows, strict=True))
        waiting = sum(row.nbytes for row in self._waiting.values())
        if waiting >= FILE_BYTES or time.monotonic() - self._saved > SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write what is not yet on disk as one more file, all or nothing."""
        if self._waiting:
            keys, rows = list(self._waiting), np.stack(list(self._waiting.values()))
            hashes = np.stack([np.frombuffer(bytes.fromhex(key), np.uint8) for key in keys])
            path = self.folder / f"{uuid.uuid4().hex}.safetensors"
            content, about = {KEYS: hashes, self.name: rows}, {CHECKSUM: _checksum(hashes, rows)}
            write_whole(path, lambda partial: save_file(content, partial, metadata=about))
            self._note(path, keys)
            self._waiting.clear()
            self._drop_oldest()
        self._saved = time.monotonic()

    def _drop_oldest(self) -> None:
        """Remove the files that were not used for longest, also of other caches beside this, until the limit holds."""
        if self.limit is None:
            return
        found = []
        for path in self.folder.parent.rglob("*.safetensors*"):
            try:
                found.append((path.stat().st_mtime, path.stat().st_size, path))
            except OSError:  # another process has removed it
                continue
        too_much = sum(size for _, size, _ in found) - self.limit
        for _, size, path in sorted(found):
            if too_much <= 0:
                break
            path.unlink(missing_ok=True)
            too_much -= size

    def _note(self, path: Path, keys: list[str]) -> None:
        self._files.add(path)
        self._places.update((key, (path, row)) for row, key in enumerate(keys))


def _checksum(hashes: np.ndarray, rows: np.ndarray) -> str:
    return str(zlib.crc32(np.ascontiguousarray(rows), zlib.crc32(hashes)))
