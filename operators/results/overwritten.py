"""What a run's results have overwritten in a dataset: kept in the run's folder, and put back when it is removed.

For each sample and column (see `values`) the file holds the value before, and what tells the run's own value from
others. It is written whole before the dataset is changed, so that a process that is killed in between leaves enough
to go on with, or to put things back. Files of several runs are a chain: where a later run has overwritten the value
of one that is removed, it keeps what that one had overwritten.
"""

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import fiftyone as fo

from busaug_core.files import read_rows, write_rows
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import runs_folder, runs_in

from ..host.images import every_image
from ..host.names import home_of
from .values import Values, digest, from_json, is_tag, read_values, to_json, write_values

FOLDER = "overwritten"
GRANTED = frozenset({"origin", "variant"})
"""Fields that the first run fills in for all; they go with the last one."""


class Overwritten:
    """The values that a run's results took the place of in a dataset.

    Attributes:
        order: when the run was first written; 0 where it never was
        made: the fields that the run's results added to the dataset
        added: the image files that they added samples of
        cells: by sample and column, the value before as JSON, and the digest of the run's own
    """

    def __init__(self, run: Run, dataset: fo.Dataset):
        self.run, self.dataset = run, dataset
        # A dataset that is deleted and made again under its name is another one.
        self.path: Path = run.folder / FOLDER / f"{dataset._doc.id}.jsonl"
        self.order = 0
        self.made: list[str] = []
        self.added: list[str] = []
        self.cells: dict[str, dict[str, list[Any]]] = {}
        if self.exists:
            head, *rows = read_rows(self.path)
            self.order, self.made, self.added = head["order"], head["made"], head["added"]
            self.cells = {row["id"]: row["cells"] for row in rows}

    @property
    def exists(self) -> bool:
        return self.path.exists()

    def note(self, made: list[str] = (), added: list[str] = ()) -> None:
        """Keep what the dataset is about to get: fields that it lacks, and samples of these files."""
        self.made = list(dict.fromkeys([*self.made, *made]))
        self.added = list(dict.fromkeys([*self.added, *added]))
        self._save()

    def assume(self, values: Values, made: list[str], added: list[str]) -> None:
        """Of a run that an earlier version wrote: take it that nothing stood there before, and leave its tags be."""
        tags = read_values(self.dataset, [column for column in values if is_tag(column)])
        for column, of_samples in values.items():
            for id_, value in of_samples.items():
                own = tags[column][id_] if is_tag(column) else value
                before = own if is_tag(column) else None
                self.cells.setdefault(id_, {})[column] = [before, digest(own)]
        self.order = (self.run.folder / "result.json").stat().st_mtime_ns
        self.note(made, added)

    def write(self, values: Values, again: bool, lost: Collection[str] = ()) -> bool:
        """Set the values, keeping those before; returns whether any was changed.

        `again` says that they were written to the end once. Then only what is missing since is written: because
        samples were deleted and came back, or because fields, the `lost` ones, were deleted.
        """
        before = read_values(self.dataset, values)
        changed: Values = {column: {} for column in values}
        for column, of_samples in values.items():
            for id_, value in of_samples.items():
                now = before[column][id_]
                cell = self.cells.setdefault(id_, {}).get(column)
                if cell is None:
                    if again and now is not None and not is_tag(column):
                        continue
                    cell = self.cells[id_][column] = [to_json(now), digest(value)]
                elif column in lost:
                    cell[0] = None
                elif again or digest(now) != digest(from_json(cell[0])):
                    continue  # written already, or changed since
                if digest(now) != digest(value):
                    changed[column][id_] = value
                cell[1] = digest(value)
        self._save()
        write_values(self.dataset, changed)
        return any(changed.values())

    def put_back(self) -> None:
        """Set what the run wrote, and nothing has changed since, to what it was before."""
        if not self.exists:
            return
        others = written_to(self.dataset, self.run)
        if others:
            self._hand_over(others[-1])
        later = [kept for kept in others if kept.order > self.order]
        present = [
            column for column in sorted(self.columns) if is_tag(column) or self.dataset.get_field(column) is not None
        ]
        now = read_values(self.dataset, present)
        restored: Values = {column: {} for column in present}
        touched = set()
        for id_, cells in self.cells.items():
            for column, (before, own) in cells.items():
                heir = next((i for i, kept in enumerate(later) if column in kept.cells.get(id_, {})), None)
                if heir is not None:
                    if digest(from_json(later[heir].cells[id_][column][0])) == own:
                        later[heir].cells[id_][column][0] = before
                        touched.add(heir)
                elif column in now and id_ in now[column] and digest(now[column][id_]) == own:
                    restored[column][id_] = from_json(before)
        for field in self.made:
            heir = next((i for i, kept in enumerate(later) if field in kept.columns), None)
            if heir is not None:
                later[heir].made.append(field)
                touched.add(heir)
        for heir in touched:
            later[heir]._save()
        write_values(self.dataset, restored)
        for field in self.made:
            if self.dataset.get_field(field) is not None and not every_image(self.dataset).count(field):
                self.dataset.delete_sample_field(field)

    def _hand_over(self, heir: "Overwritten") -> None:
        """Leave it to another run to put back what every run takes for granted."""
        for id_, cells in self.cells.items():
            for column in GRANTED & cells.keys():
                heir.cells.setdefault(id_, {}).setdefault(column, cells.pop(column))
        heir.made += [field for field in self.made if field in GRANTED]
        self.made = [field for field in self.made if field not in GRANTED]
        heir._save()

    def forget(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)

    @property
    def columns(self) -> set[str]:
        return {column for cells in self.cells.values() for column in cells}

    def _save(self) -> None:
        self.order = self.order or time.time_ns()
        head = {"order": self.order, "made": self.made, "added": self.added}
        write_rows(self.path, [head, *({"id": id_, "cells": cells} for id_, cells in self.cells.items() if cells)])


def written_to(dataset: fo.Dataset, run: Run) -> list[Overwritten]:
    """What the other runs of the dataset, or beside the run, have overwritten in it; the earliest first."""
    folders = dict.fromkeys([run.folder.parent, runs_folder(home_of(dataset))])
    others = [other for folder in folders for other in runs_in(folder) if other.folder != run.folder]
    found = [kept for other in others if (kept := Overwritten(other, dataset)).exists]
    return sorted(found, key=lambda kept: kept.order)
