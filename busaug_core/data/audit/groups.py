"""Groups of images that are copies of one another, or frames of one scan."""

from pathlib import Path
from zlib import crc32

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from busaug_core.data.audit.descriptors import Descriptors
from busaug_core.data.audit.perceptual_hash import HashIndex
from busaug_core.data.audit.similarity import likeness
from busaug_core.jobs.events import Progress, Steps
from busaug_core.records import Record

BLOCK = 512
"""Images whose candidates are searched at a time."""
PAIRS = 4096
"""Pairs that are compared at a time."""


def find_groups(records: list[Record], descriptors: list[Descriptors], copy: float, scan: float) -> Steps[np.ndarray]:
    """Set `duplicate_group` and `split_group` of the records, and the tags `duplicate` and `label_conflict`.

    All images of a scan get `label_conflict` where two of them differ in class. Images of one subject
    (`source.subject`) share a `split_group` too, whatever their classes.

    Args:
        records: the images
        descriptors: theirs, in the same order
        copy, scan: likeness from which two images are the same picture, or frames of one scan

    Yields progress; returns the pairs of one scan, int M×2.
    """
    pairs = yield from _candidates(np.stack([d.perceptual_hash for d in descriptors]))
    normalised = np.stack([d.normalised for d in descriptors])
    values = np.empty(len(pairs), np.float32)
    for first in range(0, len(pairs), PAIRS):
        values[first : first + PAIRS] = likeness(normalised, pairs[first : first + PAIRS])
        yield Progress(min(first + PAIRS, len(pairs)), len(pairs), "Comparing pairs of images")
    same_scan = pairs[values >= scan]
    copies = _components(pairs[values >= copy], len(records))
    scans = _components(same_scan, len(records))
    together = _components(np.concatenate([same_scan, _of_one_subject(records)]), len(records))
    for name, components in (("duplicate_group", copies), ("split_group", together)):
        for members in components:
            key = _key(records[members[0]].path)
            for i in members:
                setattr(records[i], name, key)
    for members in copies:
        _tag(records, members, "duplicate")
    for members in scans:
        if len({records[i].label for i in members} - {""}) > 1:
            _tag(records, members, "label_conflict")
    return same_scan


def _candidates(hashes: np.ndarray) -> Steps[np.ndarray]:
    """Pairs of images that may be of one scan, int M×2, each once; yields progress."""
    index, pairs = HashIndex(hashes), []
    for first in range(0, len(hashes), BLOCK):
        pairs.append(index.candidates(slice(first, first + BLOCK)))
        yield Progress(min(first + BLOCK, len(hashes)), len(hashes), "Looking for images of one scan")
    return np.unique(np.concatenate(pairs), axis=0)


def _key(path: str) -> str:
    """A group's name: that of its first image, and a mark that tells files of one name apart."""
    return f"{Path(path).stem} #{crc32(path.encode()):08x}"


def _of_one_subject(records: list[Record]) -> np.ndarray:
    """Pairs that join the images of each subject; int M×2."""
    last: dict[str, int] = {}
    pairs = []
    for i, record in enumerate(records):
        source = record.source
        if source is not None and source.subject is not None:
            key = f"{source.set}/{source.subject}"
            if key in last:
                pairs.append((last[key], i))
            last[key] = i
    return np.array(pairs, int).reshape(-1, 2)


def _components(pairs: np.ndarray, n: int) -> list[np.ndarray]:
    """Members of each connected component of two or more, in order."""
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    labels = connected_components(graph, directed=False)[1]
    order = np.argsort(labels, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return [part for part in parts if len(part) > 1]


def _tag(records: list[Record], members: np.ndarray, tag: str) -> None:
    for i in members:
        if tag not in records[i].tags:
            records[i].tags.append(tag)
