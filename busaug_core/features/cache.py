"""Features computed once an image and extractor, by any number of processes, and kept by the image's content."""

import hashlib
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from busaug_core.errors import UserError
from busaug_core.features.extractor import Extractor
from busaug_core.files import content_hash, refuse_missing, write_whole
from busaug_core.images import read_size
from busaug_core.jobs.events import Progress, Steps
from busaug_core.jobs.processes import Team
from busaug_core.jobs.run import Run
from busaug_core.parallel import in_order
from busaug_core.records import Record

SAVE_EVERY = 30
"""Seconds of work that a killed process may lose."""
FILE_ROWS = 4096
"""Most rows of a file."""


@dataclass(frozen=True)
class Seen:
    """What is done to images before the extractor takes them: left and right exchanged, larger ones reduced."""

    mirrored: bool = False
    side: int | None = None

    def __str__(self) -> str:
        """What a cache's name is made of."""
        return f"{self.mirrored}" + ("" if self.side is None else f" {self.side} px")


AS_IS = Seen()


class Features:
    """Features of images, looked up by record.

    Attributes:
        records: the N records
        matrix: float32 N×D, in the records' order
        hashes: the content hashes of the N files
    """

    def __init__(self, records: list[Record], matrix: np.ndarray, hashes: list[str]):
        self.records, self.matrix, self.hashes = records, matrix, hashes
        self._rows = {record.path: i for i, record in enumerate(records)}

    def of(self, records: list[Record]) -> np.ndarray:
        """The features of some of the records, M×D."""
        return self.matrix[[self._rows[r.path] for r in records]]

    def standardised(self, extractor: Extractor, reference: list[Record]) -> "Features":
        """These features in the units that the extractor's are compared in, given the reference's images."""
        return Features(self.records, extractor.standardise(self.matrix, self.of(reference)), self.hashes)


def extract(
    records: list[Record], extractor: Extractor, run: Run, batch_size: int, seen: Seen = AS_IS
) -> Steps[Features | None]:
    """Yield progress; returns `Features`: of the images as they are, or as they are to be `seen`; hashes are of files.

    Under `accelerate launch` each process computes its share, and all but the main one get None, since they are then
    done. A process that is killed and started again finds the features that were saved.
    """
    refuse_missing(r.path for r in records)
    if seen.side is None:
        return (yield from _extract(records, extractor, run, batch_size, seen))
    # What is no larger is seen as it is: nothing is enlarged twice, and its features are those of other uses.
    larger = in_order(lambda r: is_larger(r.path, seen.side), records)
    own = {r.path: not is_so for r, is_so in zip(records, larger, strict=True)}
    parts = []
    for is_own, how in ((True, replace(seen, side=None)), (False, seen)):
        chosen = [r for r in records if own[r.path] == is_own]
        parts.append((yield from _extract(chosen, extractor, run, batch_size, how)))
    if None in parts:
        return None
    found = {r.path: pair for part in parts for r, *pair in zip(part.records, part.matrix, part.hashes, strict=True)}
    matrix, hashes = zip(*(found[r.path] for r in records), strict=True)
    return Features(records, np.stack(matrix), list(hashes))


def is_larger(path: str, side: int) -> bool:
    """Whether an image is wider or higher than so many pixels."""
    return max(read_size(path)[:2]) > side


def _extract(
    records: list[Record], extractor: Extractor, run: Run, batch_size: int, seen: Seen
) -> Steps[Features | None]:
    team = Team()
    cache = FeatureCache(run, extractor, seen)
    hashes = yield from _compute(team.share(records), extractor, cache, batch_size)
    if team.has_several:
        team.meet()
        if not run.is_main:
            return None
        cache.refresh()
        hashes = yield from _compute(records, extractor, cache, batch_size)
    return Features(records, cache.matrix(hashes), hashes)


def _compute(records: list[Record], extractor: Extractor, cache: "FeatureCache", batch_size: int) -> Steps[list[str]]:
    """Put the features that the cache lacks into it; returns the records' content hashes."""
    hashes = list(in_order(content_hash, [r.path for r in records]))
    missing = {h: r.path for h, r in zip(hashes, records, strict=True) if h not in cache}
    keys, images = list(missing), in_order(lambda path: extractor.load(path, cache.seen.side), missing.values())
    if cache.seen.mirrored:
        images = (np.ascontiguousarray(np.fliplr(image)) for image in images)
    try:
        for i in range(0, len(keys), batch_size):
            cache.add(keys[i : i + batch_size], extractor(list(islice(images, batch_size))))
            yield Progress(min(i + batch_size, len(keys)), len(keys), "Computing features")
    finally:
        cache.save()
    return hashes


class FeatureCache:
    """A folder beside the dataset's runs for each extractor's weights, its preprocessing and how images are seen.

    Each save adds a file and none is ever written anew, so that processes can share the folder without locks,
    and saving costs the same however much is there.
    """

    def __init__(self, run: Run, extractor: Extractor, seen: Seen = AS_IS):
        key = hashlib.sha256(f"{extractor.weights} {extractor.preprocessing} {seen}".encode()).hexdigest()
        self.folder: Path = run.folder.parent.parent / "features" / f"{extractor.name}-{key[:16]}"
        self.seen = seen
        self._places: dict[str, tuple[Path, int]] = {}
        self._files: set[Path] = set()
        self._waiting: dict[str, np.ndarray] = {}
        self._saved = time.monotonic()
        self.refresh()

    def __contains__(self, key: str) -> bool:
        return key in self._places or key in self._waiting

    def refresh(self) -> None:
        """Take note of what other processes have saved."""
        for path in sorted(set(self.folder.glob("*.safetensors")) - self._files):
            try:
                with safe_open(path, "numpy") as file:
                    hashes = file.get_tensor("sha256")
            except SafetensorError:
                raise UserError(f"{path} is damaged; delete it, and its features are computed again.") from None
            self._note(path, [row.tobytes().hex() for row in hashes])

    def add(self, keys: list[str], features: np.ndarray) -> None:
        """Keep float32 features; they are saved now and then."""
        self._waiting.update(zip(keys, features, strict=True))
        if len(self._waiting) >= FILE_ROWS or time.monotonic() - self._saved > SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write what is not yet on disk as one more file, all or nothing."""
        if self._waiting:
            self.folder.mkdir(parents=True, exist_ok=True)
            keys = list(self._waiting)
            hashes = np.stack([np.frombuffer(bytes.fromhex(key), np.uint8) for key in keys])
            path = self.folder / f"{uuid.uuid4().hex}.safetensors"
            rows = {"sha256": hashes, "features": np.stack(list(self._waiting.values()))}
            write_whole(path, lambda partial: save_file(rows, partial))
            self._note(path, keys)
            self._waiting.clear()
        self._saved = time.monotonic()

    def matrix(self, keys: list[str]) -> np.ndarray:
        """The saved features of these keys, float32 N×D."""
        rows: dict[Path, list[tuple[int, int]]] = defaultdict(list)
        for row, key in enumerate(keys):
            path, there = self._places[key]
            rows[path].append((row, there))
        features = np.empty((0, 0), np.float32)
        for path, pairs in rows.items():
            stored = load_file(path)["features"]
            if not features.size:
                features = np.empty((len(keys), stored.shape[1]), np.float32)
            here, there = np.array(pairs).T
            features[here] = stored[there]
        return features

    def _note(self, path: Path, keys: list[str]) -> None:
        self._files.add(path)
        self._places.update((key, (path, row)) for row, key in enumerate(keys))
