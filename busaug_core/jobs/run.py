"""How a job runs: its config and its events meet in a run folder that can be resumed.

A job is a function `job(config, run)` that yields events and returns a summary (plain JSON).
`execute` wraps it: it makes or reopens the run folder, records what happens, and yields the events on
to whoever shows progress. A run that was stopped, failed or killed is taken up again by calling
`execute` with the same run key and the same config; one that is done yields its result at once.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from busaug_core.errors import UserError
from busaug_core.images import content_hash
from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.events import Event, Finished, Notice
from busaug_core.paths import absolute
from busaug_core.records import SPLITS, Record, of_split, read_records, write_records

CHECKPOINT = "checkpoint.safetensors"
"""A training's own file to resume from; removed when the run is done."""
WAIT = 120
"""Seconds that helper processes wait for the main one."""
VERSIONED = ("torch", "diffusers", "transformers", "peft", "torchvision", "numpy", "scipy", "fiftyone")


JobFunction = Callable[[JobConfig, "Run"], Iterator[Event]]


def home() -> Path:
    """The folder of all runs: `$BUSAUG_HOME`, by default `~/fiftyone/busaug`."""
    return absolute(os.environ.get("BUSAUG_HOME") or "~/fiftyone/busaug")


def is_main_process() -> bool:
    """False in the helper processes of `accelerate launch`, which write nothing."""
    return os.environ.get("RANK", "0") == "0"


def is_distributed() -> bool:
    """Whether this is one of several processes of `accelerate launch`."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


class Run:
    """A run's folder `<home>/<dataset>/runs/<key>/` and what is written there."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.key = folder.name
        self.is_main = is_main_process()

    @property
    def state(self) -> str:
        """One of `new`, `running`, `done`, `stopped`, `failed`."""
        return self._state_document()["state"]

    @property
    def has_begun(self) -> bool:
        """Whether the job has yielded an event; what is refused before leaves no run."""
        return (self.folder / "events.jsonl").exists()

    @property
    def result(self) -> dict[str, Any]:
        return _read_json(self.folder / "result.json")

    @property
    def config(self) -> dict[str, Any]:
        return _read_json(self.folder / "config.json")

    @property
    def records(self) -> list[Record]:
        """The samples that the job was given when it was first started; none where nothing is known of them."""
        path = self.folder / "inputs.jsonl"
        return read_records(path) if path.exists() else []

    @property
    def training_files(self) -> frozenset[str]:
        """The files of the real images that a training learned from."""
        return frozenset(r.path for r in self.records if SPLITS[0] in r.tags and not r.synthetic)

    def seen(self, records: list[Record]) -> list[Record]:
        """Those of the records that a training learned from: a file of that path, or of the same bytes."""
        files = self.training_files
        if not files:
            return []
        hashes = {content_hash(path) for path in files if Path(path).is_file()}
        return [r for r in records if r.path in files or (Path(r.path).is_file() and content_hash(r.path) in hashes)]

    @property
    def products(self) -> list[Record]:
        """The images that a finished job has made or looked at, as listed in `products.jsonl`."""
        path = self.folder / "products.jsonl"
        return read_records(path) if path.exists() else []

    def sibling(self, key: str) -> "Run":
        """Another run of the same dataset; of another one where `key` is its folder, which a key is never taken for."""
        return Run(self.folder.parent / key if Path(key).name == key else absolute(key))

    def name_of(self, other: "Run") -> str:
        """What fields of this run's dataset call another run: its key, after its dataset's name where that differs."""
        if other.folder.parent == self.folder.parent:
            return other.key
        return re.sub(r"\W", "_", f"{other.folder.parent.parent.name}_{other.key}")

    def record_environment(self, **entries: Any) -> None:
        """Add entries (the device, what was drawn) to `environment.json`."""
        if self.is_main:
            path = self.folder / "environment.json"
            _write_json(path, {**_read_json(path), **entries})

    def pin(self, **weights: Any) -> None:
        """Record the hashes of weights that the run works with.

        Raises UserError where an earlier attempt at this run worked with others.
        """
        before = _read_json(self.folder / "environment.json")
        for name, value in weights.items():
            if before.get(name, value) != value:
                raise UserError(
                    f"{name} has changed since run '{self.key}' began; start a new run, or delete {self.folder}."
                )
        self.record_environment(**weights)

    def log(self, event: Event) -> None:
        """Append an event to `events.jsonl`."""
        if self.is_main:
            line = {"time": round(time.time(), 3), "event": type(event).__name__, **asdict(event)}
            with (self.folder / "events.jsonl").open("a", encoding="utf-8") as f:
                f.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _state_document(self) -> dict[str, Any]:
        path = self.folder / "state.json"
        return _read_json(path) if path.exists() else {"state": "new"}

    def _set_state(self, state: str, error: str | None = None) -> None:
        if self.is_main:
            _write_json(self.folder / "state.json", {"state": state, "error": error})

    def _begin(self, job: str, config: JobConfig, records: list[Record]) -> None:
        stored = self.folder / "config.json"
        asked = _settings(job, config)
        if stored.exists():
            _refuse_change(self, asked, self.records, records)
            if self.is_main:
                _end_line(self.folder / "events.jsonl")
        elif self.is_main:
            write_records(self.folder / "inputs.jsonl", records)
            _write_json(self.folder / "environment.json", _environment())
            _write_json(stored, asked)
        else:
            _wait_for(stored)

    def _finish(self, summary: dict[str, Any] | None) -> dict[str, Any]:
        result = {"run_key": self.key, "state": "done", "folder": str(self.folder), **(summary or {})}
        if self.is_main:
            _write_json(self.folder / "result.json", result)
            self._set_state("done")
            (self.folder / CHECKPOINT).unlink(missing_ok=True)
        return result


def execute(
    name: str,
    function: JobFunction,
    config: JobConfig,
    records: list[Record],
    dataset: str,
    root: Path | None = None,
    distributed: bool = False,
    needs_classes: bool = True,
) -> Iterator[Event]:
    """Run a job, yielding its events and at last `Finished`.

    Args:
        name: the job's name, such as `train_lora`
        function: the job, called with the resolved config and the run
        config: its config; `run_key` names the run and must be given under `accelerate launch`
        records: the samples it may use; a run that is taken up again keeps those of its beginning
        dataset: the dataset's name, a folder of `root`
        root: the folder of all runs, by default `home()`
        distributed: whether the job shares its work among the processes of `accelerate launch`
        needs_classes: whether a new run is refused records without a class

    Raises:
        UserError: the run key names a run with other settings or of other data, or one that is being worked on
    """
    _check_processes(name, config, distributed)
    config = config.resolve()
    runs = runs_folder(dataset, root)
    run = Run(runs / (config.run_key or new_key(name, runs)))
    if run.state == "done":
        given = run.records
        _refuse_change(run, _settings(name, config), given, records)
        on = f", on {len(given)} samples" if given else ""
        yield Notice(f"Run '{run.key}' was done before{on}; this is its result. Another run_key does it anew.")
        yield Finished(run.result)
        return
    if needs_classes and run.state == "new":
        _refuse_unlabelled(records)
    fresh = not run.folder.exists() or not any(run.folder.iterdir())
    make_folder(run.folder)
    lock = FileLock(run.folder / "lock", thread_local=False)  # the App takes each event in a thread of its own
    if run.is_main:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise UserError(f"Run '{run.key}' is being worked on already; wait for it or stop it.") from None
    try:
        yield from _attempt(name, function, config, records, run)
    except UserError:
        if fresh and not run.has_begun and not is_distributed():
            shutil.rmtree(run.folder, ignore_errors=True)
        raise
    finally:
        lock.release()


def _attempt(name: str, function: JobFunction, config: JobConfig, records: list[Record], run: Run) -> Iterator[Event]:
    """Begin the run or take it up again, and carry it to its end; how it ends is written to its state."""
    run._begin(name, config, records)
    run._set_state("running")
    events = iter(function(config, run))
    try:
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                result = run._finish(end.value)
                break
            run.log(event)
            yield event
    except GeneratorExit:
        events.close()
        run._set_state("stopped")
        raise
    except KeyboardInterrupt:
        run._set_state("stopped")
        raise
    except BaseException as error:
        run._set_state("failed", error=f"{type(error).__name__}: {error}")
        raise
    yield Finished(result)


def _check_processes(name: str, config: JobConfig, distributed: bool) -> None:
    if is_distributed():
        if not distributed:
            raise UserError(f"{name} runs in one process; start it without `accelerate launch`.")
        if config.run_key is None:
            raise UserError("Under `accelerate launch` a run needs a name that all processes know; set run_key.")


def runs_folder(dataset: str, root: Path | None = None) -> Path:
    """The folder of a dataset's runs, `<home>/<dataset>/runs`, with characters no file system minds."""
    name = re.sub(r"[^\w.-]+", "-", dataset).strip(".-")
    if not name:
        raise UserError(f"The dataset's name {dataset!r} leaves no folder name; use letters or digits.")
    return (root or home()) / name / "runs"


def new_key(job: str, runs: Path) -> str:
    """A run key that is a Python identifier and not taken in the folder `runs`."""
    key = f"{job}_{time.strftime('%Y%m%d_%H%M%S')}"
    taken, n = key, 1
    while (runs / taken).exists():
        n += 1
        taken = f"{key}_{n}"
    return taken


def make_folder(folder: Path) -> None:
    """Make a folder for runs or a run; raises UserError where it cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("no right to write")
    except OSError as error:
        raise UserError(
            f"{folder} cannot be made or written to ({error}); set BUSAUG_HOME to a folder that can."
        ) from None


def run_of(dataset: str, key: str, root: Path | None = None) -> Run:
    """The run of that key; raises UserError where there is none."""
    runs = runs_folder(dataset, root)
    run = Run(runs / key)
    if run.state == "new":
        known = sorted(p.name for p in runs.iterdir()) if runs.exists() else []
        raise UserError(f"There is no run '{key}' of dataset '{dataset}'; its runs are {known}.")
    return run


def find_product(run: Run, given: str, file_name: str) -> Path:
    """The file that a field such as `lora` names: a run key, a file, or a folder that holds `file_name`.

    Raises UserError where there is none, or where it was trained on images that `run` holds out.
    """
    for path in (run.sibling(given).folder, Path(given).expanduser()):
        if path.is_dir():
            path = path / file_name
        if path.is_file():
            _refuse_seen(run, given, Run(path.parent))
            return path
    state = run.sibling(given).state
    if state in ("running", "stopped", "failed"):
        raise UserError(f"Run '{given}' is {state} and has no {file_name} yet; finish it first.")
    raise UserError(f"'{given}' is neither a run of this dataset, nor a file, nor a folder with {file_name}.")


def _refuse_seen(run: Run, given: str, trained: Run) -> None:
    """Raises UserError where a product was trained on images that validate or test now."""
    records = run.records
    held_out = [r for split in SPLITS[1:] for r in of_split(records, split)]
    if again := trained.seen(held_out):
        raise UserError(
            f"'{given}' was trained on {len(again)} images that validate or test now (the first {again[0].path}), so "
            "no figure on these would be honest. Train it anew on this split."
        )


def _settings(job: str, config: JobConfig) -> dict[str, Any]:
    """What `config.json` holds."""
    return {"job": job, **config.model_dump(mode="json", exclude={"run_key"})}


def _refuse_unlabelled(records: list[Record]) -> None:
    if missing := [r.path for r in records if not r.label]:
        raise UserError(
            f"{len(missing)} samples have no class in the field ground_truth (the first: {missing[0]}); give each a "
            "fo.Classification there, or work on a view without them."
        )


def _refuse_change(run: Run, asked: dict[str, Any], before: list[Record], now: list[Record]) -> None:
    """Raises UserError where a run that was begun had other settings, or other real images or splits of them."""
    stored = run.config
    names = sorted(stored.keys() | asked.keys())
    changed = [f"{n}: {stored.get(n)!r} there, {asked.get(n)!r} here" for n in names if stored.get(n) != asked.get(n)]
    if changed:
        raise UserError(
            f"Run '{run.key}' exists with other settings ({'; '.join(changed)}). "
            f"Choose another run_key, or delete {run.folder}."
        )
    present = {r.path: r for r in now if not r.synthetic}
    given = [r for r in before if not r.synthetic]
    known = [r for r in given if r.path in present]
    if given and present and not known:
        raise UserError(
            f"Run '{run.key}' was made from other images, none of which is among these samples. Choose another "
            "run_key, or call it on its own."
        )
    if moved := sum(r.splits != present[r.path].splits for r in known):
        raise UserError(
            f"{moved} images of run '{run.key}' lie in other splits now. Choose another run_key, or delete "
            f"{run.folder}."
        )


def _wait_for(path: Path) -> None:
    """Let the main process of `accelerate launch` make the run's folder first."""
    deadline = time.monotonic() + WAIT
    while not path.exists():
        if time.monotonic() > deadline:
            raise UserError(f"The main process has not made {path} within {WAIT} s; see its output.")
        time.sleep(0.1)


def _end_line(path: Path) -> None:
    """End the last line of a file that a kill may have cut short."""
    if path.exists() and path.stat().st_size:
        with path.open("rb+") as f:
            f.seek(-1, os.SEEK_END)
            if f.read(1) != b"\n":
                f.write(b"\n")


def _environment() -> dict[str, Any]:
    versions = {}
    for package in VERSIONED:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "versions": versions,
        "revision": _git_revision(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _git_revision() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _write_json(path: Path, document: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
