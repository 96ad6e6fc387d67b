"""The command line: `python -m busaug_core JOB --field value …`, the fields being those of the job's config."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from busaug_core.errors import UserError
from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.events import Event, Finished, Notice, Progress, Row
from busaug_core.jobs.run import home, is_distributed, is_main_process, new_key, run_of, runs_folder
from busaug_core.records import Record, read_records
from busaug_core.registry import JOBS, job

LOADS = ("load_busi", "load_external")
"""The jobs that may make a dataset."""


def main(arguments: list[str] | None = None) -> int:
    """Run a job and print its result as JSON; returns the exit status."""
    options = vars(_parser().parse_args(arguments))
    try:
        if options["job"] == "check_setup":
            from busaug_core.setup import check_setup, table

            checks = check_setup()
            print(table(checks))
            return 0 if all(c.ok for c in checks if c.needed) else 1
        result = _run(options)
    except UserError as error:
        print(f"busaug_core: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        if is_main_process():
            print(f"\nStopped. {stop}".rstrip(), file=sys.stderr)
        return 130
    if result:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    return 0


def _run(options: dict[str, Any]) -> dict[str, Any]:
    """The job's result; nothing in the helper processes of `accelerate launch`, which also keep silent."""
    chosen = job(options.pop("job"))
    data, dataset = options.pop("data", None), options.pop("dataset", None)
    config = chosen.config_class()
    values = {name: _value(config.model_fields[name].annotation, given) for name, given in options.items()}
    if data and dataset is None:
        raise UserError("--data names runs of a dataset; name that by --dataset.")
    records = _gather(data or [], dataset)
    if chosen.name in LOADS:
        dataset = values.get("dataset_name", config.model_fields["dataset_name"].default) or dataset
        if dataset is None:
            raise UserError("Name the new dataset by --dataset_name, or the one to add to by --dataset and --data.")
    if not is_distributed():
        values.setdefault("run_key", new_key(chosen.name, runs_folder(dataset)))
    events = chosen.run(values, records, dataset)
    try:
        return _show(events)
    except KeyboardInterrupt:
        again = f"The same command with --run_key {values['run_key']} goes on from here."
        raise KeyboardInterrupt(again) from None


def _show(events: Iterator[Event]) -> dict[str, Any]:
    """Print a job's events to the terminal; returns its result."""
    for event in events:
        if not is_main_process():
            continue
        match event:
            case Progress(done, total, message, numbers):
                loss = "".join(f"  {k} {v:.4f}" for k, v in numbers.items())
                print(f"\r{message}: {done}/{total}{loss}   ", end="", file=sys.stderr)
                if done == total:
                    print(file=sys.stderr)
            case Notice(message):
                print(message, file=sys.stderr)
            case Row(row):
                print(json.dumps(row), file=sys.stderr)
            case Finished(result):
                return result
    return {}


def _gather(places: list[str], dataset: str) -> list[Record]:
    """The records of all places; where two know an image, such as an audit of it, the later one's.

    Raises UserError where they have it in different splits.
    """
    records: dict[str, Record] = {}
    for place in places:
        for record in _records(place, dataset):
            before = records.get(record.path, record)
            if before.splits != record.splits:
                raise UserError(f"--data: {record.path} is in another split in '{place}'; name the runs of one split.")
            records[record.path] = record
    return list(records.values())


def _records(place: str, dataset: str) -> list[Record]:
    """Records of a JSON-lines file, or those that a run of the dataset has made.

    Raises UserError where the run is not done, or made no images.
    """
    if Path(place).is_file():
        return read_records(place)
    run = run_of(dataset, place)
    if run.state != "done":
        raise UserError(f"Run '{place}' is {run.state}; call it again with its settings to finish it first.")
    products = run.products
    if not products:
        raise UserError(f"Run '{place}' made no images; --data takes runs such as those of load_busi and generate.")
    return products


def _value(annotation: Any, given: str | list[str]) -> Any:
    """A field's value from the command line: JSON for dictionaries, else the text, which the config converts."""
    if not _is(annotation, dict):
        return given
    try:
        return json.loads(given)
    except json.JSONDecodeError as error:
        raise UserError(f"{given!r} is not JSON ({error}); write a dictionary as '{{\"benign\": 5}}'.") from None


def _is(annotation: Any, kind: type) -> bool:
    """Whether a field's type is, or may be, a list or a dictionary."""
    return kind in (annotation, get_origin(annotation)) or any(_is(a, kind) for a in get_args(annotation))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m busaug_core", description=f"Runs lie in {home()}.", allow_abbrev=False
    )
    jobs = parser.add_subparsers(dest="job", required=True)
    jobs.add_parser("check_setup", help="What this machine can do, what is missing, and how to mend it.")
    for name, entry in JOBS.items():
        config: type[JobConfig] = entry.config_class()
        sub = jobs.add_parser(
            name,
            help=config.__doc__.splitlines()[0],
            description=config.__doc__,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
        )
        if name != "load_busi":
            needed = name not in LOADS
            sub.add_argument("--dataset", required=needed, help="The dataset's name, a folder of the home.")
            sub.add_argument(
                "--data",
                required=needed,
                nargs="+",
                help="Where the images come from: runs of the dataset (load_busi, generate) or .jsonl files.",
            )
        for field, info in config.model_fields.items():
            several = {"nargs": "+"} if _is(info.annotation, list) else {}
            sub.add_argument(f"--{field}", help=_help(info).replace("%", "%%"), **several)
    return parser


def _help(info: FieldInfo) -> str:
    """What a field means, what it may be, and what it is when left out."""
    text = info.description or ""
    if choices := _choices(info.annotation):
        text += f" {'Any' if _is(info.annotation, list) else 'One'} of {', '.join(map(str, choices))}."
    if _is(info.annotation, dict):
        text += " As JSON."
    if info.is_required() or info.default in (None, "", []):
        return text
    match info.default:
        case list(values):
            default = " ".join(map(str, values))
        case dict(values):
            default = json.dumps(values)
        case value:
            default = str(value)
    return f"{text} Default: {default}."


def _choices(annotation: Any) -> tuple:
    """The values that a field is confined to; none where it is free."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next((found for part in get_args(annotation) if (found := _choices(part))), ())


if __name__ == "__main__":
    sys.exit(main())
