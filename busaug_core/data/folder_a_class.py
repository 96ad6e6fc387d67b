"""Any folder of images: with a folder a class, somewhere in it, or without classes."""

import re
from collections import Counter
from pathlib import Path

from busaug_core.data.folders import Paired, class_at, image_files, pair_masks
from busaug_core.data.scans import Listing, Scan
from busaug_core.errors import UserError
from busaug_core.records import Source
from busaug_core.words import counted

PATIENT = re.compile(r"(patient|subject|sub|case|pat|pt|p|id)?[ _-]*\d+", re.IGNORECASE)
"""What a folder of one patient is called."""


def list_folder(folder: Path) -> Listing:
    """A folder a class, perhaps within folders train, val and test, or of patients; masks as in BUSI, or apart.

    Names of the project's classes are known wherever they stand; else the folders nearest to the root that are not
    shared by all images are the classes. A numbered folder beside a class folder is taken to be a patient's.
    """
    root, problems = Path(folder), []
    images = pair_masks(root, image_files(root), problems)
    level, are_known = _class_level(images)
    scans, patients = [], set()
    for image in images:
        named = class_at(image.folders)
        at = level if named is None else named
        if at is None or at >= len(image.folders) or (are_known and PATIENT.fullmatch(image.folders[at])):
            continue
        numbered = [i for i, name in enumerate(image.folders) if i != at and PATIENT.fullmatch(name)]
        # Within a class, numbers may begin anew.
        subject = "/".join(image.folders[: numbered[-1] + 1]) if numbered else None
        is_patient = numbered and not image.folders[numbered[-1]].isdigit()
        source = Source(
            name=image.path.stem, split=image.split, subject=subject, patient=subject if is_patient else None
        )
        patients.add(subject)
        scans.append(Scan(image.path, image.folders[at], tuple(image.masks), source=source))
    if not scans:
        raise UserError(
            f"{folder} holds no folder a class that has images. Where images have no classes, set layout to 'images'."
        )
    notes = []
    if found := len(patients - {None}):
        notes.append(
            counted(found, "numbered folder is", "numbered folders are")
            + " taken to be of a patient each, whose images share a split."
        )
    elif any(scan.path.parent.name != scan.label for scan in scans):
        notes.append("Folders within a class are not taken for patients, since they bear no numbers.")
    return Listing(scans, problems, notes=tuple(notes))


def list_unlabelled(folder: Path) -> Listing:
    """Images without classes, and their masks, in whatever folders; also those of train, val and test."""
    root, problems = Path(folder), []
    images = pair_masks(root, image_files(root), problems)
    if not images:
        raise UserError(f"{folder} holds no images.")
    scans = [
        Scan(i.path, "", tuple(i.masks), source=Source(name="/".join((*i.folders, i.path.stem)), split=i.split))
        for i in images
    ]
    return Listing(scans, problems)


def _class_level(images: list[Paired]) -> tuple[int | None, bool]:
    """How many folders down the classes lie, and whether some are the project's.

    They lie as deep as the project's do, or below what all images have in common.
    """
    known = Counter(at for image in images if (at := class_at(image.folders)) is not None)
    if known:
        return known.most_common(1)[0][0], True
    paths = [image.folders for image in images if image.folders]
    if not paths:
        return None, False
    level = 0
    while len({path[level] for path in paths}) == 1 and all(len(path) > level + 1 for path in paths):
        level += 1
    return level, False
