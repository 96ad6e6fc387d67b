"""Speckle and burnt-in marks of each variant beside the real reference, as rows of the table and one plot."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from busaug_core.data.audit.annotations import annotation_score
from busaug_core.figures import write_png
from busaug_core.images import load_gray
from busaug_core.jobs.events import Progress, Steps
from busaug_core.measure.rows import REAL, row_of
from busaug_core.measure.sets import ALL
from busaug_core.metrics.estimate import Estimate
from busaug_core.metrics.speckle import compare, speckle_statistics, spectrum
from busaug_core.parallel import in_order
from busaug_core.records import Record

FILE = "spectra.png"
MARKS = "share of images with burnt-in marks"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def texture_rows(
    reference: list[Record], variants: dict[str, list[Record]], split: str, folder: Path
) -> Steps[list[dict]]:
    """Yield progress and write the plot; returns the rows. The sets are of equal class counts.

    All images are brought to the synthetic ones' size. A `speckle` row holds a statistic's standardised
    difference (Cohen's d) from the reference, whose own row would be 0 and is left out.
    """
    with Image.open(next(r.path for members in variants.values() for r in members)) as image:
        side = min(image.size)
    spectra, statistics, rows = {}, {}, []
    sets = {REAL: reference, **variants}
    for done, (name, members) in enumerate(sets.items(), 1):
        images = np.stack(list(in_order(lambda r: load_gray(r.path, side), members)))
        statistics[name] = speckle_statistics(images)
        spectra[name] = spectrum(images)
        marks = float(np.mean([annotation_score(Image.fromarray(image)) >= 1 for image in images]))
        rows.append(row_of(name, ALL, split, len(members), MARKS, marks))
        yield Progress(done, len(sets), "Measuring the speckle")
    for name in variants:
        for statistic, found in compare(statistics[REAL], statistics[name]).items():
            none = "neither side varies, or too few images have this statistic"
            outcome = none if found.d is None else Estimate(found.d, found.low, found.high)
            rows.append(row_of(name, ALL, split, min(found.n), f"speckle {statistic} (Cohen's d)", outcome))
    plot_spectra(spectra, folder / FILE)
    return rows


def plot_spectra(spectra: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """Write a PNG of the spectra of each variant and, below, their difference from the real ones in dB.

    Args:
        spectra: `spectrum` of each set by name, `real` among them, all of images of one size; lines are geometric
            means over the images, the band holds the middle 80 % of the real ones
    """
    frequencies, real = spectra[REAL]
    others = [name for name in spectra if name != REAL]
    figure = Figure(figsize=(6.4, 6.4))
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 2))
    middle = _decibel(real).mean(0)
    low, high = np.percentile(_decibel(real), [10, 90], axis=0)
    above.fill_between(frequencies, low, high, color="0.85", linewidth=0, label=f"{REAL}, middle 80 %")
    below.fill_between(frequencies, low - middle, high - middle, color="0.85", linewidth=0)
    above.plot(frequencies, middle, color="black", linewidth=2, label=f"{REAL}, n = {len(real)}")
    below.axhline(0, color="black", linewidth=2)
    for i, name in enumerate(others):
        power = _decibel(spectra[name][1]).mean(0)
        style = dict(color=COLOURS[i % len(COLOURS)], linestyle=("-", "--", ":")[i // len(COLOURS) % 3], linewidth=1.5)
        above.plot(frequencies, power, label=f"{name}, n = {len(spectra[name][1])}", **style)
        below.plot(frequencies, power - middle, **style)
    above.set_ylabel("power (dB, gray levels²)")
    below.set_ylabel(f"over {REAL} (dB)")
    below.set_xlabel("spatial frequency (cycles per pixel)")
    below.set_xscale("log")
    ticks = [t for t in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if t >= frequencies[0] * 0.9]
    below.set_xticks(ticks, [f"{t:g}" for t in ticks])
    below.minorticks_off()
    for cell in (above, below):
        cell.grid(color="0.92")
        cell.set_axisbelow(True)
        cell.spines[["top", "right"]].set_visible(False)
    above.legend(frameon=False, fontsize=9)
    figure.tight_layout(pad=0.6)
    write_png(figure, path)


def _decibel(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, 1e-6))
