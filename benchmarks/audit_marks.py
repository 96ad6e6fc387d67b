"""Burnt-in marks: how many the audit finds, of those seen by eye, and how many clean scans it flags.

    python benchmarks/audit_marks.py --busi /path/to/Dataset_BUSI_with_GT --bus_bra /path/to/BUSBRA

`docs/burnt-in-marks.csv` says which scans bear which marks, by eye, before any detector was tried on them. 'random'
scans were drawn from all; of BUS-BRA, where few are clean, all that an earlier detector passed over ('unflagged')
are listed too, so that shares among them hold for hard cases and not for the set. No patient and no scan is in both
halves; thresholds were set on the half 'tune', and 'report' is what to quote. A scan is clean that bears nothing but
the scanner's logo in a corner, or what cropping left of its depth scale at the edge; one that bears a depth scale or
unreadable text is counted apart. Reading text (RapidOCR) takes half a second a scan.
"""

import argparse
import csv
import math
import os
from collections.abc import Callable
from pathlib import Path

from busaug_core.data.audit.annotations import annotation_score
from busaug_core.data.audit.patient_text import patient_text
from busaug_core.data.audit.text import TextReader, is_annotation, is_installed
from busaug_core.images import open_image
from busaug_core.metrics.estimate import wilson_interval
from busaug_core.parallel import in_order

LIST = Path(__file__).resolve().parents[1] / "docs" / "burnt-in-marks.csv"
NO_MARK = {"logo", "edge of scale"}
SOUGHT = {"text", "caliper", "cursor"}
KINDS: dict[str, Callable[[set[str]], bool]] = {
    "clean": lambda marks: marks <= NO_MARK,
    "text": lambda marks: "text" in marks,
    "calipers, cursors": lambda marks: bool(marks & {"caliper", "cursor"}),
    "… without text": lambda marks: bool(marks & {"caliper", "cursor"}) and "text" not in marks,
    "unreadable text": lambda marks: "unreadable text" in marks and not marks & SOUGHT,
    "depth scale, body mark, frame": lambda marks: not marks & (SOUGHT | {"unreadable text"}) and not marks <= NO_MARK,
}


def main() -> None:
    """Look at the scans of one half and print the shares that are flagged."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busi", type=Path, default=os.environ.get("BUSI"))
    parser.add_argument("--bus_bra", type=Path, default=os.environ.get("BUSBRA"))
    parser.add_argument("--half", choices=("tune", "report"), default="report")
    options = parser.parse_args()
    folders = {name: Path(folder) for name in ("busi", "bus_bra") if (folder := getattr(options, name))}
    if not folders:
        print("Needs real scans: give the folders of BUSI and BUS-BRA, or set BUSI and BUSBRA.")
        return
    rows = [r for r in csv.DictReader(LIST.open(encoding="utf-8")) if r["half"] == options.half and r["set"] in folders]
    files = {name: {path.name: path for path in folder.rglob("*.png")} for name, folder in folders.items()}
    reader = TextReader() if is_installed() else None

    def look(row: dict[str, str]) -> tuple[bool, str]:
        image = open_image(files[row["set"]][row["name"]])
        return annotation_score(image) >= 1, reader(image) if reader else ""

    found = list(in_order(look, rows))
    print(f"{'':8} {'':30} {'scans':>5}  {'flagged by the detector':24} {'by reading':24} by either")
    for name in folders:
        for drawn in ("random", "any"):
            for kind, bears in KINDS.items():
                of_kind = [
                    (flag, is_annotation(text))
                    for row, (flag, text) in zip(rows, found, strict=True)
                    if row["set"] == name and drawn in (row["drawn"], "any") and bears(marks_of(row))
                ]
                if of_kind:
                    cells = [[a for a, _ in of_kind], [b for _, b in of_kind], [a or b for a, b in of_kind]]
                    print(f"{name:8} {drawn + ', ' + kind:40.40} {len(of_kind):5}  {'  '.join(map(share, cells))}")
    for name in folders:
        of_set = [(marks_of(row), text) for row, (_, text) in zip(rows, found, strict=True) if row["set"] == name]
        told = [bool(patient_text(text)) for marks, text in of_set if "patient text" in marks]
        wrong = [bool(patient_text(text)) for marks, text in of_set if "patient text" not in marks]
        print(f"{name:8} a patient's data: told in {share(told)}, wrongly in {share(wrong)}")
    for row, (flag, text) in zip(rows, found, strict=True):
        flagged = flag or is_annotation(text)
        if flagged if KINDS["clean"](marks_of(row)) else not flagged and marks_of(row) & SOUGHT:
            print(f"{'missed' if not flagged else 'wrongly flagged'}: {row['name']} ({row['marks'] or 'clean'}) {text}")


def marks_of(row: dict[str, str]) -> set[str]:
    """The kinds of mark of a row of the list; none for a scan without any."""
    return set(filter(None, row["marks"].split("; ")))


def share(flags: list[bool]) -> str:
    """How many are true, and Wilson's 95 % interval of their share."""
    if not flags:
        return "0"
    value, n = sum(flags) / len(flags), len(flags)
    estimate = wilson_interval(value, math.sqrt(value * (1 - value) / n), n)
    return f"{sum(flags)} of {n}: {value:.2f} ({estimate.low:.2f}–{estimate.high:.2f})"


if __name__ == "__main__":
    main()
