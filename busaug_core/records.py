"""One image and what is known of it, as plain data that travels between jobs as JSON lines."""

import base64
import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np

from busaug_core.errors import UserError

SPLITS = ("train", "val", "test")
"""The tags of the splits."""


@dataclass
class Lesion:
    """A lesion: its mask file, and once that was read its box in pixels and the pixels in the box.

    `box` is left, top, width, height; `bits` are the mask within it, packed, deflated and in base 64.
    """

    path: str
    box: list[int] | None = None
    bits: str | None = None

    @classmethod
    def of(cls, path: str | Path, mask: np.ndarray) -> "Lesion":
        """The lesion of a mask, bool H×W with at least one pixel set."""
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        packed = zlib.compress(np.packbits(mask[top:bottom, left:right]).tobytes())
        return cls(str(path), [left, top, right - left, bottom - top], base64.b64encode(packed).decode())

    @property
    def mask(self) -> np.ndarray:
        """The pixels within the box, bool height×width."""
        _, _, width, height = self.box
        packed = np.frombuffer(zlib.decompress(base64.b64decode(self.bits)), np.uint8)
        return np.unpackbits(packed, count=width * height).reshape(height, width).astype(bool)


@dataclass
class Record:
    """An image of the dataset.

    `path` is absolute and identifies the record; `label` is empty where no class is known; `size` is the
    image's width, height and number of channels; `source` holds what an external set tells of it; `tags` hold
    the split (`train`, `val`, `test`), the origin and the variant.
    """

    path: str
    label: str
    origin: str = "real"
    variant: str = "real"
    tags: list[str] = field(default_factory=list)
    lesions: list[Lesion] = field(default_factory=list)
    size: list[int] | None = None
    source: dict | None = None
    pair: str | None = None
    duplicate_group: str | None = None
    split_group: str | None = None
    annotation_score: float | None = None
    synthesis: dict | None = None
    scores: dict | None = None

    @property
    def synthetic(self) -> bool:
        return self.origin == "synthetic"

    @property
    def splits(self) -> list[str]:
        """The splits whose tags it bears: one, if all is well, or none."""
        return [split for split in SPLITS if split in self.tags]

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> "Record":
        known = {f.name for f in fields(cls)}
        values = json.loads(line)
        unknown = sorted(set(values) - known)
        if unknown:
            raise UserError(
                f"A record has unknown fields {unknown}: another version of BUSAug wrote it. Delete that run's folder "
                "to make it anew, or use that version."
            )
        lesions = [Lesion(**lesion) for lesion in values.pop("lesions", [])]
        return cls(**values, lesions=lesions)


def write_records(path: str | Path, records: Iterable[Record]) -> None:
    """Write records as JSON lines, all or nothing."""
    path = Path(path)
    partial = path.with_suffix(path.suffix + ".partial")
    with partial.open("w", encoding="utf-8") as f:
        for record in records:
            f.write(record.to_json() + "\n")
    os.replace(partial, path)


def read_records(path: str | Path) -> list[Record]:
    """Read records written by `write_records`."""
    with Path(path).open(encoding="utf-8") as f:
        return [Record.from_json(line) for line in f if line.strip()]


def of_split(records: Iterable[Record], split: str) -> list[Record]:
    """The real or simulated records that carry a split's tag; never a synthetic one.

    Raises UserError where one of them carries another split's tag too.
    """
    chosen = [r for r in records if split in r.tags and not r.synthetic]
    doubtful = [r for r in chosen if len(r.splits) > 1]
    if doubtful:
        first = doubtful[0]
        raise UserError(
            f"{len(doubtful)} images are in more than one split, the first {first.path} "
            f"({' and '.join(first.splits)}); leave each of them the tag of one."
        )
    return chosen


def count_labels(records: Iterable[Record]) -> dict[str, int]:
    """How many records each label has, labels in alphabetical order."""
    counts: dict[str, int] = {}
    for record in records:
        counts[record.label] = counts.get(record.label, 0) + 1
    return dict(sorted(counts.items()))
