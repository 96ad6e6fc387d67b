"""BUSAug copy protocol 1: which changes of a real scan the guard against near-copies sees through, and false alarms.

    python benchmarks/copies.py --busi /path/to/Dataset_BUSI_with_GT --bus_bra /path/to/BUSBRA \
        --synthetic /folder/of/generated/images

Recall: BUSI's scans are parted by group into one half to choose parameters by and one to report on. Sixty scans of
each half are changed in each of the ways that `_copy_protocol.py` lists, and looked for among all scans; found is what
lies at or above `NEAR_COPY`. The right scan is named where it, or one of its group, is the most alike.

False alarms: each real image is looked for among those of other groups of its set (in BUS-BRA: of other patients), and
each of BUS-BRA's in BUSI. BUSI's groups are those of the audit and the pairs of `CROPS`, BUS-BRA's the patients, of
whom three have two numbers (`ONE_PATIENT`). Synthetic images are looked
for in BUSI, which none of them should show.
"""

import argparse
import copy
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from busaug_core.data.audit.audit import audit_records, describe_files
from busaug_core.data.busi import list_scans
from busaug_core.data.config import Audit
from busaug_core.data.external import list_bus_bra
from busaug_core.images import open_image
from busaug_core.jobs.events import drain
from busaug_core.measure.config import NEAR_COPY
from busaug_core.measure.copies import Originals
from busaug_core.metrics.estimate import wilson_interval
from busaug_core.records import Record

SCANS = 60
"""Scans of either half that are changed."""
FOLDS = 20
"""Parts of a set, of whole groups, that are looked for in all others: 95 % of the unrelated pairs are compared."""
SEED = 1
CROPS = (("malignant (11)", "malignant (113)"), ("malignant (65)", "malignant (66)"))
CROPS += (("malignant (80)", "malignant (81)"), ("malignant (98)", "malignant (99)"))
"""One is cropped from the other, by eye; in no published list, and below the audit's threshold."""
ONE_PATIENT = {65: 44, 91: 56, 356: 341}
"""Patients of BUS-BRA whose images are, by eye, the same frames as those of another."""


def main() -> None:
    """Print a line for each change, the greatest likeness of unrelated images, and that of synthetic ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busi", type=Path, default=os.environ.get("BUSI"))
    parser.add_argument("--bus_bra", type=Path, default=os.environ.get("BUSBRA"))
    parser.add_argument("--synthetic", type=Path, help="folder of images, searched through")
    options = parser.parse_args()
    if options.busi is None:
        print("Needs real BUSI: give its folder, or set BUSI.")
        return
    busi = [Record(str(scan.path), scan.label) for scan in list_scans(options.busi)[0]]
    originals, group = Originals(busi), groups_of(busi)
    print_recall(originals, group)
    print_likeliest("BUSI among its other groups", *unrelated(originals, group))
    if options.bus_bra:
        scans = list_bus_bra(options.bus_bra)[0]
        records = [Record(str(scan.path), scan.label) for scan in scans]
        print_likeliest("BUS-BRA in BUSI", records, *timed(originals, records))
        patients = [int(scan.source.patient) for scan in scans]
        patient = np.array([ONE_PATIENT.get(number, number) for number in patients])
        print_likeliest("BUS-BRA among other patients", *unrelated(Originals(records), patient))
    if options.synthetic:
        made = [Record(str(path), "") for path in sorted(options.synthetic.rglob("*.png"))]
        print_likeliest("synthetic images in BUSI", made, *timed(originals, made))


def print_recall(originals: Originals, group: np.ndarray) -> None:
    """A line for each change: what is found of either half of the scans."""
    from _copy_protocol import CHANGES, COMPOSITES, NAME, prepared

    rng = np.random.default_rng(SEED)
    to_choose_by = rng.random(group.max() + 1)[group] < 0.5
    halves = [rng.choice(np.flatnonzero(half), SCANS, replace=False) for half in (to_choose_by, ~to_choose_by)]
    print(f"{NAME}: share found, and right ones of these; least likeness")
    print(f"{'':46} {'to choose by':28} to report on")
    for name, change in {**CHANGES, **COMPOSITES}.items():
        cells = []
        for half in halves:
            of = np.stack([half, np.roll(half, 1)] if name in COMPOSITES else [half])
            likeness, real = looked_for(originals, of, change, prepared)
            found = likeness >= NEAR_COPY
            right = [group[r] in group[of[:, n]] for n, r in enumerate(real)]
            error = np.sqrt(found.mean() * (1 - found.mean()) / SCANS)
            share = wilson_interval(found.mean(), error, SCANS)
            named = np.mean(np.array(right)[found]) if found.any() else np.nan
            cells.append(f"{share.value:.2f} ({share.low:.2f}–{share.high:.2f}) {named:.2f}; {likeness.min():.2f}")
        print(f"{name:46} {cells[0]:28} {cells[1]}", flush=True)


def looked_for(
    originals: Originals, of: np.ndarray, change: Callable[..., Image.Image], prepared: Callable
) -> tuple[np.ndarray, list[int]]:
    """The likeness of changed scans, and the indices of the originals that they are most like.

    Args:
        originals: all scans
        of: those that are changed, or put together, int 1×M or 2×M
        change: of one scan, or of two
        prepared: what is done to a scan before
    """
    index = {record.path: i for i, record in enumerate(originals.records)}
    with tempfile.TemporaryDirectory() as folder:
        made = [Record(f"{folder}/{n}.png", "") for n in range(of.shape[1])]
        for record, members in zip(made, of.T, strict=True):
            change(*(prepared(open_image(originals.records[i].path)) for i in members)).save(record.path)
        likeness, real = drain(originals.nearest(made))
    return likeness, [index[r.path] for r in real]


def groups_of(records: list[Record]) -> np.ndarray:
    """The number of each of BUSI's scans' group; int N."""
    descriptors = drain(describe_files(records))
    drain(audit_records(records, descriptors, Audit()))
    names = np.array([r.split_group or r.path for r in records])
    stems = [Path(r.path).stem for r in records]
    for one, other in CROPS:
        names[names == names[stems.index(other)]] = names[stems.index(one)]
    return np.unique(names, return_inverse=True)[1]


def unrelated(originals: Originals, group: np.ndarray) -> tuple[list[Record], np.ndarray, list[Record], float]:
    """All of a set's images, with what each is most like among those of other groups, and the seconds it took."""
    fold = np.random.default_rng(SEED).integers(0, FOLDS, group.max() + 1)[group]
    images, likeness, real, seconds = [], [], [], 0.0
    for n in range(FOLDS):
        others = copy.copy(originals)
        others.records = [r for r, of in zip(originals.records, fold, strict=True) if of != n]
        others.pictures, others.windows = originals.pictures[fold != n], originals.windows[fold != n]
        hidden = [r for r, of in zip(originals.records, fold, strict=True) if of == n]
        values, alike, took = timed(others, hidden)
        images, likeness, real, seconds = images + hidden, [*likeness, *values], real + alike, seconds + took
    return images, np.array(likeness), real, seconds


def timed(originals: Originals, images: list[Record]) -> tuple[np.ndarray, list[Record], float]:
    """What `Originals.nearest` returns, and the processor's seconds that it took."""
    begun = time.process_time()
    likeness, real = drain(originals.nearest(images))
    return likeness, real, time.process_time() - begun


def print_likeliest(name: str, images: list[Record], likeness: np.ndarray, real: list[Record], seconds: float) -> None:
    """How alike images are to those that they should not show, and the pairs that are most so."""
    each = seconds / len(images) * 1000
    high = np.quantile(likeness, (0.5, 0.99, 1))
    print(
        f"{name}: {np.sum(likeness >= NEAR_COPY)} of {len(images)} at or above {NEAR_COPY}; median {high[0]:.2f}, "
        f"99 % below {high[1]:.2f}, at most {high[2]:.2f}; {each:.0f} ms of one core each"
    )
    for n in np.argsort(-likeness)[:5]:
        print(f"    {likeness[n]:.2f} {Path(images[n].path).stem} | {Path(real[n].path).stem}", flush=True)


if __name__ == "__main__":
    main()
