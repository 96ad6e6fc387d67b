"""How a job runs: its config and its events meet in a run folder that can be resumed.

A job is a function `job(config, run)` that yields events and returns a summary (plain JSON). `Job.run` wraps it: it
makes or reopens the run folder, records what happens, and yields the events on to whoever shows progress. A run that
was stopped, failed or killed is taken up again by calling it with the same run key and the same config, and so is one
that was done but has lost files since; one that is done and whole yields its result at once.
"""

import importlib
import shutil
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from busaug_core.errors import OtherSettings, UserError
from busaug_core.files import make_folder, write_json
from busaug_core.jobs.config import LABEL_FIELD, JobConfig
from busaug_core.jobs.environment import environment
from busaug_core.jobs.events import Begun, Ended, Event, Finished, Notice, Steps, Stopped
from busaug_core.jobs.lineage import (
    TRAINED_ON,
    product_fields,
    record_lineage,
    resolve_products,
    training_hashes,
)
from busaug_core.jobs.processes import StopRequested, Workers, go_alone, is_distributed, wait_for
from busaug_core.jobs.roles import TRAIN, refuse_learned, refuse_unlabelled
from busaug_core.jobs.run import INPUTS, Run
from busaug_core.jobs.runs import new_key, runs_folder
from busaug_core.records import Record, write_records
from busaug_core.words import counted

JobFunction = Callable[[JobConfig, Run], Steps[dict[str, Any]]]
JobCheck = Callable[[JobConfig, Run, list[Record]], None]


OUT_OF_MEMORY = (
    "The memory does not suffice. What helps, the most effective first: in a training of diffusion models "
    "accumulation, up to the batch_size, and gradient_checkpointing, which train the same, only longer; a smaller "
    "batch_size; a smaller resolution; precision 'fp16' or 'bf16' where it is 'fp32'; a LoRA of fewer layers or "
    "a token instead of whole networks."
)


@dataclass(frozen=True)
class Job:
    """A job by name; `config`, `function` and `check` may be `module:name`, imported on use.

    Attributes:
        config: a class, or a function that returns one where the fields depend on what is registered
        distributed: whether it shares its work among the processes of `accelerate launch`
        stops_together: whether these agree on stopping by themselves, since each step needs all of them
        shared: whether several workers may work on one run at once, since each item belongs to who writes it first
        learns: whether it learns from the training images, whose hashes it then keeps
        check: raises UserError for what can be known of config and samples without any work
        needs_classes: whether a new run is refused samples without a class
        makes_dataset: whether it may make a dataset, named by its config's `dataset_name`
        takes_samples: whether it works on samples of a dataset that is there
        chain: whether it runs other jobs, which keep logs of their own; each process of a launcher goes on by itself
        files: what a run's folder must hold when it is done; where one is gone, the same call makes it again
    """

    name: str
    config: str | type[JobConfig] | Callable[[], type[JobConfig]]
    function: str | JobFunction
    check: str | JobCheck | None = None
    distributed: bool = False
    stops_together: bool = False
    shared: bool = False
    learns: bool = False
    needs_classes: bool = True
    makes_dataset: bool = False
    takes_samples: bool = True
    chain: bool = False
    files: tuple[str, ...] = ()

    def config_class(self) -> type[JobConfig]:
        """The config's class; needs no torch."""
        found = imported(self.config)
        return found if isinstance(found, type) else found()

    def run(
        self, values: dict[str, Any], records: list[Record], dataset: str, root: Path | None = None
    ) -> Generator[Event, None, None]:
        """Validate `values` and run the job, yielding its events and at last `Finished`, or `Stopped`.

        Args:
            values: the fields of its config; `run_key` names the run and must be given under `accelerate launch`
            records: the samples it may use; a run that is taken up again keeps those of its beginning
            dataset: the dataset's name, a folder of `root`
            root: the folder of all runs, by default `runs.home()`

        Raises:
            UserError: a wrong field; the run key names a run with other settings or of other data, or one that is
                being worked on; a product that a field names is missing, or has learned from held-out images
        """
        config = self.config_class().parse(values)
        return self._run(config, records, runs_folder(dataset, root))

    def _run(self, config: JobConfig, records: list[Record], runs: Path) -> Generator[Event, None, None]:
        launched = is_distributed()
        if launched:
            if not (self.distributed or self.shared):
                raise UserError(f"{self.name} runs in one process; start it without `accelerate launch`.")
            if config.run_key is None:
                raise UserError("Under `accelerate launch` a run needs a name that all processes know; set run_key.")
            if self.chain:
                go_alone()
        config = config.resolve(runs)
        run = Run(runs / (config.run_key or new_key(self.name, runs)))
        # Any worker of a shared run may be the last one.
        run.writes = run.writes or self.shared
        if run.state == "done":
            given = run.records
            self._refuse_change(run, config, records)
            on = f", on {counted(len(given), 'sample')}" if given else ""
            missing = run.missing
            if not missing:
                yield Notice(f"Run '{run.key}' was done before{on}; this is its result. Another run_key does it anew.")
                yield Finished(run.result)
                return
            yield Notice(
                f"Run '{run.key}' was done before{on}, but of its files {counted(len(missing), 'is', 'are')} "
                f"gone since, the first {missing[0]}; what is gone is made again."
            )
        fresh = not run.folder.exists() or not any(run.folder.iterdir())
        make_folder(run.folder)
        workers = Workers(run.folder)
        if (run.is_main or self.shared) and not workers.join(alone=not self.shared):
            raise UserError(f"Run '{run.key}' is being worked on already; wait for it or stop it.")
        try:
            yield from self._attempt(config, records, run, workers)
        except UserError as error:
            alone = not is_distributed() and not workers.others()
            came_to_nothing = run.last(Ended.__name__) is None if self.chain else fresh and not run.has_begun
            if alone and came_to_nothing:
                shutil.rmtree(run.folder, ignore_errors=True)
            elif launched and self.chain and not alone:
                yield Notice(f"{error} The other processes go on.")
            raise
        finally:
            workers.leave()
            if launched and self.chain and run.folder.exists():
                # Where one process ends in any other way than well, a launcher ends all of them.
                workers.wait()

    def _attempt(
        self, config: JobConfig, records: list[Record], run: Run, workers: Workers
    ) -> Generator[Event, None, None]:
        """Begin the run or take it up again, and carry it to its end; how it ends is written to its state."""
        if run.is_main:
            with workers.alone():
                self._begin(run, config, records)
        else:
            wait_for(run.folder / "config.json")
        self.refuse(config, run, run.records)
        with workers.alone():
            is_done = run.state == "done" and not run.missing
            if not is_done:
                record_lineage(run, type(config))
                run.set_state("running")
        if is_done:  # by another worker, since it was looked at
            yield Finished(run.result)
            return
        events, remarks = imported(self.function)(config, run), _remarks(run.records)
        try:
            while True:
                if run.is_asked_to_stop and self._heeds_stop(run):
                    raise StopRequested
                try:
                    event = next(events)
                except StopIteration as end:
                    with workers.alone():
                        result = run.result if run.state == "done" else run.finish(end.value, self._files(config, run))
                    break
                for told in (event, *remarks):
                    if not self.chain or isinstance(told, Begun | Ended | Notice):
                        run.log(told)
                    yield told
                remarks = []
        except (GeneratorExit, KeyboardInterrupt, StopRequested) as reason:
            events.close()
            self._end(config, run, workers, "stopped")
            if not isinstance(reason, StopRequested):
                raise
            yield Stopped(run.key)
            return
        except BaseException as error:
            self._end(config, run, workers, "failed", f"{type(error).__name__}: {error}")
            if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
                raise UserError(OUT_OF_MEMORY) from error
            raise
        run.forget_stop()
        yield Finished(result)

    def refuse(self, config: JobConfig, run: Run, records: list[Record]) -> None:
        """Raise UserError for all that can be known before the work, so that it is told before a call is queued.

        Args:
            config: the job's, resolved
            run: the run that it is for; gets to know which products it uses
            records: the samples that it would be given
        """
        if self.needs_classes and run.state == "new":
            # Of several datasets those images that do not train are but compared with.
            several = getattr(config, "datasets", None)
            labelled = [r for r in records if TRAIN in r.tags] if several else records
            refuse_unlabelled(labelled, getattr(config, "label_field", LABEL_FIELD))
        run.used = resolve_products(config, run)
        fields = product_fields(type(config))
        refuse_learned(records, [a for name, a in run.used.items() if fields[name].held_out])
        if self.check is not None:
            imported(self.check)(config, run, records)

    def fits(self, run: Run, values: dict[str, Any], records: list[Record]) -> bool:
        """Whether a run that was begun has these settings and samples, so that `run` would go on with it."""
        config = self.config_class().parse(values).resolve(run.folder.parent)
        try:
            self._refuse_change(run, config, records)
        except UserError:
            return False
        return _contents(run.records) == _contents(records)

    def _heeds_stop(self, run: Run) -> bool:
        """Whether this process honours a request to stop; the launcher ends the helpers of a main process."""
        return self.shared or not is_distributed() or (run.is_main and not self.stops_together)

    def _end(self, config: JobConfig, run: Run, workers: Workers, state: str, error: str | None = None) -> None:
        """Note how an attempt ended, unless others go on with the run; with the last one a request to stop is over.

        A run that was done, and lacked files alone, stays so.
        """
        with workers.alone():
            workers.leave()
            if not workers.others():
                if run.has_result:
                    run.set_state("done", files=self._files(config, run))
                else:
                    run.set_state(state, error)
                run.forget_stop()

    def _begin(self, run: Run, config: JobConfig, records: list[Record]) -> None:
        stored = run.folder / "config.json"
        if stored.exists():
            self._refuse_change(run, config, records)
            _follow_moved(run, records)
            run.end_line()
        else:
            write_records(run.folder / INPUTS, records)
            known = environment()
            if self.learns:
                known[TRAINED_ON] = training_hashes(records)
            write_json(run.folder / "environment.json", known)
            write_json(stored, self._settings(config))

    def _refuse_change(self, run: Run, config: JobConfig, now: list[Record]) -> None:
        """Raises UserError where a run that was begun had other settings, or other real images or splits of them.

        A setting that the run's version did not have is taken to have been its default, or what it was `before`; one
        that is no more, and one that does not decide the results, may be what it likes.
        """
        stored, asked = run.config, self._settings(config)
        defaults = {name: info.get_default() for name, info in type(config).model_fields.items()}
        defaults |= {**type(config).preset_values(dict(asked)), **config.before}
        before = {name: stored.get(name, defaults.get(name)) for name in asked}
        changed = [
            f"{name}: {before[name]!r} there, {value!r} here"
            for name, value in asked.items()
            if name not in config.without_effect and before[name] != value
        ]
        if changed:
            raise OtherSettings(
                f"Run '{run.key}' exists with other settings ({'; '.join(changed)}). "
                f"Choose another run_key, or delete {run.folder}."
            )
        present = [r for r in now if not r.synthetic]
        given = [r for r in run.records if not r.synthetic]
        known = _same_images(given, present)
        if given and present and not known:
            raise UserError(
                f"Run '{run.key}' was made from other images, none of which is among these samples. Choose another "
                "run_key, or call it on its own."
            )
        if moved := sum(before.splits != after.splits for before, after in known):
            raise UserError(
                f"{counted(moved, 'image lies', 'images lie')} in another split now than in run '{run.key}'. Choose "
                f"another run_key, or delete {run.folder}."
            )

    def _files(self, config: JobConfig, run: Run) -> list[str]:
        """What a run with these settings is not whole without."""
        return [*self.files, *config.also_makes(len(run.records))]

    def _settings(self, config: JobConfig) -> dict[str, Any]:
        """What `config.json` holds."""
        return {"job": self.name, **config.model_dump(mode="json", exclude={"run_key"})}


def _contents(records: list[Record]) -> set[tuple]:
    """What a job reads of its samples: the files, their classes, tags and scores."""
    return {(r.path, r.label, *sorted(r.tags), str(r.scores and r.scores.to_json())) for r in records}


def result_of(events: Generator[Event, None, None]) -> Steps[dict[str, Any]]:
    """Pass on the events of another job's run; returns its result.

    Raises StopRequested where that run was asked to stop, so that what it is a part of stops too.
    """
    for event in events:
        match event:
            case Finished(result):
                return result
            case Stopped():
                raise StopRequested
        yield event
    raise StopRequested


def imported(place: Any) -> Any:
    """What `module:name` names; anything else as it is."""
    if not isinstance(place, str):
        return place
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)


def _same_images(given: list[Record], now: list[Record]) -> list[tuple[Record, Record]]:
    """Those of the given records that are there now, with what they are now: by their sample, or else by file.

    A file may be of several datasets, in another split of each.
    """
    by_id = {r.id: r for r in now if r.id is not None}
    by_path = {(r.dataset, r.path): r for r in now}
    pairs = ((r, by_id.get(r.id) or by_path.get((r.dataset, r.path))) for r in given)
    return [(before, after) for before, after in pairs if after is not None]


def _follow_moved(run: Run, now: list[Record]) -> None:
    """Give the run's records the present paths of their samples' files, where those have moved since."""
    moved = {before.id: after.path for before, after in _same_images(run.records, now) if before.path != after.path}
    moved = {id_: path for id_, path in moved.items() if Path(path).is_file()}
    if moved and run.writes:
        write_records(run.folder / INPUTS, [replace(r, path=moved.get(r.id, r.path)) for r in run.records])


def _remarks(records: list[Record]) -> list[Notice]:
    """What whoever reads the numbers of a run on these records should know."""
    # In different splits it is another matter, of `roles`, or of datasets that share a file.
    shown = Counter((r.path, *r.splits) for r in records)
    if not (doubled := list(dict.fromkeys(path for (path, *_), n in shown.items() if n > 1))):
        return []
    n, files = len(records), len({r.path for r in records})
    return [
        Notice(
            f"The {n} samples show {counted(files, 'file')}, since {counted(len(doubled), 'is', 'are')} the file "
            f"of several samples (the first {doubled[0]}); every sample is counted."
        )
    ]
