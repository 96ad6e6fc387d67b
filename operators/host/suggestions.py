"""What forms propose: base models, finished runs, prompts, and the variants a dataset holds."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

import fiftyone as fo
from fiftyone.core.collections import SampleCollection
from fiftyone.operators import types

from busaug_core.base.defaults import MINI, STABLE_DIFFUSION
from busaug_core.errors import UserError
from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.lineage import product_fields
from busaug_core.jobs.roles import TRAIN
from busaug_core.jobs.run import Run
from busaug_core.jobs.runs import list_runs
from busaug_core.prompts import named, proposed

from .classes import label_path
from .images import every_image, images_of

BASES = [MINI, STABLE_DIFFUSION]
FEW = 20
"""Training images below which a form warns."""


def product_choices(config: type[JobConfig], dataset: str) -> dict[str, dict[str, Run]]:
    """For each field of a config that names a product: the finished runs that made one by key, newest first."""
    found: dict[str, dict[str, Run]] = {}
    for field, product in product_fields(config).items():
        runs = list_runs(dataset, product.job, done=True)
        found[field] = {run.key: run for run in runs if product.takes(run)}
    return found


def describe(run: Run) -> str:
    """A finished training in a few words: steps or epochs, what came out, and when."""
    config, result = run.config, run.result
    words = [f"{name} {config[name]}" for name in ("steps", "epochs") if config.get(name)]
    if result.get("loss") is not None:
        words.append(f"loss {result['loss']:.3g}")
    if "metrics" in result:
        words.append(f"accuracy {result['metrics']['accuracy']:.2f} on {config['evaluate_on']}")
    if config.get("include"):
        words.append(f"with {', '.join(config['include'])}")
    began = time.localtime((run.folder / "config.json").stat().st_mtime)
    return ", ".join([*words, time.strftime("%d %b %Y %H:%M", began)])


def split_counts(samples: SampleCollection, split: str, label_field: str) -> dict[str, int]:
    """How many images of each class, none of them synthetic, bear a split's tag."""
    try:
        chosen = images_of(samples).match_tags(split)
    except UserError:  # told when the job is run
        return {}
    if samples.get_field("origin") is not None:
        chosen = chosen.match({"origin": {"$ne": "synthetic"}})
    return classes_of(chosen, label_field)


def other_datasets(dataset: fo.Dataset) -> list[str]:
    """The names of the datasets beside this one."""
    return [name for name in fo.list_datasets() if name != dataset.name]


def remark_on_few(samples: SampleCollection, label_field: str, datasets: Iterable[str] = ()) -> Iterator[types.View]:
    """A warning where a training would see so few images, those of further datasets too, that it learns them by heart.

    A dataset that is not there is told when the job is run.
    """
    counts: Counter[str] = Counter()
    for part in (samples, *(fo.load_dataset(name) for name in datasets if fo.dataset_exists(name))):
        counts.update(split_counts(part, TRAIN, label_field))
    if sum(counts.values()) < FEW:
        told = ", ".join(f"{n} {label}" for label, n in counts.items()) or "none"
        yield types.Warning(
            label=f"Few images to train on: {told}",
            description=f"Under {FEW} images are learned by heart rather than learned from. Choose more samples above, "
            "or tag more of them 'train'.",
        )


def prompts_for(
    dataset: fo.Dataset, label_field: str, learned: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """A prompt for each class of the dataset: the learned one, or BUSI's, or one in their manner.

    Names of classes are matched case aside.
    """
    known = {label: named(label, learned) for label in classes_of(dataset, label_field)}
    return {label: learned[name] if name else proposed(label) for label, name in known.items()}


def classes_of(samples: SampleCollection, label_field: str) -> dict[str, int]:
    """How many samples each class has; none where the field holds no classes."""
    try:
        images = images_of(samples)
        path = label_path(images, label_field)
    except UserError:  # what the user is still typing
        return {}
    counts = images.count_values(path) if path else {}
    return {label: counts[label] for label in sorted(counts.keys() - {None, ""})}


def variants_of(dataset: fo.Dataset) -> list[str]:
    """The variants of the dataset's synthetic samples."""
    if not all(isinstance(dataset.get_field(name), fo.StringField) for name in ("variant", "origin")):
        return []
    return every_image(dataset).match({"origin": "synthetic"}).distinct("variant")
