"""How much of a classifier's heat maps lies on lesions and on burnt-in marks.

By image as JSON lines, and the mean of each variant.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from busaug_core.classify.config import ATTENTION
from busaug_core.classify.heatmaps import SIDE, path_of
from busaug_core.classify.resampling import DRAWS
from busaug_core.data.audit.annotations import annotation_mask
from busaug_core.files import write_rows
from busaug_core.images import open_image
from busaug_core.jobs.run import Run
from busaug_core.metrics.bootstrap import group_draws, groups_of
from busaug_core.metrics.estimate import Estimate, spread
from busaug_core.parallel import in_order
from busaug_core.records import Record

REAL = "real"
SEED = 51
"""Of the draws that intervals are taken over."""


@dataclass(frozen=True)
class Attention:
    """What a heat map shows.

    Attributes:
        path: the image
        heatmap: the map's file, within the run's folder
        label: the class that it is of
        empty: whether nothing in it speaks for that class
        on_lesion: the share of the map that lies inside the lesion's mask; None without a mask or for an empty map
        covered: the share of the image that the mask covers, which is what a map that knows nothing of it would have
        on_marks: the share of the map that lies on burnt-in marks; None where none are found or for an empty map
        marked: the share of the image that these cover
    """

    path: str
    heatmap: str
    label: str
    empty: bool
    on_lesion: float | None = None
    covered: float | None = None
    on_marks: float | None = None
    marked: float | None = None


@dataclass(frozen=True)
class Target:
    """What maps are laid over.

    Attributes:
        rows: what a result calls the rows of `attention_rows`
        share, area: what the share of a map that lies on it is called, and the share of the image that it covers
        mask: where it is in an image, bool H×W over the whole of it, of any size
    """

    rows: str
    share: str
    area: str
    mask: Callable[[Record], np.ndarray]


LESION = Target("attention", "on_lesion", "covered", Record.lesion_mask)
MARKS = Target("attention_to_marks", "on_marks", "marked", lambda record: annotation_mask(open_image(record.path)))
TARGETS = (LESION, MARKS)


def measure_attention(run: Run, records: list[Record], labels: Sequence[str]) -> list[Attention]:
    """Measure the maps that were written of the run's records, of a class each, and keep it as `attention.jsonl`."""

    def measure(index: int) -> Attention:
        record, path = records[index], path_of(run, index)
        heat = _read(path)
        name, empty = str(path.relative_to(run.folder)), not heat.any()
        shares: dict[str, float | None] = {}
        for target in TARGETS:
            mask = _mask(record, target)
            if mask.any():
                shares |= {target.share: None if empty else _share(heat, mask), target.area: float(mask.mean())}
        return Attention(record.path, name, labels[index], empty, **shares)

    found = list(in_order(measure, range(len(records))))
    write_rows(run.folder / ATTENTION, map(asdict, found))
    return found


def attention_rows(
    run: Run, records: list[Record], found: list[Attention], evaluated: Sequence[int], target: Target
) -> list[dict[str, Any]]:
    """A row of each variant whose images have the target, and one of the `evaluated` real ones, given by their places.

    `n` counts the images that have it and a map that is not empty; `covered` is the mean share of the image under the
    lesion's mask, and `on_lesion` that of the map, with its interval from `low` to `high`. `on_others` is what the same
    maps have inside the lesions of other scans: maps that always show the middle, where lesions are, have that much
    too. `excess` is by how much `on_lesion` is more than this, image by image, from `excess_low` to `excess_high`. Of
    burnt-in marks, `marked` and `on_marks` stand for `covered` and `on_lesion`.

    Intervals are of 95 %, over draws of whole scans or patients (or of what grew from one noise). Where all images are
    of one, there are none, and neither `on_others` nor `excess`.
    """
    sets: dict[str, list[int]] = {REAL: list(evaluated)}
    for i, record in enumerate(records):
        if record.synthetic:
            sets.setdefault(record.variant, []).append(i)
    rows = []
    for variant, places in sorted(sets.items(), key=lambda item: (item[0] != REAL, item[0])):
        places = [i for i in places if getattr(found[i], target.share) is not None]
        if not places:
            continue
        areas, shares = (np.array([getattr(found[i], name) for i in places]) for name in (target.area, target.share))
        row = {"variant": variant, "n": len(places)}
        row |= {target.area: float(areas.mean()), target.share: float(shares.mean())}
        clusters = groups_of([records[i].cluster for i in places])
        if len(np.unique(clusters)) > 1:
            others = _on_others(run, [records[i] for i in places], [found[i] for i in places], clusters, target)
            own, excess = mean_over_clusters(shares, clusters), mean_over_clusters(shares - others, clusters)
            row |= {"low": own.low, "high": own.high, "on_others": float(others.mean()), "excess": excess.value}
            row |= {"excess_low": excess.low, "excess_high": excess.high}
        rows.append(row)
    return rows


def _on_others(
    run: Run, records: list[Record], found: list[Attention], clusters: np.ndarray, target: Target
) -> np.ndarray:
    """The mean share, float N, of each of N maps on the target in an image of another cluster, int N."""
    total = sum(in_order(lambda record: _mask(record, target), records))
    shares = np.zeros(len(records))
    for cluster in np.unique(clusters):
        members = np.flatnonzero(clusters == cluster)
        rest = (total - sum(_mask(records[i], target) for i in members)) / (len(records) - len(members))
        for i in members:
            shares[i] = _share(_read(run.folder / found[i].heatmap), rest)
    return shares


def mean_over_clusters(values: np.ndarray, clusters: np.ndarray) -> Estimate:
    """The mean of N values, and its interval over draws of whole clusters, int N."""
    draws = group_draws([""] * len(values), clusters, DRAWS, np.random.default_rng(SEED))
    return spread(draws @ values / draws.sum(1), values.mean())


def _read(path: Path) -> np.ndarray:
    """A map, float64 128×128."""
    with Image.open(path) as picture:
        return np.asarray(picture, np.float64)


def _mask(record: Record, target: Target) -> np.ndarray:
    """The share of each of a map's pixels that the target covers in an image, float64 128×128."""
    return _averaged(_averaged(target.mask(record).astype(np.float64)).T).T


def _averaged(rows: np.ndarray) -> np.ndarray:
    """The means of H rows over `SIDE` stripes of the same height, a row that lies in two counting in part in each.

    Pillow's box filter takes whole rows only.
    """
    edges = np.linspace(0, len(rows), SIDE + 1)
    sums = np.concatenate([np.zeros_like(rows[:1]), rows.cumsum(0)])
    whole = np.minimum(edges.astype(int), len(rows) - 1)
    at_edges = sums[whole] + (edges - whole)[:, None] * rows[whole]
    return np.diff(at_edges, axis=0) * SIDE / len(rows)


def _share(heat: np.ndarray, mask: np.ndarray) -> float:
    return float((heat * mask).sum() / heat.sum())
