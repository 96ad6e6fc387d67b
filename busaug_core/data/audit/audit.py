"""The audit: copies, frames of one scan, doubtful labels, axilla views and burnt-in annotations."""

import csv
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from busaug_core.data.audit.descriptors import Descriptors, describe
from busaug_core.data.audit.groups import find_groups
from busaug_core.data.audit.patient_text import patient_text
from busaug_core.data.audit.text import INSTALL, TextReader, is_annotation, is_installed
from busaug_core.data.config import Audit
from busaug_core.data.splits import leaked
from busaug_core.errors import UserError
from busaug_core.files import refuse_missing
from busaug_core.images import open_image
from busaug_core.jobs.events import Notice, Progress, Steps
from busaug_core.jobs.run import Run
from busaug_core.parallel import in_order
from busaug_core.records import Record
from busaug_core.words import counted

BUSI_COUNTS = {"benign": 437, "malignant": 210, "normal": 133}
PUBLISHED = Path(__file__).parent / "published"
NEARLY_ALL = 0.95
AXILLA = "axilla"
TAGS = ("duplicate", "label_conflict", "annotated")
"""The tags that the audit gives, and takes from images that no longer deserve them."""
PATIENT_TEXT = "patient_text"
"""Another such tag, of images whose burnt-in text has been read at some time."""
NOT_ASKED = "not read: read_text is off"
NOT_INSTALLED = f"not read: rapidocr-onnxruntime is not installed; run {INSTALL}"


def audit(config: Audit, run: Run) -> Steps[dict[str, Any]]:
    """Audit real and simulated records; the run's products are these with their groups and tags."""
    records = [replace(r, tags=list(r.tags)) for r in run.records if not r.synthetic]
    if not records:
        raise UserError("There is no real or simulated sample to audit.")
    reader = None
    if config.read_text and is_installed():
        reader = TextReader()
    elif config.read_text:
        yield Notice(f"Burnt-in text is {NOT_INSTALLED}")
    descriptors = yield from describe_files(records, reader)
    summary = yield from audit_records(records, descriptors, config)
    splits = [next(iter(r.splits), None) for r in records]
    if leaks := leaked(splits, [r.split_group for r in records]):
        yield Notice(
            f"{counted(leaks, 'held-out image has', 'held-out images have')} a copy, or another frame of the scan, in "
            "training; metrics there are too good."
        )
    run.write_products(records)
    return summary


def describe_files(records: list[Record], reader: TextReader | None = None) -> Steps[list[Descriptors]]:
    """Read the images, and their text where there is a reader, yielding progress; returns the descriptors of each."""
    refuse_missing(record.path for record in records)
    found, often = [], 50 if reader is None else 5
    for descriptors in in_order(lambda record: describe(open_image(record.path), reader), records):
        found.append(descriptors)
        if len(found) % often == 0 or len(found) == len(records):
            yield Progress(len(found), len(records), "Reading images" if reader is None else "Reading images and text")
    return found


def audit_records(records: list[Record], descriptors: list[Descriptors], config: Audit) -> Steps[dict[str, Any]]:
    """Set groups, tags and annotation scores of the records in place; returns the counts that the job reports."""
    for record, found in zip(records, descriptors, strict=True):
        record.tags = [tag for tag in record.tags if tag not in TAGS]
        record.duplicate_group = record.split_group = None
        record.annotation_score = found.annotation_score
        if found.text is not None:
            record.burnt_in_text = found.text
        if found.annotation_score >= config.annotation_threshold or is_annotation(record.burnt_in_text):
            record.tags.append("annotated")
        if record.burnt_in_text is not None:
            record.tags = [tag for tag in record.tags if tag != PATIENT_TEXT]
            record.tags += [PATIENT_TEXT] if patient_text(record.burnt_in_text) else []
    one_scan = config.scan_likeness_among(len(records))
    pairs = yield from find_groups(records, descriptors, config.copy_likeness, one_scan)
    busi = is_busi(records)
    if busi:
        axilla = {row["filename"] for row in _rows("axilla.csv")}
        for record in records:
            if record.source is None and Path(record.path).name in axilla and AXILLA not in record.tags:
                record.tags.append(AXILLA)
    return {
        "images": len(records),
        "pairs": len(pairs),
        "scan_likeness": one_scan,
        "groups": {name: _count(records, name) for name in ("duplicate_group", "split_group")},
        "tags": {tag: sum(tag in r.tags for r in records) for tag in (*TAGS, PATIENT_TEXT, AXILLA)},
        "text": _what_was_read(descriptors, config),
        "published": agreement(records, pairs) if busi else None,
    }


def is_busi(records: list[Record]) -> bool:
    """Whether these are BUSI's 780 images, or all but a few of them, by origin and file names; external sets aside."""
    own = {Path(r.path).name for r in records if r.source is None and r.origin == "real"}
    published = {f"{label} ({n}).png" for label, count in BUSI_COUNTS.items() for n in range(1, count + 1)}
    return own <= published and len(own) >= NEARLY_ALL * len(published)


def agreement(records: list[Record], pairs: np.ndarray) -> dict[str, int]:
    """How the groups agree with the published list of copies, as far as its images are there.

    Returns `listed` pairs of the list, those `found` in one split group, and pairs `added` beyond it.
    """
    index = {Path(r.path).name: i for i, r in enumerate(records) if r.source is None}
    here = (names for names in published_pairs() if index.keys() >= set(names))
    listed = {tuple(sorted(index[name] for name in names)) for names in here}
    found = [p for p in listed if records[p[0]].split_group and records[p[0]].split_group == records[p[1]].split_group]
    own = set(index.values())
    added = {tuple(int(i) for i in pair) for pair in pairs if own.issuperset(pair)} - listed
    return {"listed": len(listed), "found": len(found), "added": len(added)}


def published_pairs() -> set[tuple[str, str]]:
    """The pairs of BUSI's images that the published list calls copies, as file names in alphabetical order."""
    groups: dict[str, list[str]] = {}
    for row in _rows("duplicates.csv"):
        groups.setdefault(row["group"], []).append(row["filename"])
    return {pair for names in groups.values() for pair in combinations(sorted(names), 2)}


def _what_was_read(descriptors: list[Descriptors], config: Audit) -> str:
    """Whether burnt-in text was read, in words; why it was not."""
    read = [d.text for d in descriptors if d.text is not None]
    if read:
        return f"read: {sum(map(bool, read))} of {counted(len(read), 'image')} with some"
    return NOT_INSTALLED if config.read_text or not is_installed() else NOT_ASKED


def _count(records: list[Record], name: str) -> int:
    return len({getattr(r, name) for r in records} - {None})


def _rows(name: str) -> list[dict[str, str]]:
    with (PUBLISHED / name).open(encoding="utf-8") as f:
        return list(csv.DictReader(f))
