"""Progress of a job: live in the App, in the queue's document when delegated, and on the terminal."""

import sys
import time
from collections.abc import Iterator
from typing import Any

import fiftyone as fo
from tqdm import tqdm

from busaug_core.jobs.events import Begun, Progress

APP_INTERVAL = 0.3
QUEUE_INTERVAL = 2.0


class Reporter:
    """Shows progress events; `report` and `begin` yield what the App is to be sent."""

    def __init__(self, ctx: Any, title: str):
        self.ctx, self.title = ctx, title
        self.bar = Bar()
        self.shown = 0.0
        self.chain: Begun | None = None

    def begin(self, event: Begun) -> Iterator[Any]:
        """Show which run of a chain begins; its progress is told under its name."""
        self.close()
        self.chain, self.shown = event, time.monotonic()
        self.say(f"{_name(event)} ({event.run_key})")
        yield from self._send(0, "")

    def report(self, event: Progress) -> Iterator[Any]:
        """Show how far a stage is."""
        self.bar.show(event)
        interval = QUEUE_INTERVAL if self.ctx.delegated else APP_INTERVAL
        now = time.monotonic()
        if now - self.shown < interval and event.done < event.total:
            return
        self.shown = now
        values = "".join(f" · {name} {_number(value)}" for name, value in event.values.items())
        yield from self._send(event.done / max(1, event.total), f"{event.message} {event.done}/{event.total}{values}")

    def say(self, message: str) -> None:
        """A line on the terminal that does not disturb the bar."""
        self.bar.say(f"{self.title}: {message}")

    def close(self) -> None:
        self.bar.close()

    def _send(self, share: float, label: str) -> Iterator[Any]:
        if self.chain is not None:
            share = (self.chain.number - 1 + share) / max(1, self.chain.total)
            label = " · ".join(filter(None, [_name(self.chain), label]))
        if self.ctx.delegated:
            self.ctx.set_progress(progress=share, label=label)
        else:
            yield self.ctx.ops.set_progress(progress=share, label=label)


class Bar:
    """A bar on the terminal for each stage, where FiftyOne shows bars."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def show(self, event: Progress) -> None:
        """Show how far a stage is."""
        if not fo.config.show_progress_bars:
            return
        if self._bar is not None and self._bar.desc.removesuffix(": ") != event.message:
            self.close()
        if self._bar is None:
            self._bar = tqdm(
                desc=event.message,
                total=event.total,
                initial=event.done,
                file=sys.stderr,
                mininterval=0.2 if sys.stderr.isatty() else 15,
                dynamic_ncols=True,
            )
        self._bar.total = event.total
        if event.values:
            self._bar.set_postfix({k: _number(v) for k, v in event.values.items()}, refresh=False)
        self._bar.update(event.done - self._bar.n)
        if event.done >= event.total:
            self.close()

    def say(self, line: str) -> None:
        """A line that does not disturb the bar."""
        if fo.config.show_progress_bars:
            tqdm.write(line, file=sys.stderr)

    def close(self) -> None:
        """End the bar, where there is one."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _name(event: Begun) -> str:
    return f"{event.number}/{event.total} {event.title}"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3g}"
