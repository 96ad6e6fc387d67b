"""How much of a classifier's heat maps lies on lesions: by image as JSON lines, and the mean of each variant."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from busaug_core.classify.config import ATTENTION
from busaug_core.classify.heatmaps import SIDE, path_of
from busaug_core.classify.resampling import DRAWS
from busaug_core.files import write_rows
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
    """

    path: str
    heatmap: str
    label: str
    empty: bool
    on_lesion: float | None = None
    covered: float | None = None


def measure_attention(run: Run, records: list[Record], labels: Sequence[str]) -> list[Attention]:
    """Measure the maps that were written of the run's records, of a class each, and keep it as `attention.jsonl`."""

    def measure(index: int) -> Attention:
        record, path = records[index], path_of(run, index)
        heat = _read(path)
        name, empty = str(path.relative_to(run.folder)), not heat.any()
        if not record.lesions:
            return Attention(record.path, name, labels[index], empty)
        mask = _mask(record)
        share = None if empty else _share(heat, mask)
        return Attention(record.path, name, labels[index], empty, share, float(mask.mean()))

    found = list(in_order(measure, range(len(records))))
    write_rows(run.folder / ATTENTION, map(asdict, found))
    return found


def attention_rows(
    run: Run, records: list[Record], found: list[Attention], evaluated: Sequence[int]
) -> list[dict[str, Any]]:
    """A row of each variant whose images have masks, and one of the `evaluated` among the real ones, by their places.

    `n` counts the images with a mask and a map that is not empty; `covered` is the mean share of the image under the
    mask, and `on_lesion` that of the map, with its interval from `low` to `high`. `on_others` is what the same maps
    have inside the lesions of other scans: maps that always show the middle, where lesions are, have that much too.
    `excess` is by how much `on_lesion` is more than this, image by image, from `excess_low` to `excess_high`.

    Intervals are of 95 %, over draws of whole scans or patients (or of what grew from one noise). Where all images are
    of one, there are none, and neither `on_others` nor `excess`.
    """
    sets: dict[str, list[int]] = {REAL: list(evaluated)}
    for i, record in enumerate(records):
        if record.synthetic:
            sets.setdefault(record.variant, []).append(i)
    rows = []
    for variant, places in sorted(sets.items(), key=lambda item: (item[0] != REAL, item[0])):
        places = [i for i in places if found[i].on_lesion is not None]
        if not places:
            continue
        shares, covered = (np.array([getattr(found[i], name) for i in places]) for name in ("on_lesion", "covered"))
        row = {
            "variant": variant,
            "n": len(places),
            "covered": float(covered.mean()),
            "on_lesion": float(shares.mean()),
        }
        clusters = groups_of([records[i].cluster for i in places])
        if len(np.unique(clusters)) > 1:
            others = _on_others(run, [records[i] for i in places], [found[i] for i in places], clusters)
            own, excess = mean_over_clusters(shares, clusters), mean_over_clusters(shares - others, clusters)
            row |= {"low": own.low, "high": own.high, "on_others": float(others.mean()), "excess": excess.value}
            row |= {"excess_low": excess.low, "excess_high": excess.high}
        rows.append(row)
    return rows


def _on_others(run: Run, records: list[Record], found: list[Attention], clusters: np.ndarray) -> np.ndarray:
    """The mean share, float N, of each of N maps that lies inside the lesion of an image of another cluster, int N."""
    total = sum(in_order(_mask, records))
    shares = np.zeros(len(records))
    for cluster in np.unique(clusters):
        members = np.flatnonzero(clusters == cluster)
        rest = (total - sum(_mask(records[i]) for i in members)) / (len(records) - len(members))
        for i in members:
            shares[i] = _share(_read(run.folder / found[i].heatmap), rest)
    return shares


def mean_over_clusters(values: np.ndarray, clusters: np.ndarray) -> Estimate:
    """The mean of N values, and its interval over draws of whole clusters, int N."""
    draws = group_draws([""] * len(values), clusters, DRAWS, np.random.default_rng(SEED))
    mean, drawn = float(values.mean()), spread(draws @ values / draws.sum(1))
    return Estimate(mean, min(drawn.low, mean), max(drawn.high, mean))


def _read(path: Path) -> np.ndarray:
    """A map, float64 128×128."""
    with Image.open(path) as picture:
        return np.asarray(picture, np.float64)


def _mask(record: Record) -> np.ndarray:
    """The share of each of a map's pixels that lies under the record's mask, float64 128×128."""
    return _averaged(_averaged(record.lesion_mask().astype(np.float64)).T).T


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
