"""BUSI's layout on disk: `<root>/<class>/<class> (n).png` and `..._mask.png`, `..._mask_1.png` beside it."""

import re
from collections.abc import Iterable
from pathlib import Path

from busaug_core.data.scans import Scan, image_files
from busaug_core.errors import UserError
from busaug_core.paths import absolute

CLASSES = ("benign", "malignant", "normal")
MASK = re.compile(r"^(?P<stem>.+)_mask(_\d+)?$")


def list_scans(folder: str | Path) -> tuple[list[Scan], list[str]]:
    """All images of a BUSI folder with their masks, class by class in natural order; and what is wrong with it.

    A class folder holds images and masks side by side, or in two folders of its own; in one whose name
    begins with `mask` a mask may bear its image's name.

    Raises UserError where nothing can be listed at all.
    """
    root = _find_root(absolute(folder))
    scans, problems = [], []
    for label in CLASSES:
        if not (root / label).is_dir():
            problems.append(f"{root} lacks the class folder {label}; BUSI has one for each class.")
            continue
        images, masks = pair_masks(image_files(root / label, depth=2), problems)
        if not images:
            problems.append(f"{root / label} holds no images; is the copy of BUSI complete?")
        scans += [
            Scan(path, label, tuple(masks.get(stem, ())), needs_lesion=label != "normal")
            for stem, path in images.items()
        ]
    return scans, problems


def pair_masks(files: Iterable[Path], problems: list[str]) -> tuple[dict[str, Path], dict[str, list[Path]]]:
    """Images and their masks by the image's stem; masks without image and double names go to `problems`."""
    images: dict[str, Path] = {}
    masks: dict[str, list[Path]] = {}
    for path in files:
        match = MASK.match(path.stem)
        if match or path.parent.name.lower().startswith("mask"):
            masks.setdefault(match["stem"] if match else path.stem, []).append(path)
        elif path.stem in images:
            problems.append(f"{images[path.stem]} and {path} have one name; rename or remove one of them.")
        else:
            images[path.stem] = path
    for stem in sorted(set(masks) - set(images)):
        problems.append(f"{masks[stem][0]} is a mask without an image; add {stem}.png or remove the mask.")
    return images, masks


def _find_root(folder: Path) -> Path:
    """The folder that holds most class folders: the given one, or one inside it."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the path of Dataset_BUSI_with_GT.")
    roots = (folder, *(p for p in sorted(folder.iterdir()) if p.is_dir()))
    found = {root: sum((root / label).is_dir() for label in CLASSES) for root in roots}
    root = max(roots, key=found.get)
    if not found[root]:
        raise UserError(f"{folder} lacks the class folders {', '.join(CLASSES)}; BUSI has one for each class.")
    return root
