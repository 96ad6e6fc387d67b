"""The layouts of breast-ultrasound sets other than BUSI, as they are published.

Two different sets are called "Dataset B" in the literature: `meddap_kaggle` and `udiat`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from busaug_core.data.folder_a_class import list_folder, list_unlabelled
from busaug_core.data.folders import child, class_of, find_folder, image_files, pair_masks
from busaug_core.data.scans import Listing, Scan
from busaug_core.data.sources import Published
from busaug_core.data.tables import find_tables, read_fitting, read_table
from busaug_core.errors import UserError
from busaug_core.paths import absolute
from busaug_core.records import Source

UCLM_TEST = {"COPE", "ANFO", "ELCO", "CRCI", "FLKA"}
"""The patients that the authors of BUS-UCLM tested on."""

NOWHERE = Published()


def list_bus_bra(folder: Path) -> Listing:
    """BUS-BRA: `Images/bus_0001-l.png`, `Masks/mask_0001-l.png` and `bus_data.csv`; a case is a patient.

    The lists `5-fold-cv.csv` and `10-fold-cv.csv` are read where they are there.
    """
    root = _root(folder, "BUS-BRA", ("Images", "Masks", "bus_data.csv"))
    images, masks = _by_stem(child(root, "Images")), _by_stem(child(root, "Masks"))
    table = child(root, "bus_data.csv")
    lists = {n: path for n in (5, 10) if (path := child(root, f"{n}-fold-cv.csv")) is not None}
    folds = {n: _folds_of_bus_bra(path) for n, path in lists.items()}
    known = ("BIRADS", "Device", "Histology", "Side", "BBOX")
    scans, problems = [], []
    for row in read_table(table, ("ID", "Case", "Pathology"), known):
        name = row["ID"]
        mask = name.replace("bus", "mask", 1)
        source = _source(name=name, patient=row["Case"], **{n.lower(): row.get(n) for n in known})
        _add(
            scans,
            problems,
            images.get(name.lower(), root / "Images" / f"{name}.png"),
            row["Pathology"],
            (masks.get(mask.lower(), root / "Masks" / f"{mask}.png"),),
            source,
            official={n: found[name] for n, found in folds.items() if name in found},
        )
    return Listing(scans, problems, (table, *lists.values()))


def _folds_of_bus_bra(path: Path) -> dict[str, tuple[int, str]]:
    """The fold of each image, and its split where the first fold is tested on: `valid_1` is 0 for validation."""
    splits = {"1": "train", "0": "val"}
    return {
        row["ID"]: (int(row["kFold"]), splits.get(row["valid_1"], "test"))
        for row in read_table(path, ("ID", "kFold", "valid_1"))
    }


def list_breast_lesions_usg(folder: Path) -> Listing:
    """BrEaST-Lesions-USG: `case001.png`, `case001_tumor.png`, `case001_other1.png` and a spreadsheet."""
    root = next((p.parent for p in image_files(folder) if re.fullmatch(r"case.*_tumor", p.stem, re.IGNORECASE)), None)
    if root is None:
        raise UserError(f"{folder} is not BrEaST-Lesions-USG: it holds no case…_tumor.png.")
    columns = ("CaseID", "Image_filename", "Mask_tumor_filename", "Classification")
    table, rows = read_fitting(folder, columns, ("Mask_other_filename", "BIRADS"))
    files = _by_stem(root)
    scans, problems = [], []
    for row in rows:
        if not row["Image_filename"]:
            continue
        names = f"{row['Mask_tumor_filename']}&{row.get('Mask_other_filename', '')}".split("&")
        image, *masks = (
            files.get(Path(name.strip()).stem.lower(), root / name.strip())
            for name in (row["Image_filename"], *names)
            if name.strip()
        )
        source = _source(name=Path(row["Image_filename"]).stem, patient=row["CaseID"], birads=row.get("BIRADS"))
        _add(scans, problems, image, row["Classification"], tuple(masks), source)
    return Listing(scans, problems, (table,))


def list_meddap_kaggle(folder: Path) -> Listing:
    """MEDDAP's Dataset B: `{train,val}/{benign,malignant}/benign (36)-rotated1-sharpened.png`.

    Rotated and sharpened copies of one picture, which the published split does not keep together.
    """
    found = list_folder(folder)
    return found._replace(scans=[_made_from(scan) for scan in found.scans])


def list_udiat(folder: Path) -> Listing:
    """UDIAT: `original/000001.png`, `GT/000001.png`, and a table of numbers and classes."""
    root = _root(folder, "UDIAT", ("original", "GT"))
    files = {_number(path.stem): path for path in image_files(child(root, "original"))}
    masks = {_number(path.stem): path for path in image_files(child(root, "GT"))}
    for table in (tables := find_tables(folder)):
        rows = read_table(table)
        columns = list(rows[0]) if rows else []
        numbers = [c for c in columns if 2 * len({_number(r[c]) for r in rows} & files.keys()) > len(rows)]
        classes = [c for c in columns if all(class_of(r[c]) for r in rows)]
        if len(numbers) == len(classes) == 1:
            break
    else:
        raise UserError(
            f"{tables[0]} needs one column with each image's number and one with its class; it has {columns}."
        )
    scans, problems = [], []
    for row in rows:
        number = _number(row[numbers[0]])
        image = files.get(number, root / "original" / f"{number.zfill(6)}.png")
        mask = masks.get(number, root / "GT" / image.name)
        _add(scans, problems, image, row[classes[0]], (mask,), _source(name=image.stem))
    return Listing(scans, problems, (table,))


def list_bus_uclm(folder: Path) -> Listing:
    """BUS-UCLM: `images/ALWI_000.png`, `masks/ALWI_000.png` and `INFO.csv`; the first letters name the patient.

    Masks are green where benign and red where malignant.
    """
    root = _root(folder, "BUS-UCLM", ("images", "masks", "INFO.csv"))
    images, masks = _by_stem(child(root, "images")), _by_stem(child(root, "masks"))
    table = child(root, "INFO.csv")
    scans, problems = [], []
    for row in read_table(table, ("Image", "Label")):
        name = Path(row["Image"]).stem
        patient = name.split("_")[0]
        _add(
            scans,
            problems,
            images.get(name.lower(), root / "images" / f"{name}.png"),
            row["Label"],
            (masks.get(name.lower(), root / "masks" / f"{name}.png"),),
            _source(name=name, patient=patient),
            official={0: (None, "test" if patient.upper() in UCLM_TEST else "train")},
            colours=("green", "red"),
            scales_masks=True,
        )
    return Listing(scans, problems, (table,))


def list_bus_uc(folder: Path) -> Listing:
    """BUS-UC: `Benign/images/01.png`, `Benign/masks/01.png`, the same under `Malignant`; `All` repeats them."""
    root = _root(folder, "BUS-UC", ("Benign", "Malignant"))
    problems: list[str] = []
    files = (path for label in ("Benign", "Malignant") for path in image_files(child(root, label)))
    scans = [
        Scan(i.path, class_of(i.folders[0]), tuple(i.masks), source=_source(name=f"{i.folders[0]}/{i.path.stem}"))
        for i in pair_masks(root, files, problems)
    ]
    return Listing(scans, problems)


def list_buid(folder: Path) -> Listing:
    """BUID or QAMEBI: `Benign/1 Benign Image.bmp`, `1 Benign Mask.tif`; `1 Benign Lesion.bmp` is a drawing."""
    root = _root(folder, "BUID", ("Benign", "Malignant"))
    scans, problems = [], []
    for label in ("Benign", "Malignant"):
        files = _by_stem(child(root, label))
        for path in files.values():
            if re.search(r"\bimage$", path.stem, re.IGNORECASE):
                mask = re.sub("image$", "Mask", path.stem, flags=re.IGNORECASE)
                masks = (files.get(mask.lower(), path.with_name(f"{mask}.tif")),)
                _add(scans, problems, path, label, masks, _source(name=path.stem))
    return Listing(scans, problems)


def list_gdph_sysucc(folder: Path) -> Listing:
    """GDPH & SYSUCC: `GDPH/benign(1).png`, `SYSUCC/malignant(0).png`, perhaps `BIRADS&FOLD.xlsx`; no masks."""
    root = _root(folder, "GDPH & SYSUCC", ("GDPH", "SYSUCC"))
    table = next((p for place in (root, root.parent) if (p := child(place, "BIRADS&FOLD.xlsx"))), None)
    readers = ("BIRADS-reader1", "BIRADS-reader2")
    rows = {} if table is None else {row["ID"]: row for row in read_table(table, ("ID",), (*readers, "fold"))}
    folds = sorted({row["fold"] for row in rows.values() if row.get("fold")})
    scans = []
    for path in (p for hospital in ("GDPH", "SYSUCC") for p in image_files(child(root, hospital))):
        label = class_of(re.sub(r"[\s(].*", "", path.stem))
        if label is None:
            continue
        row = rows.get(path.stem, {})
        graded = "/".join(dict.fromkeys(row[reader] for reader in readers if row.get(reader)))
        fold = folds.index(row["fold"]) + 1 if row.get("fold") else None
        official = {} if fold is None else {len(folds): (fold, "test" if fold == 1 else "train")}
        source = _source(name=f"{path.parent.name}/{path.stem}", birads=graded)
        scans.append(Scan(path, label, source=source, official=official))
    return Listing(scans, [], () if table is None else (table,))


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
    "bus_uclm": ExternalSet(list_bus_uclm, "CC BY 4.0 or CC BY-NC 3.0; the places that publish it differ"),
    "bus_uc": ExternalSet(list_bus_uc, "CC BY 4.0"),
    "buid": ExternalSet(list_buid, "unclear"),
    "gdph_sysucc": ExternalSet(list_gdph_sysucc, "unclear"),
    "busi_whu": ExternalSet(list_unlabelled, "CC BY 4.0 (Mendeley Data k6cpmwybk3)"),
    "folder": ExternalSet(list_folder, "unknown"),
    "images": ExternalSet(list_unlabelled, "unknown"),
}
OWN = ("folder", "images")
"""The layouts that are no published set."""


def name_of(layout: str, source: str) -> str:
    """What the set is called in its samples' `source`: the layout, or the name of a plain folder or its zip."""
    if layout not in OWN:
        return layout
    name = absolute(source).name.removesuffix(".zip")
    return re.sub(r"\W+", "_", name).strip("_").lower() or layout


def _root(folder: Path, name: str, parts: tuple[str, ...]) -> Path:
    root = find_folder(folder, parts)
    if root is None:
        raise UserError(f"{folder} is not {name}: it lacks {', '.join(parts)}.")
    return root


def _by_stem(folder: Path) -> dict[str, Path]:
    """The images of a folder by name, without suffix and in lower case: copies of a set differ in both."""
    return {path.stem.lower(): path for path in image_files(folder)}


def _add(
    scans: list[Scan],
    problems: list[str],
    image: Path,
    label: str,
    masks: tuple[Path, ...],
    source: Source,
    **more: object,
) -> None:
    """Add a row of a table as a scan, or say what its row names and the folder lacks."""
    missing = [path for path in (image, *masks) if not path.is_file()]
    if missing:
        problems.append(f"{missing[0]} is listed but missing; is the copy complete?")
    else:
        scans.append(Scan(image, label, masks, bool(masks), source, **more))


def _number(name: str) -> str:
    """An image's number however it is written: 1, 000001, 000001.png."""
    return Path(name.strip()).stem.lstrip("0")


def _made_from(scan: Scan) -> Scan:
    """The scan with the picture that it was rotated or sharpened from as its subject."""
    original = re.split(r"-(?=rotated|sharpened)", scan.path.stem)[0]
    return replace(scan, source=replace(scan.source, subject=f"{class_of(scan.label)}/{original}"))


def _source(patient: str | None = None, **values: str | None) -> Source:
    """What a set tells of an image; entries that it leaves empty are unknown, and a patient's images share a split."""
    known = {name: value or None for name, value in values.items()}
    return Source(patient=patient or None, subject=patient or None, **known)
