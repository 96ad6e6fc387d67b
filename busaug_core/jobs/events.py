"""What a running job yields, for whoever shows progress or stores what is made."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

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
class Begun:
    """A run of a chain begins: which it is in words, its key, and how many there are."""

    number: int
    total: int
    title: str
    run_key: str


@dataclass(frozen=True)
class Ended:
    """A run of a chain is done, be it just now or before."""

    run_key: str


@dataclass(frozen=True)
class Stopped:
    """The last event of a run that was asked to stop; the same call goes on from there."""

    run_key: str


@dataclass(frozen=True)
class Finished:
    """The last event of a run that is done: its result as stored in `result.json`."""

    result: dict[str, Any]


Event = Progress | Made | Row | Notice | Begun | Ended | Stopped | Finished

T = TypeVar("T")

Steps = Generator[Event, None, T]
"""Work that yields events and returns a T: whoever iterates shows progress, or stops by closing it."""


def drain(steps: Steps[T], see: Callable[[Event], Any] = lambda event: None) -> T:
    """Work the steps off, showing `see` each event; returns what they return."""
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            return end.value
        see(event)
