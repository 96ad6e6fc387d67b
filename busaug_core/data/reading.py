"""Reading all that a folder holds, once; and saying what was left out, and what was assumed."""

import mimetypes
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from busaug_core import dicom
from busaug_core.data.audit.descriptors import Descriptors, describe
from busaug_core.data.config import Load
from busaug_core.data.folders import left_over
from busaug_core.data.scans import Listing, Scan, read_scan
from busaug_core.errors import UserError
from busaug_core.files import write_whole
from busaug_core.jobs.events import Notice, Progress, Steps
from busaug_core.parallel import in_order
from busaug_core.records import Record, Source
from busaug_core.words import counted

HINT = "(Set on_error to 'skip' to load the others.)"
SHOWN = (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".avif")
"""Suffixes of what browsers show."""
WIDE = "values of more than 8 bits, read as "
"""How notes on ranges begin."""
AS_PNG = ("1", "L", "LA", "P", "RGB", "RGBA")
"""Pillow's modes that a PNG can hold."""


@dataclass
class Reader:
    """Reads the scans of a folder for a run.

    Attributes:
        config: what becomes of bad files, and of those that browsers do not show
        folder: the set's folder
        run_folder: the run's, where PNGs are written
        skipped: what was left out, each with its reason
        assumed: what was assumed in reading, and of how many images
    """

    config: Load
    folder: Path
    run_folder: Path
    skipped: list[str] = field(default_factory=list)
    assumed: dict[str, int] = field(default_factory=dict)

    def sift(self, listing: Listing) -> Steps[list[Scan]]:
        """Tell what of the folder is not read; returns the scans that are. Raises UserError where that must stop."""
        home = self.run_folder.parents[2]  # where all runs lie, perhaps in the folder itself
        is_within = home.is_relative_to(self.folder)
        found = [scan for scan in listing.scans if not (is_within and scan.path.is_relative_to(home))]
        unnamable = [scan for scan in found if not all(map(_is_text, _files(scan)))]
        scans, contradicted = _each_once([scan for scan in found if scan not in unnamable])
        for problem in (*listing.problems, *map(_unnamable, unnamable), *contradicted):
            yield self._refuse(_text(problem))
        used = {path for scan in listing.scans for path in _files(scan)}.union(listing.tables)
        if is_within:
            used.update(home.rglob("*"))
        for note in left_over(self.folder, used, " ".join(listing.problems)):
            yield self._leave_out(_text(note))
        yield from (Notice(_text(note)) for note in listing.notes)
        return scans

    def read(
        self, scans: list[Scan], tags: Iterable[str], origin: str = "real"
    ) -> Steps[tuple[list[Record], list[Descriptors]]]:
        """Read every file once; returns the records and their descriptors."""
        self._refuse_dicom(scans)
        records, descriptors, first, hidden = [], [], {}, Counter()
        for n, result in enumerate(in_order(self._read_one, scans), 1):
            if isinstance(result, UserError):
                yield self._refuse(str(result))
            else:
                record, found, notes, is_shown = result
                record.origin = record.variant = origin
                record.tags = list(tags)
                records.append(record)
                descriptors.append(found)
                for note in dict.fromkeys(notes):
                    self.assumed[note] = self.assumed.get(note, 0) + 1
                    first.setdefault(note, record.source.file if record.source and record.source.file else record.path)
                if not is_shown:
                    hidden[Path(record.path).suffix.lower()] += 1
            if n % 20 == 0 or n == len(scans):
                yield Progress(n, len(scans), "Reading images and masks")
        if not records:
            raise UserError(" ".join(["No image could be loaded.", *self.skipped[:3]]))
        if len(ranges := [note for note in self.assumed if note.startswith(WIDE)]) > 1:
            told = " and as ".join(note.removeprefix(WIDE) for note in ranges)
            yield Notice(
                f"Images are read as {told}, each by its brightest pixel; if they are of one scanner, save them with "
                "8 bits in one range."
            )
        for note, n in self.assumed.items():
            yield Notice(
                f"{note[0].upper()}{note[1:]}: {n} of {counted(len(records), 'image')}, such as {first[note]}."
            )
        if hidden:
            kinds = ", ".join(sorted(hidden))
            yield Notice(
                f"{counted(hidden.total(), f'image ({kinds}) is', f'images ({kinds}) are')} not shown by browsers, or "
                "not as read here; load with write_png to have PNGs written into the run's folder and shown."
            )
        return records, descriptors

    def _read_one(self, scan: Scan) -> tuple[Record, Descriptors, list[str], bool] | UserError:
        try:
            found = read_scan(scan)
            image, notes = found.image, list(found.notes)
            path, source, is_shown = scan.path, scan.source, found.is_plain and scan.path.suffix.lower() in SHOWN
            if not is_shown and (self.config.write_png or not _is_named_image(path)):
                image = image if image.mode in AS_PNG else image.convert("RGB")
                path, source = self._write(path, image), replace(source or Source(), file=str(path))
                notes.append("images written as PNG into the run's folder")
                is_shown = True
        except UserError as error:
            of_mask = str(scan.path) not in str(error)
            return UserError(f"{error} Its image {scan.path} is not loaded either.") if of_mask else error
        size = [*image.size, len(image.getbands())]
        record = Record(str(path), scan.label, lesions=found.lesions, size=size, source=source)
        return record, describe(image), notes, is_shown

    def _write(self, path: Path, image: Image.Image) -> Path:
        """Write an image as PNG; returns the file."""
        target = self.run_folder / "images" / f"{path.relative_to(self.folder)}.png"
        write_whole(target, lambda partial: image.save(partial, format="png"))
        return target

    def _refuse(self, problem: str) -> Notice:
        if self.config.on_error == "raise":
            raise UserError(f"{problem} {HINT}")
        return self._leave_out(problem)

    def _leave_out(self, what: str) -> Notice:
        self.skipped.append(what)
        return Notice(f"Left out: {what}")

    def _refuse_dicom(self, scans: list[Scan]) -> None:
        """Raises UserError for DICOM files where they cannot be read here."""
        found = [] if dicom.can_read() else [s for s in scans if not _is_named_image(s.path) and dicom.is_dicom(s.path)]
        if found and (self.config.on_error == "raise" or len(found) == len(scans)):
            n = counted(
                len(found), f"of {len(scans)} images is a DICOM file", f"of {len(scans)} images are DICOM files"
            )
            raise UserError(f"{n}, such as {found[0].path}; to have them read, {dicom.HOW}.")


def _files(scan: Scan) -> tuple[Path, ...]:
    return (scan.path, *scan.masks)


def _is_named_image(path: Path) -> bool:
    """Whether a file's name says that it is an image, as FiftyOne has it."""
    return (mimetypes.guess_type(path.name)[0] or "").startswith("image/")


def _is_text(path: Path) -> bool:
    """Whether a path can be written down in UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _unnamable(scan: Scan) -> str:
    return f"{next(p for p in _files(scan) if not _is_text(p))} has a name that is not UTF-8; rename it."


def _text(sentence: str) -> str:
    """A sentence with what is not UTF-8 in it as codes."""
    return os.fsencode(sentence).decode("utf-8", "backslashreplace")


def _each_once(scans: list[Scan]) -> tuple[list[Scan], list[str]]:
    """The scans without those that are listed again, and what is wrong where a file is listed with two classes."""
    first, wrong, problems = {}, set(), []
    for scan in scans:
        before = first.setdefault(scan.path, scan)
        if before.label != scan.label:
            wrong.add(scan.path)
            problems.append(f"{scan.path} is listed as {before.label} and as {scan.label}; correct the table.")
    return [scan for path, scan in first.items() if path not in wrong], problems
