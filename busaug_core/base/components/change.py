"""Components that change a base's weights: both are kept, so that off is exactly the base."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from busaug_core.base.components.component import Attached
from busaug_core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn


def not_finite(path: Path) -> UserError:
    """What is raised of a file that makes weights which are not finite."""
    return UserError(
        f"{path} makes weights of this base that are not finite; set precision to 'fp32' or 'bf16', or train it anew "
        "at a lower learning rate."
    )


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
