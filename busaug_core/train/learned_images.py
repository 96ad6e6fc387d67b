"""The images that a training learns from: of one dataset or of several, less what another of these holds out."""

from busaug_core.data.elsewhere import find_held_out
from busaug_core.jobs.events import Steps
from busaug_core.jobs.lineage import TRAINED_ON, training_hashes
from busaug_core.jobs.roles import TRAIN, refuse_unused_datasets, training_images
from busaug_core.jobs.run import INPUTS, Run
from busaug_core.records import Record, write_records
from busaug_core.train.config import BaseTraining
from busaug_core.words import counted

LEFT_OUT = "left_out"
"""The entry of a run's environment, and of its result, that lists the images which were left out."""
NAMED = 5
"""Images that a message names at most."""


def learned_images(config: BaseTraining, run: Run) -> Steps[list[Record]]:
    """The images that a training learns from, once those are left out that another dataset of its holds out.

    These are listed in the run's environment and taken from its records and hashes, so that nobody takes the run for
    one that has learned from them. Raises UserError where no image is left, of all or of one dataset.
    """
    if not config.datasets:
        return training_images(run.records)
    rows = run.environment.get(LEFT_OUT)
    if rows is None:
        pairs = yield from find_held_out(run.records)
        rows = [
            {
                "path": record.path,
                "dataset": _dataset_of(record, run),
                "shows": shown.path,
                "held_out_by": _dataset_of(shown, run),
            }
            for record, shown in pairs
        ]
    gone = {(row["dataset"], row["path"]) for row in rows}
    records = [r for r in run.records if TRAIN not in r.tags or (_dataset_of(r, run), r.path) not in gone]
    learned = training_images(records)
    refuse_unused_datasets(config.datasets, learned)
    if run.writes and LEFT_OUT not in run.environment:
        run.record_environment(**{LEFT_OUT: rows, TRAINED_ON: training_hashes(records)})
    if run.writes and len(records) < len(run.records):
        write_records(run.folder / INPUTS, records)
    return learned


def remarks_on_left_out(rows: list[dict[str, str]]) -> list[str]:
    """A sentence that names what was left out; none where nothing was."""
    if not rows:
        return []
    paths = [row["path"] for row in rows]
    more = f" and {len(paths) - NAMED} more, all in the result's {LEFT_OUT}" if len(paths) > NAMED else ""
    return [
        f"{counted(len(paths), 'training image is', 'training images are')} left out, since another of the datasets "
        f"holds out the same scan or patient: {', '.join(paths[:NAMED])}{more}."
    ]


def _dataset_of(record: Record, run: Run) -> str:
    return record.dataset or run.folder.parents[1].name
