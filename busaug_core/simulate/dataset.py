"""Simulated scans, one by one or as a folder in BUSI's own layout."""

import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from threadpoolctl import ThreadpoolController

from busaug_core.errors import UserError
from busaug_core.files import write_whole
from busaug_core.simulate.phantom import make_phantom
from busaug_core.simulate.scanner import SCANNERS, display, envelope, pick, vary, visible

LABELS = ("normal", "benign", "malignant")
BLAS = ThreadpoolController()


@dataclass(frozen=True)
class Scan:
    """One simulated B-mode image.

    image: (size, size) uint8. mask: (size, size) bool, True in the lesion.
    label: 'normal', 'benign' or 'malignant'. scanner: name of the preset. seed: as given.
    """

    image: np.ndarray
    mask: np.ndarray
    label: str
    scanner: str
    seed: int


@BLAS.wrap(limits=1)  # the matrices are small: more threads only get in each other's way
def simulate(label: str, seed: int, size: int = 128, scanner: str | None = None) -> Scan:
    """Simulate one B-mode image of a breast, 40 mm wide and deep.

    Args:
        label: 'normal', 'benign' or 'malignant'.
        seed: any integer >= 0; the same arguments always give the same pixels.
        size: side of the square image in pixels.
        scanner: a key of ``SCANNERS``; None draws one.

    Raises:
        UserError: unknown label or scanner, a negative seed, or a size outside 32 to 1024.
    """
    if label not in LABELS:
        raise UserError(f"label: expected one of {', '.join(LABELS)}, got {label!r}")
    if scanner is not None and scanner not in SCANNERS:
        raise UserError(f"scanner: expected one of {', '.join(SCANNERS)}, got {scanner!r}")
    if seed < 0:
        raise UserError(f"seed: expected 0 or more, got {seed}")
    if not 32 <= size <= 1024:
        raise UserError(f"size: expected 32 to 1024 pixels, got {size}")
    rng = np.random.default_rng([seed, LABELS.index(label)])
    name = pick(rng)
    name = scanner or name
    settings = vary(SCANNERS[name], rng)
    phantom = make_phantom(label, rng)
    gray = display(envelope(phantom, settings, rng), settings, rng)
    shown = visible(gray.shape[0], settings, rng)
    image = Image.fromarray(gray * shown).resize((size, size), Image.Resampling.BICUBIC)
    image = np.clip(np.rint(np.asarray(image) * 255), 0, 255).astype(np.uint8)
    share = Image.fromarray((phantom.mask & shown).astype(np.float32)).resize((size, size), Image.Resampling.BOX)
    return Scan(image, np.asarray(share) > 0.5, label, name, seed)


def write_busi(
    folder: str | os.PathLike,
    counts: dict[str, int],
    seed: int = 0,
    size: int = 128,
    workers: int = 1,
) -> Iterator[tuple[int, int]]:
    """Write simulated scans as BUSI does: ``benign/benign (1).png``, ``benign/benign (1)_mask.png``.

    A generator: nothing is written until it is iterated. Files already there are kept, so an
    interrupted run continues; the bytes depend on ``seed``, ``size`` and the number in the name
    alone, not on ``workers`` or ``counts``. Masks are 0 or 255; a normal's is all black.

    Args:
        folder: made if missing.
        counts: images per label.
        seed, size: see ``simulate``.
        workers: processes; 1 works in this one.

    Yields:
        (done, total) after each image, those already there included.

    Raises:
        UserError: see ``simulate``; also a negative count or fewer than one worker.
    """
    for label, count in counts.items():
        if label not in LABELS:
            raise UserError(f"counts: expected labels {', '.join(LABELS)}, got {label!r}")
        if count < 0:
            raise UserError(f"counts: expected 0 or more images of {label!r}, got {count}")
    if workers < 1:
        raise UserError(f"workers: expected 1 or more, got {workers}")
    folder = Path(folder)
    jobs = [(folder, label, i, seed, size) for label in counts for i in range(1, counts[label] + 1)]
    for label in counts:
        (folder / label).mkdir(parents=True, exist_ok=True)
    for done, _ in enumerate(_run(jobs, workers), 1):
        yield done, len(jobs)


def _run(jobs, workers):
    if workers == 1:
        yield from map(_write_one, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        futures = [pool.submit(_write_one, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _write_one(job):
    folder, label, number, seed, size = job
    image_path = folder / label / f"{label} ({number}).png"
    mask_path = folder / label / f"{label} ({number})_mask.png"
    if image_path.exists() and mask_path.exists():
        return
    scan = simulate(label, zlib.crc32(f"{seed}/{number}".encode()), size)
    for path, pixels in ((mask_path, scan.mask.astype(np.uint8) * 255), (image_path, scan.image)):
        write_whole(path, partial(Image.fromarray(pixels).save, format="PNG"))
