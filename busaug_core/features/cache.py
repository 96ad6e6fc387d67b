"""Features computed once an image and extractor, by any number of processes, and kept by the image's content."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from busaug_core.features.augmentation import seeded_trivial_augment
from busaug_core.features.extractor import Extractor
from busaug_core.files import content_hash, refuse_missing
from busaug_core.images import read_size
from busaug_core.jobs.cache import RowCache
from busaug_core.jobs.events import Steps
from busaug_core.jobs.processes import Team
from busaug_core.jobs.run import Run
from busaug_core.parallel import in_order
from busaug_core.records import Record


@dataclass(frozen=True)
class Seen:
    """What is done to images before the extractor takes them.

    Attributes:
        mirrored: left and right are exchanged
        side: larger ones are reduced to so many pixels
        trivial: a seed, by which each is changed by one operation of TrivialAugment
    """

    mirrored: bool = False
    side: int | None = None
    trivial: tuple[int, ...] | None = None

    def __str__(self) -> str:
        """What a cache's name is made of."""
        side = "" if self.side is None else f" {self.side} px"
        return f"{self.mirrored}{side}" + ("" if self.trivial is None else f" trivial {self.trivial}")


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


def longest_side(path: str) -> int:
    """An image's width or height in pixels, whichever is more."""
    return max(read_size(path)[:2])


def is_larger(path: str, side: int) -> bool:
    """Whether an image is wider or higher than so many pixels."""
    return longest_side(path) > side


def _extract(
    records: list[Record], extractor: Extractor, run: Run, batch_size: int, seen: Seen
) -> Steps[Features | None]:
    team, cache = Team(), FeatureCache(run, extractor, seen)
    found = yield from _compute(team.share(records), extractor, cache, batch_size)
    if team.has_several:
        team.meet()
        if not run.is_main:
            return None
        cache.refresh()
        found = yield from _compute(records, extractor, cache, batch_size)
    return Features(records, *found)


def _compute(
    records: list[Record], extractor: Extractor, cache: "FeatureCache", batch_size: int
) -> Steps[tuple[np.ndarray, list[str]]]:
    """The features of records, N×D, from the cache or put into it, and their files' content hashes."""
    hashes = list(in_order(content_hash, [r.path for r in records]))

    def load(path: str) -> np.ndarray:
        image = extractor.load(path, cache.seen.side)
        return np.ascontiguousarray(np.fliplr(image)) if cache.seen.mirrored else image

    paths = {h: r.path for h, r in zip(hashes, records, strict=True)}

    def compute(images: list[np.ndarray]) -> np.ndarray:
        # Not where they are loaded: what is drawn is of torch's one generator, which threads would share.
        if cache.seen.trivial is not None:
            images = [seeded_trivial_augment(image, cache.seen.trivial) for image in images]
        return extractor(images)

    found = yield from cache.complete(paths, load, compute, batch_size, "Computing features")
    return np.stack([found[h] for h in hashes]) if hashes else np.empty((0, 0), np.float32), hashes


class FeatureCache(RowCache):
    """A folder beside the dataset's runs for each extractor's weights, its preprocessing and how images are seen."""

    def __init__(self, run: Run, extractor: Extractor, seen: Seen = AS_IS):
        key = hashlib.sha256(f"{extractor.weights} {extractor.preprocessing} {seen}".encode()).hexdigest()
        self.seen = seen
        super().__init__(run.folder.parent.parent / "features" / f"{extractor.name}-{key[:16]}", "features")
