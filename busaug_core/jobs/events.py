"""What a running job yields, for whoever shows progress or stores what is made."""

from dataclasses import dataclass, field
from typing import Any

from busaug_core.records import Record


@dataclass(frozen=True)
class Progress:
    """Step `done` of `total` of the stage named in `message`; `values` are losses and the like."""

    done: int
    total: int
    message: str
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """An image came into being: loaded, simulated or generated."""

    record: Record


@dataclass(frozen=True)
class Row:
    """A line of a result table, plain JSON values."""

    values: dict[str, Any]


@dataclass(frozen=True)
class Notice:
    """Something the user should know, such as a warning about the data."""

    message: str


@dataclass(frozen=True)
class Finished:
    """The last event: the run's result as stored in `result.json`."""

    result: dict[str, Any]


Event = Progress | Made | Row | Notice | Finished
