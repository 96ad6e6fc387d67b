"""Features computed once an image and extractor, and kept by the image's content."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from busaug_core.data.records import Record
from busaug_core.events import Event, Progress
from busaug_core.images import content_hash, load_batch
from busaug_core.job import Run
from busaug_core.measure.extractors import Extractor


def extract(records: list[Record], extractor: Extractor, run: Run, batch_size: int) -> Iterator[Event]:
    """Yield progress; returns the features, float32 N×D, in the records' order, and the content hashes."""
    cache = FeatureCache(run, extractor)
    hashes = [content_hash(r.path) for r in records]
    missing = list({h: r.path for h, r in zip(hashes, records, strict=True) if h not in cache}.items())
    try:
        for i in range(0, len(missing), batch_size):
            batch = missing[i : i + batch_size]
            features = extractor(load_batch([path for _, path in batch], extractor.resolution))
            cache.add([h for h, _ in batch], features)
            yield Progress(min(i + batch_size, len(missing)), len(missing), "Computing features")
    finally:
        cache.save()
    return np.stack([cache[h] for h in hashes]), hashes


class FeatureCache:
    """A file of features beside the dataset's runs, one for each extractor's weights."""

    def __init__(self, run: Run, extractor: Extractor):
        folder = run.folder.parent.parent / "features"
        self.path: Path = folder / f"{extractor.name}-{extractor.weights[:16]}.safetensors"
        self._features: dict[str, np.ndarray] = {}
        self._changed = False
        if self.path.exists():
            stored = load_file(self.path)
            keys = [row.tobytes().hex() for row in stored["sha256"]]
            self._features = dict(zip(keys, stored["features"], strict=True))

    def __contains__(self, key: str) -> bool:
        return key in self._features

    def __getitem__(self, key: str) -> np.ndarray:
        return self._features[key]

    def add(self, keys: list[str], features: np.ndarray) -> None:
        self._features.update(zip(keys, features, strict=True))
        self._changed = True

    def save(self) -> None:
        """Write the file anew, all or nothing."""
        if not self._changed:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        keys = [np.frombuffer(bytes.fromhex(k), np.uint8) for k in self._features]
        partial = self.path.with_suffix(f".partial-{os.getpid()}")
        save_file({"sha256": np.stack(keys), "features": np.stack(list(self._features.values()))}, partial)
        os.replace(partial, self.path)
        self._changed = False
