"""Progress of a job: live in the App, in the queue's document when delegated, and on the terminal."""

import sys
import time
from collections.abc import Iterator
from typing import Any

import fiftyone as fo
from tqdm import tqdm

from busaug_core.jobs.events import Progress

APP_INTERVAL = 0.3
QUEUE_INTERVAL = 2.0


class Reporter:
    """Shows progress events; `report` yields what the App is to be sent."""

    def __init__(self, ctx: Any, title: str):
        self.ctx, self.title = ctx, title
        self.bar: tqdm | None = None
        self.shown = 0.0

    def report(self, event: Progress) -> Iterator[Any]:
        self._show_bar(event)
        interval = QUEUE_INTERVAL if self.ctx.delegated else APP_INTERVAL
        now = time.monotonic()
        if now - self.shown < interval and event.done < event.total:
            return
        self.shown = now
        share = event.done / max(1, event.total)
        values = "".join(f" · {name} {value:.3g}" for name, value in event.values.items())
        label = f"{event.message} {event.done}/{event.total}{values}"
        if self.ctx.delegated:
            self.ctx.set_progress(progress=share, label=label)
        else:
            yield self.ctx.ops.set_progress(progress=share, label=label)

    def say(self, message: str) -> None:
        """A line on the terminal that does not disturb the bar."""
        if fo.config.show_progress_bars:
            tqdm.write(f"{self.title}: {message}", file=sys.stderr)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _show_bar(self, event: Progress) -> None:
        if not fo.config.show_progress_bars:
            return
        if self.bar is not None and self.bar.desc.removesuffix(": ") != event.message:
            self.close()
        if self.bar is None:
            self.bar = tqdm(
                desc=event.message,
                total=event.total,
                initial=event.done,
                file=sys.stderr,
                mininterval=0.2 if sys.stderr.isatty() else 15,
                dynamic_ncols=True,
            )
        self.bar.total = event.total
        if event.values:
            self.bar.set_postfix({k: f"{v:.3g}" for k, v in event.values.items()}, refresh=False)
        self.bar.update(event.done - self.bar.n)
        if event.done >= event.total:
            self.close()
