"""A run: its folder, and the documents in it."""

import json
import os
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from busaug_core.errors import UserError
from busaug_core.files import read_json, weights_hash, write_json
from busaug_core.jobs.events import Event, Made
from busaug_core.jobs.processes import is_main_process, locked
from busaug_core.paths import absolute
from busaug_core.records import Record, read_records, write_records

CHECKPOINT = "checkpoint.safetensors"
"""A training's own file to resume from; removed when the run is done."""
INPUTS, PRODUCTS, RESULT = "inputs.jsonl", "products.jsonl", "result.json"

TAIL = 2**16
"""Bytes of a log's end that are read to know how a run stands."""

T = TypeVar("T")


class Run:
    """A run's folder `<home>/<dataset>/runs/<key>/` and what is written there.

    Attributes:
        is_main: whether this is the main process of a launcher, which goes on with all that was shared out
        writes: whether this process writes the run's documents
        used: what the config's product fields name (see `lineage`), by field; filled in while a job works
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.key = folder.name
        self.is_main = self.writes = is_main_process()
        self.used: dict[str, Ancestor] = {}
        self._parsed: dict[str, tuple[tuple[int, int], Any]] = {}

    @property
    def state(self) -> str:
        """One of `new`, `running`, `done`, `stopped`, `failed`; without its result no run is done."""
        state = self._document("state.json", {"state": "new"})["state"]
        return "stopped" if state == "done" and not self.has_result else state

    @property
    def error(self) -> str | None:
        """Why the run failed, if it did."""
        return self._document("state.json", {}).get("error")

    @property
    def has_result(self) -> bool:
        """Whether the run was ever carried to its end."""
        return (self.folder / RESULT).exists()

    @property
    def has_begun(self) -> bool:
        """Whether the job has yielded an event; what is refused before leaves no run."""
        return (self.folder / "events.jsonl").exists()

    @property
    def job(self) -> str | None:
        """The name of the run's job, None where none has begun here."""
        return self._document("config.json", {}).get("job")

    @property
    def config(self) -> dict[str, Any]:
        """The job's name and resolved config."""
        return self._document("config.json")

    @property
    def result(self) -> dict[str, Any]:
        """What a run that is done has returned."""
        return self._document(RESULT)

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, device, hashes of weights, lineage."""
        return self._document("environment.json", {})

    @property
    def records(self) -> list[Record]:
        """The samples that the job was given when it was first started; none where nothing is known of them."""
        return self._read(INPUTS, read_records, [])

    @property
    def products(self) -> list[Record]:
        """The images that a finished job has made or looked at, as listed in `products.jsonl`."""
        return self._read(PRODUCTS, read_records, [])

    @property
    def missing(self) -> list[Path]:
        """What a run that is done has made, itself or by the runs of its chain, and is gone since."""
        names = self._document("state.json", {}).get("files", [])
        own = os.path.join(self.folder, "")
        images = [r.path for r in self.products if r.path.startswith(own)]
        files = [*(self.folder / name for name in names), *map(Path, images)]
        members = [self.sibling(key) for key in self.result.get("runs", [])]
        return [
            *(path for path in files if not path.exists()),
            *(path for member in members for path in (member.missing if member.state == "done" else [member.folder])),
        ]

    def write_products(self, records: list[Record]) -> None:
        """List the images that the job has made or looked at."""
        if self.writes:
            write_records(self.folder / PRODUCTS, records)

    def name_of(self, used: "Ancestor") -> str:
        """What fields of this run's dataset call a product: by its run's key, after its dataset where that differs."""
        if used.run is None:
            return re.sub(r"\W", "_", used.path.stem)
        if used.run.folder.parent == self.folder.parent:
            return used.run.key
        return re.sub(r"\W", "_", f"{used.run.folder.parent.parent.name}_{used.run.key}")

    def sibling(self, key: str) -> "Run":
        """Another run of the same dataset; of another one where `key` is its folder, which a key is never taken for."""
        return Run(self.folder.parent / key if Path(key).name == key else absolute(key))

    def record_environment(self, **entries: Any) -> None:
        """Add entries (the device, what was drawn) to `environment.json`."""
        if self.writes:
            path = self.folder / "environment.json"
            with locked(self.folder / "turn_environment"):
                write_json(path, {**self.environment, **entries})

    def pin(self, **weights: Any) -> None:
        """Record the hashes of weights that the run works with.

        Raises UserError where an earlier attempt at this run worked with others.
        """
        before = self.environment
        for name, value in weights.items():
            if before.get(name, value) != value:
                raise UserError(
                    f"{name} has changed since run '{self.key}' began; start a new run, or delete {self.folder}."
                )
        if weights:
            self.record_environment(**weights)

    def log(self, event: Event) -> None:
        """Append an event to `events.jsonl`; images are listed in `products.jsonl` instead."""
        if self.writes:
            line = "" if isinstance(event, Made) else json.dumps(_line(event), ensure_ascii=False) + "\n"
            with (self.folder / "events.jsonl").open("a", encoding="utf-8") as f:
                f.write(line)

    def last(self, event: str) -> dict[str, Any] | None:
        """The last event of that name in the log, as far as its end is looked at; None where there is none."""
        path = self.folder / "events.jsonl"
        if not path.exists():
            return None
        with path.open("rb") as f:
            f.seek(max(0, path.stat().st_size - TAIL))
            lines = f.read().decode(errors="ignore").splitlines()
        for line in reversed(lines):
            with suppress(ValueError):  # cut by the beginning, a kill, or whoever writes at this moment
                if (found := json.loads(line))["event"] == event:
                    return found
        return None

    def end_line(self) -> None:
        """End the last line of the log, which a kill may have cut short."""
        path = self.folder / "events.jsonl"
        if path.exists() and path.stat().st_size:
            with path.open("rb+") as f:
                f.seek(-1, os.SEEK_END)
                if f.read(1) != b"\n":
                    f.write(b"\n")

    def set_state(self, state: str, error: str | None = None, **more: Any) -> None:
        """Write down how the run stands."""
        if self.writes:
            write_json(self.folder / "state.json", {"state": state, "error": error, **more})

    def finish(self, summary: dict[str, Any] | None, files: Iterable[str] = ()) -> dict[str, Any]:
        """End the run; returns its result. `files` are those of its folder that it is not whole without."""
        result = {"run_key": self.key, "state": "done", "folder": str(self.folder), **(summary or {})}
        if self.writes:
            write_json(self.folder / RESULT, result)
            self.set_state("done", files=list(files))
            (self.folder / CHECKPOINT).unlink(missing_ok=True)
        return result

    def ask_to_stop(self) -> None:
        """Have whoever works on the run stop after its next event."""
        self._stop_file.touch()

    @property
    def is_asked_to_stop(self) -> bool:
        return self._stop_file.exists()

    def forget_stop(self) -> None:
        """Take the request back, or note that it was honoured."""
        self._stop_file.unlink(missing_ok=True)

    @property
    def _stop_file(self) -> Path:
        return self.folder / "stop"

    def _document(self, name: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._read(name, read_json, default)

    def _read(self, name: str, read: Callable[[Path], T], default: T | None = None) -> T:
        """A file of the run, parsed once for as long as it stays as it is; the default where it is missing."""
        path = self.folder / name
        if default is not None and not path.exists():
            return default
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_ino)
        if name not in self._parsed or self._parsed[name][0] != stamp:
            self._parsed[name] = stamp, read(path)
        return self._parsed[name][1]


@dataclass(frozen=True)
class Ancestor:
    """A product that a run uses: what was given, the file or folder, and the run that made it, where one is known."""

    given: str
    path: Path
    run: Run | None

    def hash(self) -> str | dict[str, str]:
        """`content_hash` of the file, or of each weight file of the folder."""
        return weights_hash(self.path)


def _line(event: Event) -> dict[str, Any]:
    return {"time": round(time.time(), 3), "event": type(event).__name__, **asdict(event)}
