"""The guard against near-copies: which changes of a real scan it sees through, and how alike strangers are.

    python benchmarks/copies.py /path/to/Dataset_BUSI_with_GT --synthetic /folder/of/generated/images

For each change of forty scans: the share at or above `NEAR_COPY`, the least likeness, and how often the right scan
is named (less than always where the set itself holds copies). Then the likeness of synthetic images to their
nearest scan, which none of them is a copy of.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from busaug_core.data.busi import list_scans
from busaug_core.images import open_image
from busaug_core.measure.config import NEAR_COPY
from busaug_core.measure.copies import Originals
from busaug_core.records import Record

SCANS = 40


def cut(left: float, top: float, right: float, bottom: float) -> Callable[[Image.Image], Image.Image]:
    """Cut shares of the width and height off and enlarge what is left."""

    def change(image: Image.Image) -> Image.Image:
        w, h = image.size
        return image.crop((int(left * w), int(top * h), int(w - right * w), int(h - bottom * h))).resize((w, h))

    return change


def turned(degrees: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.rotate(degrees, Image.Resampling.BICUBIC)


CHANGES = {
    "none": lambda image: image,
    "mirrored, cropped by 4 %": lambda image: cut(*[0.04] * 4)(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    **{f"cropped by {s:.1%} a side": cut(s, s, s, s) for s in (0.025, 0.06, 0.08, 0.1)},
    "a corner cropped by 10 %": cut(0, 0, 0.1, 0.1),
    **{f"turned by {d}°": turned(d) for d in (2, 5)},
    **{f"shallower by {s:.0%}": cut(0, 0, 0, s) for s in (0.05, 0.1, 0.2)},
    "narrower by 10 %": cut(0.05, 0, 0.05, 0),
    "shifted by 4 %": cut(0.04, 0, 0, 0.03),
}


def main() -> None:
    """Print a line for each change, and one for the synthetic images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("busi", type=Path, nargs="?", default=os.environ.get("BUSI"))
    parser.add_argument("--synthetic", type=Path, help="folder of images, searched through")
    options = parser.parse_args()
    if options.busi is None:
        print("Needs real BUSI: give its folder, or set BUSI.")
        return
    paths = [str(scan.path) for scan in list_scans(options.busi)[0]]
    originals = Originals([Record(path, "") for path in paths])
    chosen = np.random.default_rng(1).choice(len(paths), SCANS, replace=False)
    print(f"{'change':26} {'found':>6} {'least':>6} {'right':>6}")
    for name, change in CHANGES.items():
        with tempfile.TemporaryDirectory() as folder:
            made = [Record(f"{folder}/{i}.png", "") for i in chosen]
            for i, record in zip(chosen, made, strict=True):
                change(open_image(paths[i])).save(record.path)
            likeness, real = nearest(originals, made)
        right = np.mean([r.path == paths[i] for r, i in zip(real, chosen, strict=True)])
        print(f"{name:26} {np.mean(likeness >= NEAR_COPY):6.2f} {likeness.min():6.2f} {right:6.2f}", flush=True)
    if options.synthetic:
        made = [Record(str(path), "") for path in sorted(options.synthetic.rglob("*.png"))]
        begun = time.perf_counter()
        likeness, _ = nearest(originals, made)
        each = (time.perf_counter() - begun) / len(made) * 1000
        middle, most = np.median(likeness), likeness.max()
        print(
            f"{len(made)} synthetic images: likeness {middle:.2f} in the median, {most:.2f} at most; {each:.0f} ms each"
        )


def nearest(originals: Originals, records: list[Record]) -> tuple[np.ndarray, list[Record]]:
    """What `Originals.nearest` returns."""
    work = originals.nearest(records)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


if __name__ == "__main__":
    main()
