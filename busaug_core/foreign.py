"""Files that others made: what one seems to be, and one place where the errors of reading it become a sentence."""

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from busaug_core.errors import UserError, first_sentence

HEAD = 4096
"""Bytes of a file that are looked at."""

MAGIC = {
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"II*\x00": "a TIFF image",
    b"MM\x00*": "a TIFF image",
    b"GIF8": "a GIF image",
    b"BM": "a BMP image",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"\xd0\xcf\x11\xe0": "an old Office document (.xls)",
}

WEIGHTS = "a safetensors file"

ERRORS = (OSError, ValueError, EOFError, KeyError, IndexError, TypeError, struct.error, zlib.error, zipfile.BadZipFile)
"""What codecs and libraries raise on a file that is not what its name says; UnicodeDecodeError is a ValueError."""


def kind_of(path: str | Path) -> str:
    """What a file seems to be by its first bytes, in words with an article: "a git-LFS pointer (…)", "an HTML page".

    Never raises; says so where the file is missing, empty or cannot be opened.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return "a folder"
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEAD)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"not open to this user ({error.strerror})"
    if not head.strip(b"\x00"):
        return "an empty file" if not size else "a file of zeros, as a broken download or copy leaves it"
    if head.startswith(b"version https://git-lfs"):
        return "a git-LFS pointer, not the file itself; run `git lfs pull` where it came from"
    if head.lstrip(b"\xef\xbb\xbf \r\n\t")[:9].lower().startswith((b"<!doctype", b"<html")):
        return "an HTML page, as a download that asks for a login or a click leaves it; fetch the file itself"
    if head[128:132] == b"DICM":
        return "a DICOM file"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "a WebP image"
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            return kind
    if head.startswith(b"PK"):
        return _kind_of_zip(path)
    if (kind := _kind_of_safetensors(path, head, size)) is not None:
        return kind
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        return "a pickle, which can run code when it is loaded"
    return _kind_of_text(head)


def refuse_pickle(path: Path) -> None:
    """Raises UserError for weights that are a pickle, whatever the name."""
    if "pickle" in kind_of(path):
        raise UserError(
            f"{path} is a pickle, which can run code when it is loaded. Convert it to safetensors first: "
            "torch.load(..., weights_only=True) and safetensors.torch.save_file for single tensors, or "
            "StableDiffusionPipeline.from_single_file(...).save_pretrained(folder) for a whole base."
        )


def refuse_other_than_weights(path: Path) -> None:
    """Raises UserError for a file that holds no weights, as far as its first bytes tell."""
    refuse_pickle(path)
    if (kind := kind_of(path)) != WEIGHTS:
        raise UserError(f"{path} holds no weights that can be read; it seems to be {kind}.")


def read_document(path: str | Path, wanted: str) -> dict[str, Any]:
    """The object that a foreign JSON file holds; raises UserError as `reading` does, or where it is no object."""
    with reading(path, wanted):
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise ValueError("it holds no object of named values")
    return document


@contextmanager
def reading(path: str | Path, wanted: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn the errors of reading a foreign file into a UserError that says what the file seems to be.

    Args:
        path: the file or folder that is read
        wanted: what it was to be, with its article: "a LoRA", "a table"
        errors: what else the reader raises, beside `ERRORS`
    """
    try:
        yield
    except UserError:
        raise
    except (*ERRORS, *errors) as error:
        reason = first_sentence(error)
        kind = kind_of(path)
        raise UserError(
            f"{path} is missing; give the path of {wanted}."
            if kind == "missing"
            else f"{path} cannot be read as {wanted} ({reason}); it seems to be {kind}."
        ) from None


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except (zipfile.BadZipFile, OSError, EOFError):
        return "a zip archive that is cut short or broken; fetch it again"
    if any(name.endswith("data.pkl") for name in names):
        return "a PyTorch pickle, which can run code when it is loaded"
    if any(name.startswith("xl/") for name in names):
        return "an Excel workbook (.xlsx)"
    return "a zip archive"


def _kind_of_safetensors(path: Path, head: bytes, size: int) -> str | None:
    """A safetensors file: eight bytes with the length of a JSON header, the header, and the tensors."""
    if len(head) < 9 or head[8:9] != b"{":
        return None
    (length,) = struct.unpack("<Q", head[:8])
    if not 2 <= length < 100 * 2**20:
        return None
    if length + 8 > size:
        return "a safetensors file that is cut short; fetch it again"
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(8 + length)[8:])
        end = max((v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"), default=0)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None
    if 8 + length + end > size:
        return "a safetensors file that is cut short; fetch it again"
    return WEIGHTS


def _kind_of_text(head: bytes) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "a text in UTF-16"
    if b"\x00" in head:
        return "a binary file of an unknown kind"
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return "a text that is not in UTF-8" if _printable(head) else "a binary file of an unknown kind"
        text = head[: error.start].decode("utf-8-sig")
    if text.lstrip()[:1] in ("{", "["):
        return "a JSON document"
    return "a text"


def _printable(head: bytes) -> bool:
    return sum(byte >= 32 or byte in (9, 10, 13) for byte in head) > 0.95 * len(head)
