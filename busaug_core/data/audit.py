"""The audit: copies, frames of one scan, doubtful labels, axilla views and burnt-in annotations."""

import csv
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np

from busaug_core.data.annotations import annotation_score
from busaug_core.data.config import Audit
from busaug_core.data.groups import find_groups
from busaug_core.data.records import Record, count_labels, write_records
from busaug_core.errors import UserError
from busaug_core.events import Event, Progress
from busaug_core.job import Run

BUSI_COUNTS = {"benign": 437, "malignant": 210, "normal": 133}
PUBLISHED = Path(__file__).parent / "published"
TAGS = ("duplicate", "label_conflict", "axilla", "annotated")
"""The tags that the audit gives, and takes from images that no longer deserve them."""


def audit(config: Audit, run: Run) -> Iterator[Event]:
    """Audit real and simulated records; those of the run's products carry the groups and tags."""
    records = [r for r in run.records if not r.synthetic]
    if not records:
        raise UserError("There is no real or simulated sample to audit.")
    summary = yield from audit_records(records, config)
    write_records(run.folder / "products.jsonl", records)
    return summary


def audit_records(records: list[Record], config: Audit) -> Iterator[Event]:
    """Set groups, tags and annotation scores of the records in place; returns the figures."""
    for record in records:
        record.tags = [tag for tag in record.tags if tag not in TAGS]
        record.duplicate_group = record.split_group = None
    pairs = yield from find_groups(records, config.copy_likeness, config.scan_likeness)
    for n, record in enumerate(records, 1):
        record.annotation_score = annotation_score(record.path)
        if record.annotation_score >= config.annotation_threshold:
            record.tags.append("annotated")
        if n % 50 == 0 or n == len(records):
            yield Progress(n, len(records), "Looking for burnt-in annotations")
    whole_busi = is_whole_busi(records)
    if whole_busi:
        axilla = {row["filename"] for row in _rows("axilla.csv")}
        for record in records:
            if Path(record.path).name in axilla:
                record.tags.append("axilla")
    return {
        "images": len(records),
        "pairs": len(pairs),
        "groups": {name: _count(records, name) for name in ("duplicate_group", "split_group")},
        "tags": {tag: sum(tag in r.tags for r in records) for tag in TAGS},
        "published": agreement(records, pairs) if whole_busi else None,
    }


def is_whole_busi(records: list[Record]) -> bool:
    """Whether these are BUSI's 780 images by origin, class counts and names."""
    named = all(Path(r.path).stem.startswith(f"{r.label} (") for r in records)
    return named and count_labels(records) == BUSI_COUNTS and all(r.origin == "real" for r in records)


def agreement(records: list[Record], pairs: np.ndarray) -> dict[str, int]:
    """How the groups agree with the published list of copies.

    Returns `listed` pairs of the list, those `found` in one split group, and pairs `added` beyond it.
    """
    index = {Path(r.path).name: i for i, r in enumerate(records)}
    groups: dict[str, list[int]] = {}
    for row in _rows("duplicates.csv"):
        groups.setdefault(row["group"], []).append(index[row["filename"]])
    listed = {pair for members in groups.values() for pair in combinations(sorted(members), 2)}
    found = [p for p in listed if records[p[0]].split_group and records[p[0]].split_group == records[p[1]].split_group]
    added = {tuple(int(i) for i in pair) for pair in pairs} - listed
    return {"listed": len(listed), "found": len(found), "added": len(added)}


def _count(records: list[Record], name: str) -> int:
    return len({getattr(r, name) for r in records} - {None})


def _rows(name: str) -> list[dict[str, str]]:
    with (PUBLISHED / name).open(encoding="utf-8") as f:
        return list(csv.DictReader(f))
