"""BUSAug copy protocol 1: the changes of a scan, and composites of two, that a detector of copies is judged by.

Scans are gray and reduced to a short side of 224 pixels first, so that a blur or noise means the same on each. What is
cut off is enlarged to the scan's size again. The list does not change; another is another protocol.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter, ImageOps

NAME = "BUSAug copy protocol 1"
SHORT = 224

Change = Callable[[Image.Image], Image.Image]


def prepared(scan: Image.Image) -> Image.Image:
    """The scan as the protocol starts from it."""
    gray = scan.convert("L")
    times = min(1.0, SHORT / min(gray.size))
    return gray.resize([round(times * n) for n in gray.size], Image.Resampling.LANCZOS)


def cut(left: float, top: float, right: float, bottom: float) -> Change:
    """Shares of the width and height cut off."""

    def change(scan: Image.Image) -> Image.Image:
        w, h = scan.size
        return scan.crop((int(left * w), int(top * h), int(w - right * w), int(h - bottom * h))).resize((w, h))

    return change


def cropped(share: float) -> Change:
    return cut(share, share, share, share)


def turned(degrees: float) -> Change:
    return lambda scan: scan.rotate(degrees, Image.Resampling.BICUBIC)


def gamma(exponent: float) -> Change:
    return lambda scan: scan.point([round(255 * (v / 255) ** exponent) for v in range(256)])


def gain(factor: float) -> Change:
    return lambda scan: scan.point([min(255, round(factor * v)) for v in range(256)])


def blurred(pixels: float) -> Change:
    return lambda scan: scan.filter(ImageFilter.GaussianBlur(pixels))


def compressed(quality: int) -> Change:
    def change(scan: Image.Image) -> Image.Image:
        file = io.BytesIO()
        scan.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return change


def noisy(levels: float) -> Change:
    def change(scan: Image.Image) -> Image.Image:
        noise = np.random.default_rng(0).normal(0, levels, scan.size[::-1])
        return Image.fromarray(np.clip(np.asarray(scan) + noise, 0, 255).astype(np.uint8))

    return change


def reduced(side: int) -> Change:
    return lambda scan: scan.resize((side, side))


def chain(*changes: Change) -> Change:
    def change(scan: Image.Image) -> Image.Image:
        for each in changes:
            scan = each(scan)
        return scan

    return change


CHANGES: dict[str, Change] = {
    "mirrored": ImageOps.mirror,
    **{f"cropped by {share:.0%} a side": cropped(share) for share in (0.05, 0.1, 0.15, 0.2)},
    "a corner cropped by 20 %": cut(0, 0, 0.2, 0.2),
    **{f"shallower by {share:.0%}": cut(0, 0, 0, share) for share in (0.05, 0.1, 0.2)},
    **{f"turned by {degrees}°": turned(degrees) for degrees in (2, 5, 10)},
    "gamma 0.6": gamma(0.6),
    "gamma 1.6": gamma(1.6),
    "gain 0.6": gain(0.6),
    "gain 1.5": gain(1.5),
    "blurred by 2 px": blurred(2),
    "JPEG of quality 50": compressed(50),
    "noise of 15 levels": noisy(15),
    "reduced to 128 px": reduced(128),
    "mirrored, cropped by 10 %, 128 px": chain(ImageOps.mirror, cropped(0.1), reduced(128)),
    "turned by 5°, cropped by 10 %, gamma, JPEG": chain(turned(5), cropped(0.1), gamma(1.4), compressed(50)),
    "mirrored, shallower by 20 %, blurred, 128 px": chain(ImageOps.mirror, cut(0, 0, 0, 0.2), blurred(1), reduced(128)),
}


def side_by_side(scan: Image.Image, other: Image.Image) -> Image.Image:
    """The left half of the one and the right half of the other."""
    w, h = scan.size
    made = scan.copy()
    made.paste(other.resize((w, h)).crop((w // 2, 0, w, h)), (w // 2, 0))
    return made


def inlaid(scan: Image.Image, other: Image.Image) -> Image.Image:
    """The one with the middle of the other, 40 % a side, in its middle: 16 % of the picture."""
    w, h = scan.size
    box = (int(0.3 * w), int(0.3 * h), int(0.7 * w), int(0.7 * h))
    made = scan.copy()
    made.paste(other.resize((w, h)).crop(box), box[:2])
    return made


COMPOSITES: dict[str, Callable[[Image.Image, Image.Image], Image.Image]] = {
    "two halves side by side": side_by_side,
    "another scan's middle inlaid": inlaid,
}
"""Copies of either scan."""
