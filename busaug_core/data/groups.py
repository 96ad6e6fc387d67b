"""Groups of images that are copies of one another, or frames of one scan."""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from busaug_core.data.records import Record
from busaug_core.data.similarity import SIDE, candidates, detail, likeness, outlines
from busaug_core.events import Event, Progress
from busaug_core.images import load_gray


def find_groups(records: list[Record], copy: float, scan: float) -> Iterator[Event]:
    """Set `duplicate_group` and `split_group` of the records, and the tags `duplicate` and `label_conflict`.

    A conflict of labels taints its whole split group. `copy` and `scan` are the likeness of the same picture
    and of two frames of one scan. Yields progress; returns the pairs of one scan, int M×2.
    """
    details, outline = [], []
    for n, record in enumerate(records, 1):
        gray = load_gray(record.path, SIDE)
        details.append(detail(gray))
        outline.append(outlines(gray))
        if n % 50 == 0 or n == len(records):
            yield Progress(n, len(records), "Looking for copies")
    pairs = candidates(np.stack(outline))
    values = likeness(np.stack(details), pairs)
    copies = _components(pairs[values >= copy], len(records))
    scans = _components(pairs[values >= scan], len(records))
    for name, components in (("duplicate_group", copies), ("split_group", scans)):
        for members in components:
            key = f"{name.removesuffix('_group')}-{records[members[0]].label}-{members[0]:05d}"
            for i in members:
                setattr(records[i], name, key)
    for members in copies:
        _tag(records, members, "duplicate")
    for members in scans:
        if len({records[i].label for i in members}) > 1:
            _tag(records, members, "label_conflict")
    return pairs[values >= scan]


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
