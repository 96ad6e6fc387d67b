"""A job's result for people: where the run lies, its figures as lines and tables, and how to go on."""

import json
import math
import re
import shutil
import textwrap
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any

from busaug_core.jobs.lineage import product_fields
from busaug_core.jobs.run import Run
from busaug_core.registry import JOBS

WIDTH = 96
"""Letters beyond which a list or a text does not stand in one line with its name."""
LONG = 40
"""Letters beyond which a text is a long one."""
MOST = 20
"""Lines of a list or a table that are shown."""
HEAD = ("run_key", "state", "folder")
MISSING = "–"
HASH = re.compile(r"[0-9a-f]{64}")

Figures = dict[str, Any]


def summarise(job: str, result: Figures) -> list[str]:
    """The lines that tell a finished run's result, plain JSON."""
    folder = Path(result["folder"])
    lines = [f"{job}: run '{result['run_key']}' is done; it lies in {folder}", ""]
    own = {name: value for name, value in result.items() if name not in HEAD}
    lines += BRIEFS[job](own, folder) if job in BRIEFS else describe(own)
    return [*lines, "", *_how_to_go_on(job, folder)]


def describe(values: Figures) -> list[str]:
    """Named values as lines: first those that stand in one line, aligned, then lists and tables under their names."""
    short = {name: text for name, value in values.items() if (text := _in_line(value)) is not None}
    width = max(map(len, short), default=0)
    lines = [f"{_title(name):<{width}}  {text}" for name, text in short.items()]
    for name, value in values.items():
        if name not in short:
            lines += ["", _title(name), *(f"  {line}".rstrip() for line in _block(value))]
    return lines if short else lines[1:]


def table(rows: list[Figures]) -> list[str]:
    """Like documents as an aligned table, numbers to the right, long texts last, without the empty columns."""
    known = dict.fromkeys(name for row in rows for name in row)
    columns = []
    for name in known:
        values = [row.get(name) for row in rows]
        if any(value not in (None, "") for value in values):
            side = ">" if all(isinstance(value, int | float | None) for value in values) else "<"
            columns.append(_padded([_title(name), *map(_text, values)], side))
    columns.sort(key=lambda column: len(column[0]) > LONG)
    lines = ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]
    return [*lines[:1], *_cut(lines[1:])]


def align(lines: list[str]) -> list[str]:
    """Lines in which the columns of Markdown tables are padded to one width; others as they are.

    A table that is wider than the terminal goes on below itself, with its first column again.
    """
    aligned, rows = [], []
    for line in [*lines, ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
            continue
        if rows:
            body = [row for row in rows if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]
            aligned += _folded([_padded(list(column)) for column in zip_longest(*body, fillvalue="")])
            rows = []
        aligned.append(line)
    return aligned[:-1]


def _folded(columns: list[list[str]]) -> list[str]:
    """The lines of columns that each have one width, in as many parts as the terminal's width asks for."""
    most = shutil.get_terminal_size((10**6, 0)).columns
    first, *others = columns
    parts, used = [[first]], len(first[0])
    for column in others:
        if used + 2 + len(column[0]) > most and len(parts[-1]) > 1:
            parts.append([first])
            used = len(first[0])
        parts[-1].append(column)
        used += 2 + len(column[0])
    told = [["  ".join(row).rstrip() for row in zip(*part, strict=True)] for part in parts]
    return [line for n, part in enumerate(told) for line in ([""] if n else []) + part]


def _padded(column: list[str], side: str = "<") -> list[str]:
    width = max(map(len, column))
    return [f"{text:{side}{width}}" for text in column]


def _loaded(result: Figures, folder: Path) -> list[str]:
    counts, splits = result.pop("counts"), result.pop("splits", {})
    rows = [
        {"class": label or "(none)", **{s: n.get(label, 0) for s, n in splits.items()}, "all": n}
        for label, n in counts.items()
    ]
    names = [name for name in rows[0] if name != "class"] if rows else []
    total = {"class": "all", **{name: sum(row[name] for row in rows) for name in names}}
    return [*table([*rows, total]), "", *describe(result)]


def _generated(result: Figures, folder: Path) -> list[str]:
    """Images by variant and class, counted among the run's products."""
    rows: dict[str, Figures] = {variant: {"variant": variant} for variant in result["variants"]}
    for record in Run(folder).products:
        row = rows.setdefault(record.variant, {"variant": record.variant})
        row[record.label] = row.get(record.label, 0) + 1
    return [*table(list(rows.values())), "", *describe({"images": result["images"]})]


def _trained(result: Figures, folder: Path) -> list[str]:
    settings = Run(folder).config
    return describe({name: settings[name] for name in ("base_model", "steps", "batch_size", "resolution")} | result)


def _measured(result: Figures, folder: Path) -> list[str]:
    from busaug_core.measure.report import brief

    return align(brief(result, folder))


def _compared(result: Figures, folder: Path) -> list[str]:
    return [*align(result["table"]), "", f"To read, send or print: {folder / 'report.html'}"]


BRIEFS: dict[str, Callable[[Figures, Path], list[str]]] = {
    "load_busi": _loaded,
    "load_external": _loaded,
    "train_lora": _trained,
    "train_textual_inversion": _trained,
    "finetune_unet": _trained,
    "finetune_decoder": _trained,
    "train_controlnet": _trained,
    "generate": _generated,
    "compute_fid": _measured,
    "run_experiment": _compared,
}
"""How the jobs' figures are told where they are not told as they come."""


def _how_to_go_on(job: str, folder: Path) -> list[str]:
    """By which options other jobs take what the run has made."""
    run, dataset = Run(folder), folder.parents[1].name
    uses: dict[str, list[str]] = {}
    for other in JOBS.values():
        for field, product in product_fields(other.config_class()).items():
            if product.job == job and product.takes(run):
                uses.setdefault(field, []).append(other.name)
    options = [f"--{field} {run.key} of {', '.join(jobs)}" for field, jobs in uses.items()]
    if products := run.products:
        beside = ", beside the run that loaded the real ones" if all(r.synthetic for r in products) else ""
        options.insert(0, f"--data {run.key} of jobs that work on images{beside}")
    if not options:
        return [f"All figures: {folder / 'result.json'}"]
    return [f"To use it: {'; '.join(options)} (--dataset {dataset})."]


def _in_line(value: Any) -> str | None:
    """A value that stands in one line; None for one that does not."""
    match value:
        case dict() if any(isinstance(v, dict | list) for v in value.values()):
            return None
        case list() if any(isinstance(v, dict | list) for v in value):
            return None
        case dict():
            text = ", ".join(f"{name} {_text(v)}" for name, v in value.items()) or "none"
        case list():
            text = ", ".join(map(_text, value)) or "none"
        case _:
            return _text(value)
    return text if len(text) <= WIDTH else None


def _block(value: Any) -> list[str]:
    """A value of several lines."""
    match value:
        case list() if all(isinstance(v, dict) for v in value):
            return table(value)
        case list() if all(isinstance(v, list) for v in value):
            return table([dict(enumerate(row)) for row in value])[1:]
        case list() if all(isinstance(v, str) and len(v) <= LONG and " " not in v for v in value):
            return _cut(textwrap.wrap(", ".join(value), WIDTH))
        case list():
            return _listed([_in_line(v) or json.dumps(v, ensure_ascii=False) for v in value])
        case dict() if all(isinstance(v, dict) and _in_line(v) is not None for v in value.values()):
            return table([{"": name, **v} for name, v in value.items()])
        case dict() if all(not isinstance(v, dict | list) for v in value.values()):
            return _cut([f"{name}  {_text(v)}" for name, v in value.items()])
    return describe(value)


def _listed(texts: list[str]) -> list[str]:
    return [f"- {text}" if not text.startswith("…") else text for text in _cut(texts)]


def _cut(lines: list[str]) -> list[str]:
    return lines if len(lines) <= MOST else [*lines[:MOST], f"… and {len(lines) - MOST} more"]


def _text(value: Any) -> str:
    """A value as it is read: floats of four digits, hashes cut."""
    match value:
        case None:
            return MISSING
        case bool():
            return "yes" if value else "no"
        case float() if math.isfinite(value) and 1e4 <= abs(value) < 1e9:
            return f"{value:.0f}"
        case float():
            return f"{value:.4g}"
        case dict() | list():
            return json.dumps(value, ensure_ascii=False)
    text = " ".join(str(value).split())
    return text[:16] if HASH.fullmatch(text) else text


def _title(name: Any) -> str:
    return str(name).replace("_", " ")
