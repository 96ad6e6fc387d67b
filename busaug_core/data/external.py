"""The layouts of breast-ultrasound sets other than BUSI, as they are published.

Two different sets are called "Dataset B" in the literature: `meddap_kaggle` and `udiat`.
"""

import csv
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from busaug_core.data.busi import CLASSES, pair_masks
from busaug_core.data.scans import Scan, find_folder, image_files
from busaug_core.data.sources import Published
from busaug_core.errors import UserError
from busaug_core.paths import absolute
from busaug_core.records import Source

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""Folders of a published split, and the tags they become."""
ABBREVIATED = {"b": "benign", "m": "malignant", "n": "normal"}

NOWHERE = Published()

Listing = tuple[list[Scan], list[str]]


def list_bus_bra(folder: Path) -> Listing:
    """BUS-BRA: `Images/bus_0001-l.png`, `Masks/mask_0001-l.png` and `bus_data.csv`; a case is a patient."""
    root = _root(folder, "BUS-BRA", ("Images", "Masks", "bus_data.csv"))
    scans, problems = [], []
    for row in _table(root / "bus_data.csv", ("ID", "Case", "Pathology")):
        name = row["ID"]
        image, mask = root / "Images" / f"{name}.png", root / "Masks" / f"{name.replace('bus', 'mask', 1)}.png"
        source = _source(name=name, patient=row["Case"], birads=row.get("BIRADS"), device=row.get("Device"))
        _add(scans, problems, image, row["Pathology"], (mask,), source)
    return scans, problems


def list_breast_lesions_usg(folder: Path) -> Listing:
    """BrEaST-Lesions-USG: `case001.png`, `case001_tumor.png`, `case001_other1.png` and a spreadsheet."""
    root = next((path.parent for path in sorted(folder.rglob("case*_tumor.png"))), None)
    if root is None:
        raise UserError(f"{folder} is not BrEaST-Lesions-USG: it holds no case…_tumor.png.")
    columns = ("CaseID", "Image_filename", "Mask_tumor_filename", "Classification")
    scans, problems = [], []
    for row in _table(_find_table(folder), columns):
        if not row["Image_filename"]:
            continue
        names = f"{row['Mask_tumor_filename']}&{row.get('Mask_other_filename', '')}".split("&")
        masks = tuple(root / name.strip() for name in names if name.strip())
        source = _source(name=Path(row["Image_filename"]).stem, patient=row["CaseID"], birads=row.get("BIRADS"))
        _add(scans, problems, root / row["Image_filename"], row["Classification"], masks, source)
    return scans, problems


def list_meddap_kaggle(folder: Path) -> Listing:
    """MEDDAP's Dataset B: `{train,val}/{benign,malignant}/benign (36)-rotated1-sharpened.png`.

    Rotated and sharpened copies of one picture, which the published split does not keep together.
    """
    scans, problems = list_folder(folder)
    return [_made_from(scan) for scan in scans], problems


def list_udiat(folder: Path) -> Listing:
    """UDIAT: `original/000001.png`, `GT/000001.png`, and a table of numbers and classes."""
    root = _root(folder, "UDIAT", ("original", "GT"))
    files = {_number(path.stem): path for path in image_files(root / "original")}
    table = _find_table(folder)
    rows = _table(table)
    columns = list(rows[0]) if rows else []
    numbers = [c for c in columns if len({_number(r[c]) for r in rows} & files.keys()) == len(rows)]
    classes = [c for c in columns if all(_class_name(r[c]) in CLASSES for r in rows)]
    if len(numbers) != 1 or len(classes) != 1:
        raise UserError(f"{table} needs one column with each image's number and one with its class; it has {columns}.")
    scans, problems = [], []
    for row in rows:
        image = files[_number(row[numbers[0]])]
        masks = (root / "GT" / image.name,)
        _add(scans, problems, image, row[classes[0]], masks, _source(name=image.stem))
    return scans, problems


def list_folder(folder: Path) -> Listing:
    """A folder a class, perhaps within folders train, val and test; masks beside the images as in BUSI."""
    root = Path(folder)
    while len(inside := _folders(root)) == 1 and not any(image_files(inside[0])):
        root = inside[0]
    classes: list[tuple[Path, str | None]] = []
    for part in _folders(root):
        split = SPLIT_FOLDERS.get(part.name.lower())
        classes += [(part, None)] if split is None else [(path, split) for path in _folders(part)]
    if not classes:
        raise UserError(f"{folder} holds no folder a class.")
    scans, problems = [], []
    for path, split in classes:
        images, masks = pair_masks(image_files(path, depth=2), problems)
        if not images:
            problems.append(f"{path} holds no images.")
        scans += [
            Scan(image, _class_name(path.name), tuple(masks.get(stem, ())), source=_source(name=stem, split=split))
            for stem, image in images.items()
        ]
    return scans, problems


@dataclass(frozen=True)
class ExternalSet:
    """A set: how it is listed, where it is published and what is reported of its licence."""

    list_scans: Callable[[Path], Listing]
    licence: str
    published: Published = NOWHERE


SETS = {
    "bus_bra": ExternalSet(list_bus_bra, "CC BY 4.0 (Zenodo record 8231412)"),
    "breast_lesions_usg": ExternalSet(list_breast_lesions_usg, "CC BY 4.0 (TCIA)"),
    "meddap_kaggle": ExternalSet(
        list_meddap_kaggle,
        "unclear",
        Published(kaggle="vuppalaadithyasairam/ultrasound-breast-images-for-breast-cancer"),
    ),
    "udiat": ExternalSet(list_udiat, "given on request"),
    "folder": ExternalSet(list_folder, "unknown"),
}


def name_of(layout: str, source: str) -> str:
    """What the set is called in its samples' `source`: the layout, or the name of a plain folder or its zip."""
    if layout != "folder":
        return layout
    name = absolute(source).name.removesuffix(".zip")
    return re.sub(r"\W+", "_", name).strip("_").lower() or layout


def _root(folder: Path, name: str, parts: tuple[str, ...]) -> Path:
    root = find_folder(folder, parts)
    if root is None:
        raise UserError(f"{folder} is not {name}: it lacks {', '.join(parts)}.")
    return root


def _folders(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith((".", "__MACOSX"))]


def _add(
    scans: list[Scan],
    problems: list[str],
    image: Path,
    label: str,
    masks: tuple[Path, ...],
    source: Source,
) -> None:
    """Add a row of a table as a scan, or say what its row names and the folder lacks."""
    missing = [path for path in (image, *masks) if not path.is_file()]
    if missing:
        problems.append(f"{missing[0]} is listed but missing; is the copy complete?")
    else:
        label = _class_name(label)
        scans.append(Scan(image, label, masks, bool(masks) and label != "normal", source))


def _class_name(name: str) -> str:
    """A class of the project under its own name, any other as it is."""
    lower = name.strip().lower()
    lower = ABBREVIATED.get(lower, lower)
    return lower if lower in CLASSES else name


def _number(name: str) -> str:
    """An image's number however it is written: 1, 000001, 000001.png."""
    return Path(name.strip()).stem.lstrip("0")


def _made_from(scan: Scan) -> Scan:
    """The scan with the picture that it was rotated or sharpened from as its subject."""
    original = re.split(r"-(?=rotated|sharpened)", scan.path.stem)[0]
    return replace(scan, source=replace(scan.source, subject=f"{scan.label}/{original}"))


def _source(patient: str | None = None, **values: str | None) -> Source:
    """What a set tells of an image; entries that it leaves empty are unknown, and a patient's images share a split."""
    known = {name: value or None for name, value in values.items()}
    return Source(patient=patient or None, subject=patient or None, **known)


def _find_table(folder: Path) -> Path:
    tables = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in (".csv", ".xlsx", ".xls")]
    tables = [p for p in tables if not p.name.startswith((".", "~"))]
    if not tables:
        raise UserError(f"{folder} lacks the table of classes (.csv or .xlsx) that comes with the set.")
    return tables[0]


def _table(path: Path, columns: tuple[str, ...] = ()) -> list[dict[str, str]]:
    """The rows of a table, all values as text; raises UserError where a column is missing."""
    if path.suffix.lower() == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [{k: v or "" for k, v in row.items() if k} for row in csv.DictReader(file)]
    else:
        rows = _spreadsheet(path)
    missing = [c for c in columns if not rows or c not in rows[0]]
    if missing:
        raise UserError(f"{path} lacks the column(s) {', '.join(missing)}; is it the table that comes with the set?")
    return rows


def _spreadsheet(path: Path) -> list[dict[str, str]]:
    try:
        import pandas as pd

        return pd.read_excel(path, dtype=str).fillna("").to_dict("records")
    except ImportError:
        raise UserError(
            f"Reading {path} needs pandas and openpyxl; run pip install pandas openpyxl, or save it as .csv."
        ) from None
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as a spreadsheet ({error}); save it as .csv.") from None
