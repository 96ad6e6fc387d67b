"""Speckle and burnt-in marks of each variant beside the real reference, as rows of the table and one plot."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from busaug_core.data.audit.annotations import annotation_score
from busaug_core.images import load_gray
from busaug_core.jobs.events import Event, Progress
from busaug_core.measure.report import row_of
from busaug_core.measure.sets import ALL
from busaug_core.metrics.estimate import Estimate
from busaug_core.metrics.speckle import compare, plot_spectra, speckle_statistics, spectrum
from busaug_core.parallel import in_order
from busaug_core.records import Record

FILE = "spectra.png"
MARKS = "share of images with burnt-in marks"


def texture_rows(
    reference: list[Record], variants: dict[str, list[Record]], split: str, folder: Path
) -> Iterator[Event]:
    """Yield progress and write the plot; returns the rows. The sets are of equal class counts.

    All images are brought to the synthetic ones' size. A `speckle` row holds the standardised difference of a
    figure (Cohen's d) from the reference, whose own row would be 0 and is left out.
    """
    with Image.open(next(r.path for members in variants.values() for r in members)) as image:
        side = min(image.size)
    spectra, statistics, rows = {}, {}, []
    sets = {"real": reference, **variants}
    for done, (name, members) in enumerate(sets.items(), 1):
        images = np.stack(list(in_order(lambda r: load_gray(r.path, side), members)))
        statistics[name] = speckle_statistics(images)
        spectra[name] = spectrum(images)
        marks = float(np.mean([annotation_score(Image.fromarray(image)) >= 1 for image in images]))
        rows.append(row_of(name, ALL, split, len(members), MARKS, marks))
        yield Progress(done, len(sets), "Measuring the speckle")
    for name in variants:
        for figure, found in compare(statistics["real"], statistics[name]).items():
            none = "neither side varies, or too few images have this figure"
            outcome = none if found.d is None else Estimate(found.d, found.low, found.high)
            rows.append(row_of(name, ALL, split, min(found.n), f"speckle {figure} (Cohen's d)", outcome))
    plot_spectra(spectra, folder / FILE)
    return rows
