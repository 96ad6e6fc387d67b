"""Groups of images that are copies of one another, or frames of one scan."""

from pathlib import Path
from zlib import crc32

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from busaug_core.data.audit.descriptors import Descriptors
from busaug_core.data.audit.perceptual_hash import HashIndex
from busaug_core.data.audit.similarity import likeness
from busaug_core.jobs.events import Notice, Progress, Steps
from busaug_core.records import Record
from busaug_core.words import counted

BLOCK = 512
"""Images whose candidates are searched at a time."""
PAIRS = 4096
"""Pairs that are compared at a time."""

Patient = tuple[str | None, str]
"""A set, and a patient's number in it."""


def find_groups(records: list[Record], descriptors: list[Descriptors], copy: float, scan: float) -> Steps[np.ndarray]:
    """Set `duplicate_group` and `split_group` of the records, and the tags `duplicate` and `label_conflict`.

    All images of a scan get `label_conflict` where two of them differ in class. Images of one subject
    (`source.subject`) share a `split_group` too, whatever their classes. Images that a set ascribes to different
    patients are joined by nothing but a copy, not by way of other images either: see `_kept_apart`.

    Args:
        records: the images
        descriptors: theirs, in the same order
        copy, scan: likeness from which two images are the same picture, or frames of one scan

    Yields progress, and says how many pairs are kept apart; returns the pairs of one scan, int M×2.
    """
    pairs = yield from _candidates(np.stack([d.perceptual_hash for d in descriptors]))
    normalised = np.stack([d.normalised for d in descriptors])
    values = np.empty(len(pairs), np.float32)
    for first in range(0, len(pairs), PAIRS):
        values[first : first + PAIRS] = likeness(normalised, pairs[first : first + PAIRS])
        yield Progress(min(first + PAIRS, len(pairs)), len(pairs), "Comparing pairs of images")
    order = np.argsort(-values, kind="stable")[: np.count_nonzero(values >= scan)]
    surely, alike = np.split(pairs[order], [np.count_nonzero(values >= copy)])
    subjects = _of_one_subject(records)
    apart = _kept_apart(records, np.concatenate([surely, subjects]), alike)
    if apart.any():
        yield Notice(
            f"{counted(int(apart.sum()), 'pair of images looks', 'pairs of images look')} like frames of one scan, but "
            "the set ascribes them to different patients: they are kept apart."
        )
    same_scan = np.concatenate([surely, alike[~apart]])
    copies = _components(surely, len(records))
    scans = _components(same_scan, len(records))
    together = _components(np.concatenate([same_scan, subjects]), len(records))
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


def _kept_apart(records: list[Record], joined: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """Which of the pairs that look alike, the most alike first, would bring patients together that a set tells apart.

    Pairs are joined in their order, so that an image of an unknown patient goes to the one whom it resembles most.

    Args:
        records: the images
        joined: pairs that are joined in any case, int N×2
        alike: the pairs in question, int M×2

    Returns:
        bool M
    """
    of_group = [{(r.source.set, r.source.patient)} if r.source and r.source.patient else set() for r in records]
    group = list(range(len(records)))

    def find(i: int) -> int:
        while group[i] != i:
            group[i] = i = group[group[i]]
        return i

    def join(one: int, other: int) -> None:
        if one != other:
            group[other] = one
            of_group[one] = of_group[one] | of_group[other]

    for i, j in joined:
        join(find(i), find(j))
    apart = np.zeros(len(alike), bool)
    for n, (i, j) in enumerate(alike):
        one, other = find(i), find(j)
        apart[n] = _differ(of_group[one], of_group[other])
        if not apart[n]:
            join(one, other)
    return apart


def _differ(one: set[Patient], other: set[Patient]) -> bool:
    """Whether two groups hold different patients of one set; patients of two sets may be the same."""
    for name in {name for name, _ in one} & {name for name, _ in other}:
        these, those = ({patient for patient in group if patient[0] == name} for group in (one, other))
        if not (these <= those or those <= these):
            return True
    return False


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
