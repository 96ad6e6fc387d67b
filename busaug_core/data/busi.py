"""BUSI's layout on disk: `<root>/<class>/<class> (n).png` and `..._mask.png`, `..._mask_1.png` beside it."""

from pathlib import Path

from busaug_core.data.folders import CLASSES, class_at, class_of, image_files, pair_masks, subfolders
from busaug_core.data.scans import Listing, Scan
from busaug_core.errors import UserError
from busaug_core.paths import absolute


def list_scans(folder: str | Path) -> Listing:
    """All images of a BUSI folder with their masks, class by class in natural order; and what is wrong with it.

    Class folders may lie anywhere in it, under any case. Raises UserError where nothing can be listed at all.
    """
    root = absolute(folder)
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the path of Dataset_BUSI_with_GT.")
    problems: list[str] = []
    of: dict[str, list[Scan]] = {label: [] for label in CLASSES}
    for image in pair_masks(root, (p for p in image_files(root) if _class_above(root, p)), problems):
        label = _class_above(root, image.path)
        of[label].append(Scan(image.path, label, tuple(image.masks), needs_lesion=True))
    missing = [label for label in CLASSES if not of[label]]
    folders = {class_of(path.name): path for path in _folders_in(root)}
    if len(missing) == len(CLASSES) and not folders.keys() & set(CLASSES):
        raise UserError(f"{root} lacks the class folders {', '.join(CLASSES)}; BUSI has one for each class.")
    for label in missing:
        if label in folders:
            problems.append(f"{folders[label]} holds no images; is the copy of BUSI complete?")
        else:
            problems.append(f"{root} lacks the class folder {label}; BUSI has one for each class.")
    return Listing([scan for scans in of.values() for scan in scans], problems)


def _class_above(root: Path, path: Path) -> str | None:
    """The class that the folders of a file name."""
    folders = path.relative_to(root).parts[:-1]
    return class_of(folders[at]) if (at := class_at(folders)) is not None else None


def _folders_in(root: Path) -> list[Path]:
    return [path for folder in subfolders(root) for path in (folder, *_folders_in(folder))]
