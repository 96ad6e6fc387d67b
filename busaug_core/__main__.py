"""The command line: `busaug JOB --field value …`, the fields being those of the job's config."""

import argparse
import json
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

from busaug_core import terminal
from busaug_core.data.loaded import loaded_images
from busaug_core.errors import UserError
from busaug_core.jobs.config import JobConfig, field_type, from_json
from busaug_core.jobs.events import drain
from busaug_core.jobs.execute import Job, result_of
from busaug_core.jobs.processes import StopRequested, is_distributed, is_main_process
from busaug_core.jobs.roles import with_datasets
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import gather, home, new_key, runs_folder
from busaug_core.registry import JOBS, job

AS_JSON = "Print the result as JSON, for programs, rather than as tables."


def main(arguments: list[str] | None = None) -> int:
    """Run a job and print its result, as tables or as JSON; returns the exit status.

    That is 0, 2 for what the user can put right, and 130 for a run that was stopped.
    """
    terminal.prepare()
    try:
        options = vars(_parser().parse_args(arguments))
    finally:
        terminal.write("", sys.stdout, end="")  # the help may have been read in part
    as_json, display, speaks = options.pop("json", False), terminal.Display(), is_main_process()
    try:
        if options["job"] == "check_setup":
            return _check_setup(as_json)
        name = options.pop("job")
        with redirect_stdout(sys.stderr):  # where libraries may write what they like
            result = _run(job(name), options, display)
    except UserError as error:
        display.say(f"busaug: {error}")
        return 2
    except KeyboardInterrupt as stop:
        if speaks:
            display.say(f"Stopped. {stop}".rstrip())
        return 130
    if not speaks:
        return 0
    if as_json:
        terminal.write_json(result)
    else:
        from busaug_core.summary import summarise

        terminal.write("\n".join(summarise(name, result)), sys.stdout)
    return 0


def _check_setup(as_json: bool) -> int:
    """Print what this machine can do; returns 1 where something is missing."""
    from busaug_core.setup import check_setup, table

    checks = check_setup()
    if as_json:
        terminal.write_json({"state": "done", "checks": [asdict(check) for check in checks]})
    else:
        terminal.write(table(checks), sys.stdout)
    return 0 if all(c.ok for c in checks if c.needed) else 1


def _run(chosen: Job, options: dict[str, Any], display: terminal.Display) -> dict[str, Any]:
    """The job's result; the helper processes of `accelerate launch` keep silent."""
    data, dataset = options.pop("data", None), options.pop("dataset", None)
    config = chosen.config_class()
    values = {name: _value(config, name, given) for name, given in options.items()}
    if data and dataset is None:
        raise UserError("--data names runs of a dataset; name that by --dataset.")
    if data is None and chosen.takes_samples and not chosen.makes_dataset:
        records = loaded_images(dataset)
    else:
        records = gather(data or [], dataset)
    if not _is_begun(dataset, values.get("run_key")):  # which has kept the images of all of them
        records = with_datasets(records, values.get("datasets", ()), dataset, loaded_images)
    if chosen.makes_dataset:
        dataset = values.get("dataset_name", config.model_fields["dataset_name"].default) or dataset
        if dataset is None:
            raise UserError("Name the new dataset by --dataset_name, or the one to add to by --dataset and --data.")
    elif not chosen.takes_samples:
        dataset = chosen.name
    if not is_distributed():
        values.setdefault("run_key", new_key(chosen.name, runs_folder(dataset)))
    see = display.show if is_main_process() else lambda event: None
    try:
        return drain(result_of(chosen.run(values, records, dataset)), see)
    except (KeyboardInterrupt, StopRequested):
        raise KeyboardInterrupt(f"The same command with --run_key {values['run_key']} goes on from here.") from None
    finally:
        display.close()


def _value(config: type[JobConfig], name: str, given: str | list[str]) -> Any:
    """A field's value from the command line: JSON for dictionaries, else the text, which the config converts."""
    return from_json(config, name, given) if field_type(config, name).kind is dict else given


def _parser() -> argparse.ArgumentParser:
    called = Path(sys.argv[0]).name
    parser = argparse.ArgumentParser(
        prog="python -m busaug_core" if called == "__main__.py" else called or "busaug",
        description=f"Runs lie in {home()}.",
        allow_abbrev=False,
    )
    jobs = parser.add_subparsers(dest="job", required=True)
    setup = jobs.add_parser("check_setup", help="What this machine can do, what is missing, and how to fix it.")
    setup.add_argument("--json", action="store_true", help=AS_JSON)
    for entry in JOBS.values():
        _add_job(jobs, entry)
    return parser


def _is_begun(dataset: str | None, run_key: str | None) -> bool:
    return bool(dataset and run_key) and Run(runs_folder(dataset) / run_key).has_begun


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
            nargs="+",
            help="Where the images come from: runs of the dataset (load_busi, generate) or .jsonl files. "
            + ("Default: all that was loaded into the dataset." if needed else ""),
        )
    for name in (n for n in config.model_fields if n not in config.of_dataset):
        # A switch is on where it stands alone, and takes true or false.
        takes = {list: {"nargs": "+"}, bool: {"nargs": "?", "const": "true"}}.get(field_type(config, name).kind, {})
        sub.add_argument(f"--{name}", help=_help(config, name).replace("%", "%%"), **takes)
    sub.add_argument("--json", action="store_true", help=AS_JSON)


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
