"""The command line: `busaug JOB --field value …`, the fields being those of the job's config."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from busaug_core.errors import UserError
from busaug_core.jobs.config import JobConfig, field_type
from busaug_core.jobs.events import Begun, Event, Notice, Progress, Row, drain
from busaug_core.jobs.execute import Job, result_of
from busaug_core.jobs.processes import StopRequested, is_distributed, is_main_process
from busaug_core.jobs.runs import gather, home, new_key, runs_folder
from busaug_core.registry import JOBS, job


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
        print(f"busaug: {error}", file=sys.stderr)
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
    values = {name: _value(config, name, given) for name, given in options.items()}
    if data and dataset is None:
        raise UserError("--data names runs of a dataset; name that by --dataset.")
    records = gather(data or [], dataset)
    if chosen.makes_dataset:
        dataset = values.get("dataset_name", config.model_fields["dataset_name"].default) or dataset
        if dataset is None:
            raise UserError("Name the new dataset by --dataset_name, or the one to add to by --dataset and --data.")
    elif not chosen.takes_samples:
        dataset = chosen.name
    if not is_distributed():
        values.setdefault("run_key", new_key(chosen.name, runs_folder(dataset)))
    try:
        result = drain(result_of(chosen.run(values, records, dataset)), _show)
    except (KeyboardInterrupt, StopRequested):
        raise KeyboardInterrupt(f"The same command with --run_key {values['run_key']} goes on from here.") from None
    return result if is_main_process() else {}


def _show(event: Event) -> None:
    """Print an event to the terminal; helper processes of a launcher keep silent."""
    if not is_main_process():
        return
    match event:
        case Progress(done, total, message, numbers):
            loss = "".join(f"  {k} {v:.4f}" for k, v in numbers.items())
            print(f"\r{message}: {done}/{total}{loss}   ", end="", file=sys.stderr)
            if done == total:
                print(file=sys.stderr)
        case Begun(number, total, title, run_key):
            print(f"[{number:2}/{total}] {title} ({run_key})", file=sys.stderr)
        case Notice(message):
            print(message, file=sys.stderr)
        case Row(row):
            print(json.dumps(row), file=sys.stderr)


def _value(config: type[JobConfig], name: str, given: str | list[str]) -> Any:
    """A field's value from the command line: JSON for dictionaries, else the text, which the config converts."""
    if field_type(config, name).kind is not dict:
        return given
    try:
        return json.loads(given)
    except json.JSONDecodeError as error:
        raise UserError(f"{given!r} is not JSON ({error}); write a dictionary as '{{\"benign\": 5}}'.") from None


def _parser() -> argparse.ArgumentParser:
    called = Path(sys.argv[0]).name
    parser = argparse.ArgumentParser(
        prog="python -m busaug_core" if called == "__main__.py" else called or "busaug",
        description=f"Runs lie in {home()}.",
        allow_abbrev=False,
    )
    jobs = parser.add_subparsers(dest="job", required=True)
    jobs.add_parser("check_setup", help="What this machine can do, what is missing, and how to fix it.")
    for entry in JOBS.values():
        _add_job(jobs, entry)
    return parser


def _add_job(jobs: Any, entry: Job) -> None:
    config = entry.config_class()
    sub = jobs.add_parser(
        entry.name,
        help=config.__doc__.splitlines()[0],
        description=config.__doc__,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    if entry.takes_samples:
        needed = not entry.makes_dataset
        sub.add_argument("--dataset", required=needed, help="The dataset's name, a folder of the home.")
        sub.add_argument(
            "--data",
            required=needed,
            nargs="+",
            help="Where the images come from: runs of the dataset (load_busi, generate) or .jsonl files.",
        )
    for name in (n for n in config.model_fields if n not in config.of_dataset):
        several = {"nargs": "+"} if field_type(config, name).kind is list else {}
        sub.add_argument(f"--{name}", help=_help(config, name).replace("%", "%%"), **several)


def _help(config: type[JobConfig], name: str) -> str:
    """What a field means, what it may be, and what it is when left out."""
    info, kind = config.model_fields[name], field_type(config, name)
    text = info.description or ""
    if kind.choices:
        text += f" {'Any' if kind.kind is list else 'One'} of {', '.join(map(str, kind.choices))}."
    if kind.kind is dict:
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


if __name__ == "__main__":
    sys.exit(main())
