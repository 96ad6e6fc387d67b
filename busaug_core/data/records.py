"""One image and what is known of it, as plain data that travels between jobs as JSON lines."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from busaug_core.errors import UserError


@dataclass
class Record:
    """An image of the dataset.

    `path` is absolute and identifies the record; `masks` are the lesion masks' absolute paths (one
    lesion each); `tags` hold the split (`train`, `val`, `test`), the origin and the variant.
    """

    path: str
    label: str
    origin: str = "real"
    variant: str = "real"
    tags: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    pair: str | None = None
    duplicate_group: str | None = None
    split_group: str | None = None
    annotation_score: float | None = None
    synthesis: dict | None = None

    @property
    def synthetic(self) -> bool:
        return self.origin == "synthetic"

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> "Record":
        known = {f.name for f in fields(cls)}
        values = json.loads(line)
        unknown = sorted(set(values) - known)
        if unknown:
            raise UserError(f"A record has unknown fields {unknown}; known are {sorted(known)}.")
        return cls(**values)


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
    """The real or simulated records that carry a split's tag; never a synthetic one."""
    return [r for r in records if split in r.tags and not r.synthetic]


def count_labels(records: Iterable[Record]) -> dict[str, int]:
    """How many records each label has, labels in alphabetical order."""
    counts: dict[str, int] = {}
    for record in records:
        counts[record.label] = counts.get(record.label, 0) + 1
    return dict(sorted(counts.items()))
