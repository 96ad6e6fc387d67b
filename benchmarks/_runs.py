"""Running a job from a benchmark."""

import time
from typing import Any

from busaug_core.jobs.events import Finished, Progress, Steps
from busaug_core.records import Record
from busaug_core.registry import job


def run(name: str, records: list[Record], dataset: str, **values: Any) -> dict[str, Any]:
    """Run a job with a line of progress now and then; returns its result."""
    start = shown = time.perf_counter()
    for event in job(name).run(values, records, dataset):
        if isinstance(event, Progress) and time.perf_counter() - shown > 30:
            shown = time.perf_counter()
            print(f"  {event.message} {event.done}/{event.total} {event.values}", flush=True)
        if isinstance(event, Finished):
            result = event.result
    print(f"{values['run_key']}: {time.perf_counter() - start:.0f} s", flush=True)
    return result


def drained(steps: Steps[Any]) -> Any:
    """What a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
