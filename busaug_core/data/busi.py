"""BUSI's layout on disk: `<root>/<class>/<class> (n).png` and `..._mask.png`, `..._mask_1.png` beside it."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from busaug_core.errors import UserError

CLASSES = ("benign", "malignant", "normal")
MASK = re.compile(r"^(?P<stem>.+)_mask(_\d+)?$")


@dataclass(frozen=True)
class Scan:
    """An image of a BUSI folder and its mask files, in natural order."""

    path: Path
    label: str
    masks: tuple[Path, ...]


def find_root(folder: str | Path) -> Path:
    """The folder that holds the three classes: the given one, or one inside it.

    Raises UserError where there is no such folder or a class is missing.
    """
    folder = Path(folder).expanduser().absolute()
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the path of Dataset_BUSI_with_GT.")
    inside = [p for p in sorted(folder.iterdir()) if p.is_dir()]
    for root in (folder, *inside):
        if all((root / c).is_dir() for c in CLASSES):
            return root
    missing = [c for c in CLASSES if not (folder / c).is_dir()]
    raise UserError(f"{folder} lacks the class folder(s) {', '.join(missing)}; BUSI has one for each class.")


def list_scans(folder: str | Path) -> list[Scan]:
    """All images of a BUSI folder with their masks, class by class in natural order.

    A class folder holds images and masks side by side, or in two folders of its own; in one whose name
    begins with `mask` a mask may bear its image's name.

    Raises UserError for a missing or empty class folder, or a mask without its image.
    """
    root = find_root(folder)
    scans = []
    for label in CLASSES:
        images: dict[str, Path] = {}
        masks: dict[str, list[Path]] = {}
        files = [*(root / label).glob("*.png"), *(root / label).glob("*/*.png")]
        for path in sorted(files, key=lambda p: _natural(p.stem)):
            match = MASK.match(path.stem)
            if match or path.parent.name.lower().startswith("mask"):
                masks.setdefault(match["stem"] if match else path.stem, []).append(path)
            else:
                if path.stem in images:
                    raise UserError(f"{images[path.stem]} and {path} have one name; rename or remove one of them.")
                images[path.stem] = path
        if not images:
            raise UserError(f"{root / label} holds no images (.png); is the copy of BUSI complete?")
        orphans = sorted(set(masks) - set(images))
        if orphans:
            raise UserError(f"{masks[orphans[0]][0]} is a mask without an image; {orphans[0]}.png is missing.")
        scans += [Scan(path, label, tuple(masks.get(stem, ()))) for stem, path in images.items()]
    return scans


def read_mask(path: str | Path) -> np.ndarray:
    """A mask file as bool H×W; 1, 2, 3 and 4 channels are understood and alpha is no signal."""
    with _open(path) as image:
        if image.mode in ("LA", "RGBA", "PA"):
            image = image.convert("RGBA" if image.mode == "PA" else image.mode)
            return np.asarray(image)[..., :-1].any(axis=-1)
        if image.mode == "P":
            image = image.convert("RGB")
        pixels = np.asarray(image)
    return pixels.any(axis=-1) if pixels.ndim == 3 else pixels > 0


def check_scan(scan: Scan) -> list[Path]:
    """The scan's masks that hold a lesion; reads every file of it.

    Raises UserError for an unreadable file, a mask of another size, or a lesion class without a mask.
    """
    with _open(scan.path) as image:
        size = image.size
    lesions = []
    for path in scan.masks:
        mask = read_mask(path)
        if mask.shape[::-1] != size:
            raise UserError(f"{path} is {mask.shape[1]}×{mask.shape[0]}, but its image is {size[0]}×{size[1]}.")
        if mask.any():
            lesions.append(path)
    if scan.label != "normal" and not lesions:
        raise UserError(f"{scan.path} is {scan.label} but has no mask with a lesion.")
    return lesions


def _open(path: str | Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise UserError(f"{path} cannot be read as an image ({error}); copy it again or remove it.") from None
    return image


def _natural(text: str) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", text)]
