"""What the command line writes: results on stdout, progress and messages on stderr, to readers that may leave."""

import json
import os
import shutil
import sys
import time
from typing import Any, TextIO

from busaug_core.jobs.events import Begun, Event, Notice, Progress

REFRESH = 0.1
"""Seconds between two states of a terminal's line of progress."""
PAUSE = 5.0
"""Seconds between two lines of progress where stderr is a file or a pipe."""


def prepare() -> None:
    """Have what a stream's encoding lacks written as codes rather than raise UnicodeEncodeError."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def write(text: str, stream: TextIO | None, end: str = "\n") -> None:
    """Write at once; where the reader has gone, as `head` does, this and all that follows goes nowhere."""
    if stream is None:  # closed by the caller
        return
    try:
        stream.write(text + end)
        stream.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def write_json(document: dict[str, Any]) -> None:
    """Write a document to stdout, with escapes where its encoding lacks a character."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(document, indent=2)
    write(text, sys.stdout)


class Display:
    """Shows the events of a run on stderr: on a terminal one line that is updated, elsewhere a line now and then."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr is not None and sys.stderr.isatty()
        self._shown_at = 0.0 if self._is_terminal else time.monotonic()
        self._length = 0

    def show(self, event: Event) -> None:
        """Show what is meant for people; images and rows of tables are told with the result."""
        match event:
            case Progress(done, total, message, numbers):
                values = "".join(f"  {name} {value:.4g}" for name, value in numbers.items())
                self._progress(f"{message}: {done}/{total}{values}", is_last=done == total)
            case Begun(number, total, title, run_key):
                self.say(f"[{number:2}/{total}] {title} ({run_key})")
            case Notice(message):
                self.say(message)

    def say(self, message: str) -> None:
        """A line of its own."""
        self.close()
        write(message, sys.stderr)

    def close(self) -> None:
        """End the line of progress, where one is open."""
        if self._length:
            write("", sys.stderr)
            self._length = 0

    def _progress(self, line: str, is_last: bool) -> None:
        now = time.monotonic()
        due = now - self._shown_at >= (REFRESH if self._is_terminal else PAUSE)
        if not due and not (self._is_terminal and is_last):
            return
        self._shown_at = now
        if not self._is_terminal:
            write(line, sys.stderr)
            return
        line = line[: shutil.get_terminal_size().columns - 1]
        write(f"\r{line:<{self._length}}", sys.stderr, end="")
        self._length = len(line)
        if is_last:
            self.close()
