"""Names of datasets: what FiftyOne takes, and whose runs lie in which folder."""

from pathlib import Path

import fiftyone as fo
from fiftyone.core.odm import get_db_conn
from fiftyone.core.utils import to_slug

from busaug_core.errors import UserError
from busaug_core.jobs.runs import runs_folder

INFO = "busaug"
"""The entry of a dataset's info that is this plugin's own."""


def home_of(dataset: fo.Dataset) -> str:
    """The name that a dataset's runs lie under: its own, or of one that was renamed since the one before."""
    home = dataset.info.get(INFO, {}).get("home", {})
    return home["name"] if home.get("dataset") == str(dataset._doc.id) else dataset.name


def note_home(dataset: fo.Dataset) -> None:
    """Keep under which name a dataset's runs lie; a clone, which is another dataset, has runs of its own."""
    home = {"dataset": str(dataset._doc.id), "name": home_of(dataset)}
    if dataset.info.get(INFO, {}).get("home") != home:
        dataset.info[INFO] = {**dataset.info.get(INFO, {}), "home": home}
        dataset.save()


def refuse_unusable_name(name: str) -> None:
    """Raises UserError for a new dataset's name that FiftyOne does not take, before anything is loaded."""
    try:
        slug = to_slug(name)
    except ValueError as error:
        raise UserError(
            f"FiftyOne takes no dataset of the name {name!r} ({error}); use letters from a to z, digits, '-' and '_'."
        ) from None
    for other in fo.list_datasets():
        if other != name and to_slug(other) == slug:
            raise UserError(
                f"FiftyOne tells the names {name!r} and '{other}' not apart (both are '{slug}' to it), and there is a "
                f"dataset '{other}'; choose another dataset_name."
            )
    refuse_shared_folder(name, name)


def refuse_shared_folder(name: str, home: str) -> None:
    """Raises UserError where the runs of another dataset would lie in the folder of this one's, `home`."""
    folder = runs_folder(home)
    for other, its_home in _homes().items():
        if other != name and _folder_of(its_home) == folder:
            raise UserError(
                f"The datasets '{name}' and '{other}' would keep their runs in one folder, {folder.parent}; give one "
                f"of them another name: '{name}', since the other keeps its runs where they are."
                if its_home != other
                else f"The datasets '{name}' and '{other}' would keep their runs in one folder, {folder.parent}; give "
                f"one of them another name: fo.load_dataset({other!r}).name = …"
            )


def _homes() -> dict[str, str]:
    """The name that each dataset's runs lie under, as `home_of` tells it, read at once."""
    homes = {}
    for document in get_db_conn().datasets.find({}, {"name": 1, "info": 1}):
        home = (document.get("info") or {}).get(INFO, {}).get("home", {})
        is_its_own = home.get("dataset") == str(document["_id"])
        homes[document["name"]] = home["name"] if is_its_own else document["name"]
    return homes


def _folder_of(home: str) -> Path | None:
    try:
        return runs_folder(home)
    except UserError:
        return None
