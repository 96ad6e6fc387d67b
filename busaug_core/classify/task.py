"""What a classifier is to tell apart."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from busaug_core.records import Record


@dataclass(frozen=True)
class Task:
    """Training and held-out images.

    Attributes:
        classes: the labels of the training images, sorted; those of the held-out ones are among them
        truth, held_out_truth: class indices, int N, of the training and of the held-out images
    """

    training: list[Record]
    held_out: list[Record]

    @cached_property
    def classes(self) -> list[str]:
        return sorted({r.label for r in self.training})

    @cached_property
    def truth(self) -> np.ndarray:
        return self._indices(self.training)

    @cached_property
    def held_out_truth(self) -> np.ndarray:
        return self._indices(self.held_out)

    def _indices(self, records: list[Record]) -> np.ndarray:
        return np.array([self.classes.index(r.label) for r in records])
