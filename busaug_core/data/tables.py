"""Tables that come with a set: comma, semicolon or tab separated, in whatever encoding, or a spreadsheet."""

import codecs
import csv
import re
from pathlib import Path

from busaug_core.data.folders import files_in
from busaug_core.errors import UserError
from busaug_core.foreign import reading

SUFFIXES = (".csv", ".tsv", ".xlsx", ".xls")
SEPARATORS = ",;\t|"
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

Rows = list[dict[str, str]]


def find_tables(folder: Path) -> list[Path]:
    """The tables in a folder and those within it, in natural order; raises UserError where there is none."""
    tables = [p for p in files_in(folder) if p.suffix.lower() in SUFFIXES and not p.name.startswith("~")]
    if not tables:
        raise UserError(f"{folder} lacks the table of classes (.csv or .xlsx) that comes with the set.")
    return tables


def read_table(path: Path, needed: tuple[str, ...] = (), known: tuple[str, ...] = ()) -> Rows:
    """The rows of a table, all values as text without spaces around them.

    Args:
        path: the file
        needed: columns that it must have; they, and those `known`, are found however they are written (case,
            spaces, dashes and underscores aside), and named as they are here

    Raises UserError where it cannot be read or a column is missing.
    """
    with reading(path, "a table", csv.Error):
        rows = _text_rows(path) if path.suffix.lower() in (".csv", ".tsv") else _spreadsheet(path)
    columns = list(rows[0]) if rows else []
    names = {_plain(name): name for name in (*known, *needed)}
    missing = [name for name in needed if _plain(name) not in map(_plain, columns)]
    if missing:
        has = f"it has {', '.join(columns)}" if columns else "it has no rows"
        raise UserError(f"{path} lacks {', '.join(missing)} among its columns: {has}. Is it the table of the set?")
    return [{names.get(_plain(k), k): v for k, v in row.items()} for row in rows]


def read_fitting(folder: Path, needed: tuple[str, ...], known: tuple[str, ...] = ()) -> tuple[Path, Rows]:
    """The first table in a folder that has the columns, and its rows; raises UserError where none has."""
    failures = []
    for path in find_tables(folder):
        try:
            return path, read_table(path, needed, known)
        except UserError as error:
            failures.append(error)
    raise failures[0]


def _text_rows(path: Path) -> Rows:
    raw = path.read_bytes()
    text = re.sub(r"\A\s*sep=.\r?\n", "", _decoded(raw), flags=re.IGNORECASE)  # what Excel writes for itself
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(SEPARATORS, key=first.count)
    lines = csv.reader(text.lstrip("\r\n").splitlines(keepends=True), delimiter=separator)
    header = [name.strip() for name in next(lines, [])]
    return [
        {name: value.strip() for name, value in zip(header, line + [""] * len(header), strict=False) if name}
        for line in lines
        if any(value.strip() for value in line)
    ]


def _decoded(raw: bytes) -> str:
    if raw.startswith(UTF_16):
        return raw.decode("utf-16")
    if b"\x00" in raw:
        raise ValueError("it holds zero bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:  # what spreadsheets write in western Europe and America
        return raw.decode("cp1252", errors="replace")


def _spreadsheet(path: Path) -> Rows:
    try:
        import pandas as pd

        rows = pd.read_excel(path, dtype=str).fillna("").to_dict("records")
    except ImportError:
        reader = "xlrd" if path.suffix.lower() == ".xls" else "openpyxl"
        raise UserError(
            f"Reading {path} needs pandas and {reader}; run pip install pandas {reader}, or save it as .csv."
        ) from None
    return [{str(name).strip(): str(value).strip() for name, value in row.items()} for row in rows]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
