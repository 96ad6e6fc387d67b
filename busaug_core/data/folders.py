"""Which files of a folder are images, which are their masks, and what the folders that they lie in say.

Folders are told by the usual words of the field, however they are written and nested: splits (`Train`, `test_set`),
classes (`BENIGN`, `malignant_images`), and parts that hold images or masks alone (`images`, `GT`).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

from PIL import Image

from busaug_core import dicom
from busaug_core.foreign import kind_of
from busaug_core.words import counted

CLASSES = ("benign", "malignant", "normal")
ABBREVIATED = {"b": "benign", "m": "malignant", "n": "normal"}
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""Words of a published split, and the tags they become."""
MASKS = {"mask", "masks", "gt", "groundtruth", "ground", "truth", "seg", "segmentation", "segmentations", "segmented",
         "anno", "annotation", "annotations", "label", "labels"}  # fmt: skip
IMAGES = {"image", "images", "img", "imgs", "original", "originals", "picture", "pictures", "scan", "scans", "raw"}
FILLERS = {"set", "data", "dataset", "split", "folder", "files", "file", "all", "breast", "ultrasound", "us", "bus",
           "lesion", "lesions", "tumor", "tumors", "tumour", "tumours", "mass", "masses", "case", "cases", "class",
           "png", "jpg", "jpeg", "bmp", "tif", "binary", "resized", "and", "the", "of"}  # fmt: skip
"""Words that say nothing of their own beside another."""

MASK = re.compile(r"^((?P<stem>.+?)[ _-]+)?masks?([ _-]?\d+)?$|^masks?[ _-]+(?P<rest>.+)$", re.IGNORECASE)
"""A name that is a mask's by itself: `x_mask_1`, `mask_x`, `mask`."""
_OTHER = "gt|seg|segmentation|anno|annotation|label|ground[ _-]?truth"
PERHAPS_MASK = re.compile(
    rf"^((?P<stem>.+?)[ _-]+)?({_OTHER})([ _-]?\d+)?$|^({_OTHER})[ _-]+(?P<rest>.+)$", re.IGNORECASE
)
"""A name that is a mask's where an image has the rest of it."""
IMAGE = re.compile(r"[ _-]+(image|img|original|scan|us)$", re.IGNORECASE)
"""What an image's name may end with, and its mask's not."""

LISTED = 12
"""Names that a sentence holds."""
JUNK = {"thumbs.db", "desktop.ini"}
NO_PICTURES = {"EPS", "HDF5", "GRIB", "BUFR", "MPEG", "WMF"}
"""Formats that Pillow lists but cannot read by itself."""


@cache
def suffixes() -> frozenset[str]:
    """The suffixes of the image files that can be read."""
    readable = {
        s for s, kind in Image.registered_extensions().items() if kind in Image.OPEN and kind not in NO_PICTURES
    }
    return frozenset({*readable, *dicom.SUFFIXES})


def is_image_file(path: Path) -> bool:
    """Whether a file is an image by its name, or by its first bytes where its suffix says nothing."""
    suffix = path.suffix.lower()
    if suffix in suffixes():
        return True
    return not re.fullmatch(r"\.[a-z]{2,5}", suffix) and kind_of(path).endswith((" image", "DICOM file"))


def files_in(folder: Path, _met: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """All files of a folder and of those in it, in natural order.

    Hidden files are left out, such as the `._` companions that macOS puts into zips, and what Windows leaves behind.
    """
    met = _met | {folder.resolve()}
    for path in sorted(folder.iterdir(), key=lambda p: natural(p.name)):
        if path.name.startswith((".", "__MACOSX")) or path.name.lower() in JUNK:
            continue
        if not path.is_dir():
            yield path
        elif path.resolve() not in met:  # a link may lead back
            yield from files_in(path, met)


def image_files(folder: Path) -> Iterator[Path]:
    """The image files among `files_in`."""
    return (path for path in files_in(folder) if is_image_file(path))


def find_folder(folder: Path, names: tuple[str, ...], levels: int = 3) -> Path | None:
    """The folder that holds all the names, case aside: the given one, or the first up to `levels` within it."""
    if all(child(folder, name) is not None for name in names):
        return folder
    return next((found for p in subfolders(folder) if levels and (found := find_folder(p, names, levels - 1))), None)


def child(folder: Path, name: str) -> Path | None:
    """The file or folder of that name, case aside."""
    return next((p for p in sorted(folder.iterdir()) if p.name.lower() == name.lower()), None)


def subfolders(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith((".", "__MACOSX"))]


def natural(text: str) -> list[tuple[int, int | str]]:
    """A key that sorts `benign (2)` before `benign (10)`."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", text)]


@lru_cache(10_000)
def class_of(name: str) -> str | None:
    """The class of the project that a folder's name or a table's entry means; None for any other."""
    if name.strip().lower() in ABBREVIATED:
        return ABBREVIATED[name.strip().lower()]
    named = _words(name) & set(CLASSES)
    return next(iter(named)) if len(named) == 1 and _is_plain(name) else None


def class_at(folders: Sequence[str]) -> int | None:
    """Which of the folders, from the root down, names a class: in words, or else by its first letter."""
    named = [i for i, name in enumerate(folders) if class_of(name)]
    return min(named, key=lambda i: (len(folders[i].strip()) == 1, i), default=None)


@lru_cache(10_000)
def split_of(name: str) -> str | None:
    """The split that a folder's name means; None where it means none."""
    named = {SPLIT_FOLDERS[word] for word in _words(name) & SPLIT_FOLDERS.keys()}
    return next(iter(named)) if len(named) == 1 and _is_plain(name) else None


@lru_cache(10_000)
def _is_mask_folder(name: str) -> bool:
    return name.lower().startswith("mask") or (bool(_words(name) & MASKS) and _is_plain(name))


@lru_cache(10_000)
def _stem_folder(name: str) -> str | None:
    """A folder's name as images and their masks have it in common; None where it names a split or a part alone."""
    is_part = _is_mask_folder(name) or (bool(_words(name) & IMAGES) and _is_plain(name)) or split_of(name)
    return class_of(name) if is_part else name


def _is_plain(name: str) -> bool:
    """Whether a name has no word but those that are known here."""
    return not _words(name) - MASKS - IMAGES - FILLERS - set(CLASSES) - SPLIT_FOLDERS.keys()


def _words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


@dataclass
class Paired:
    """An image with its masks.

    Attributes:
        folders: the folders from the set's root down to it, without those that only name a split or a part
        split: the published split that a folder names
    """

    path: Path
    folders: tuple[str, ...]
    split: str | None
    masks: list[Path] = field(default_factory=list)


Place = tuple[str | None, tuple[str, ...]]
"""The split and the folders that an image and its masks have in common."""


def pair_masks(root: Path, files: Iterable[Path], problems: list[str]) -> list[Paired]:
    """The images among image files, each with its masks; masks without image and double names go to `problems`.

    A mask lies beside its image, or in a folder of masks where the image lies in one of images, and bears the image's
    name, with or without `mask` at either end; where a folder has but one image it may be called `mask` alone.
    """
    found = _Images()
    masks, unsure = [], []
    for path in files:
        parents = path.relative_to(root).parts[:-1]
        folders = tuple(name for p in parents if (name := _stem_folder(p)) is not None)
        place = next((split for p in parents if (split := split_of(p))), None), folders
        if any(map(_is_mask_folder, parents)) or MASK.match(path.stem):
            masks.append((place, path))
        elif PERHAPS_MASK.match(path.stem):
            unsure.append((place, path))
        else:
            found.add(place, path, problems)
    of_an_image = [found.find(place, path) is not None for place, path in unsure]
    for (place, path), is_mask in zip(unsure, of_an_image, strict=True):
        if is_mask:
            masks.append((place, path))
        else:
            found.add(place, path, problems)
    for place, path in masks:
        image = found.find(place, path)
        named = [image] if image else found.find_anywhere(path)
        if len(named) == 1:
            named[0].masks.append(path)
        elif named:
            places = " or ".join(str(image.path) for image in named[:3])
            problems.append(f"{path} may be the mask of {places}; put it beside its image.")
        else:
            stem = next(filter(None, reversed(_image_stems(path.stem))))
            problems.append(f"{path} is a mask without an image; add {stem}.png or remove the mask.")
    return list(found.images.values())


class _Images:
    """The images of a set, by where they lie and what they are called."""

    def __init__(self) -> None:
        self.images: dict[tuple, Paired] = {}
        self._called: dict[tuple, Paired] = {}
        self._at: dict[tuple, list[Paired]] = defaultdict(list)
        self._anywhere: dict[str, list[Paired]] = defaultdict(list)

    def add(self, place: Place, path: Path, problems: list[str]) -> None:
        split, folders = place
        key = _lower(place, path.stem)
        if key in self.images:
            problems.append(f"{self.images[key].path} and {path} have one name; rename or remove one of them.")
            return
        self.images[key] = image = Paired(path, folders, split)
        self._at[_lower(place)].append(image)
        for stem in {path.stem.lower(), IMAGE.sub("", path.stem).lower()}:
            self._called.setdefault(_lower(place, stem), image)
            self._anywhere[stem].append(image)

    def find(self, place: Place, mask: Path) -> Paired | None:
        """The image of a mask at its place; None where there is none."""
        for stem in _image_stems(mask.stem):
            key = _lower(place, stem)
            if stem and (named := self.images.get(key) or self._called.get(key)):
                return named
        alone = self._at.get(_lower(place), [])
        return alone[0] if "" in _image_stems(mask.stem) and len(alone) == 1 else None

    def find_anywhere(self, mask: Path) -> list[Paired]:
        """The images of the set that a mask's name fits, wherever they lie."""
        return next(filter(None, (self._anywhere.get(stem.lower()) for stem in _image_stems(mask.stem))), [])


def _image_stems(mask: str) -> list[str]:
    """What a mask's image may be called, likelier names first; empty for the only image that there is."""
    stems = [mask]
    for pattern in (MASK, PERHAPS_MASK):
        if match := pattern.match(mask):
            stems.append(match["stem"] or match["rest"] or "")
            # `mask_1` may be the mask of `1`.
            stems += re.findall(r"\d+$", mask) if not match["stem"] and not match["rest"] else []
    return stems


def _lower(place: Place, *stem: str) -> tuple:
    split, folders = place
    return split, tuple(name.lower() for name in folders), *(name.lower() for name in stem)


def left_over(root: Path, used: set[Path], told: str) -> list[str]:
    """What a folder holds beside the files that are used or told of: images by folder, other files by kind."""
    images, others = defaultdict(list), defaultdict(int)
    for path in files_in(root):
        if path not in used and str(path) not in told:
            if is_image_file(path):
                images[path.parent].append(path.name)
            else:
                others[path.suffix.lower() or "no suffix"] += 1
    said = [
        f"{folder}: {counted(len(names), 'image')} to which the layout gives no class ({_listed(names)})."
        for folder, names in images.items()
    ]
    if others:
        said.append(f"{root}: files that are no images ({', '.join(f'{n} {kind}' for kind, n in others.items())}).")
    return said


def _listed(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
