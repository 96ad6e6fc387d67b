"""Components that change a base's weights: both are kept, so that off is exactly the base."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from busaug_core.base.components.component import Attached

if TYPE_CHECKING:
    from torch import Tensor, nn


class Change:
    """A weight, and what it becomes while the component is on."""

    def __init__(self, weight: "nn.Parameter", off: "Tensor", on: "Tensor"):
        self.weight, self.off, self.on = weight, off, on

    def switch(self, on: bool) -> None:
        self.weight.data = self.on if on else self.off


class AttachedChanges(Attached):
    """Changes of a pipeline's weights; `changes_text` says whether they may reach the text encoder."""

    def __init__(self, changes: Iterable[Change], changes_text: bool):
        self.changes, self.changes_text = list(changes), changes_text

    def switch(self, on: bool) -> None:
        for change in self.changes:
            change.switch(on)
