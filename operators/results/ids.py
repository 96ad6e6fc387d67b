"""Which samples of a dataset an image of a run is: by the sample that the run was given, or else by file."""

import fiftyone as fo

from busaug_core.jobs.run import Run
from busaug_core.records import Record

from ..host.images import every_image


class SampleIds:
    """The ids of a dataset's samples by the images of a run.

    A sample that the run was given stays the one that is meant when its file moves, or has a second sample; a sample
    that is gone, or that the run knows of no id of, is found by its file.
    """

    def __init__(self, dataset: fo.Dataset, run: Run):
        ids, paths = every_image(dataset).values(["id", "filepath"])
        self._present = set(ids)
        self._of_file: dict[str, list[str]] = {}
        for id_, path in zip(ids, paths, strict=True):
            self._of_file.setdefault(path, []).append(id_)
        given: dict[str, list[str]] = {}
        for record in run.records:
            if record.id in self._present:
                given.setdefault(record.path, []).append(record.id)
        self._of_file |= given

    def of_file(self, path: str | None) -> list[str]:
        """The samples of an image file, the oldest first."""
        return self._of_file.get(path, [])

    def of(self, record: Record) -> list[str]:
        """The samples of a record: its own, or those of its file."""
        return [record.id] if record.id in self._present else self.of_file(record.path)
