"""Settings of the classifier jobs."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from busaug_core.errors import UserError
from busaug_core.features.extractors import LITE0, PROBE, is_probe, refuse_unknown, refuse_without_maps
from busaug_core.jobs.config import OnSamples
from busaug_core.jobs.execute import Job, imported
from busaug_core.jobs.lineage import Product, seen_by
from busaug_core.jobs.roles import of_split, refuse_learned_by_makers, synthetic_in_training, training_set
from busaug_core.jobs.run import Run
from busaug_core.records import SPLITS, Record

WEIGHTS, PREDICTIONS, RESAMPLED = "classifier.safetensors", "predictions.jsonl", "resampled.safetensors"
HEATMAP_GRID, ATTENTION = "heatmaps.png", "attention.jsonl"
"""A picture of some heat maps, and what was measured of each."""
CLASSIFIER = Product(WEIGHTS, job="train_classifier", held_out=False)
"""What a field that names a trained classifier holds; who uses it says what it may not have seen."""
OF_NETWORKS = ("preset", "epochs", "batch_size", "learning_rate", "pretrained", "balance")
OF_PROBES = ("extractor", "resamples")
"""Fields of one kind of classifier alone."""
VIEWS = 4
"""How many of a training image a probe sees besides the image itself, each changed by TrivialAugment."""


def heatmap_file(index: int) -> str:
    """The picture of the heat map of the image of that index among a run's records, within the run's folder."""
    return f"heatmaps/{index:06d}.png"


def has_features(run: Run) -> bool:
    """Whether a training's classifier may be an extractor: a probe has no features, synthetic images would flatter."""
    return not is_probe(run) and not synthetic_in_training(run)


class TrainClassifier(OnSamples):
    """A classifier on real images and, if asked, synthetic ones: a torchvision network, or a probe on features."""

    presets: ClassVar = {
        "hybrid": dict(
            arch="resnet18",
            learning_rate=1e-4,
            batch_size=16,
            epochs=30,
            resolution=224,
            augmentation="flip",
            balance="none",
        ),
        "meddap": dict(arch="densenet121", learning_rate=1e-3, batch_size=32, epochs=100, augmentation="none"),
        "controlnet-paper": dict(arch="resnet50"),
    }
    preset: Literal["hybrid", "meddap", "controlnet-paper"] | None = Field(
        None, description="Settings of a paper; what you set yourself goes before them."
    )
    arch: str | None = Field(
        None,
        description="efficientnet_lite0, a classifier of torchvision, or 'probe': logistic regression on the features "
        "of an extractor, in seconds (empty: resnet18).",
    )
    extractor: Annotated[str | None, replace(CLASSIFIER, only=False, held_out=True, takes=has_features)] = Field(
        None,
        min_length=1,
        description="Whose features a probe reads, as in compute_fid (empty: efficientnet_lite0, for a probe).",
    )
    include: list[str] = Field([], description="Variants of synthetic images to train with, besides the real ones.")
    ratio: float | None = Field(
        None,
        gt=0,
        le=100,
        description="How many of them to take: of each variant and class so many times as there are real images in "
        "training, the first that were made (empty: all).",
    )
    balance_to: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Or: of each variant those first that fill each class up to so many (empty: all).",
    )
    synthetic_only: bool = Field(
        False,
        description="Train on these alone: what they are worth without a real image, by which they are judged still.",
    )
    epochs: int | None = Field(None, ge=1, le=10_000, description="Passes over the training images (empty: 30).")
    batch_size: int | None = Field(None, ge=2, le=4096, description="Images a step (empty: 16).")
    learning_rate: float | None = Field(None, gt=0, le=1, description="Adam's learning rate (empty: 1e-4).")
    resolution: int | None = Field(
        None,
        ge=32,
        le=2048,
        description="Side of the images in pixels; for a probe, what larger ones are reduced to before the extractor "
        "takes them (empty: 224, for a probe as they are).",
    )
    pretrained: bool = Field(
        False,
        description="Start from ImageNet weights rather than from random ones: those that set-up installed of "
        "efficientnet_lite0, of others those of the torch cache.",
    )
    augmentation: Literal["flip", "trivial", "none"] | None = Field(
        None,
        description="flip mirrors half of the training images; trivial also changes each by one operation of "
        "TrivialAugment, drawn anew every epoch. A probe sees each as it is and by flip also mirrored, by trivial also "
        f"in {VIEWS} views that are changed so, half of them mirrored (empty: flip, for a probe none).",
    )
    balance: Literal["none", "class_weights", "oversample"] | None = Field(
        None,
        description="class_weights lets every class weigh the same in the loss, oversample shows each equally often "
        "(empty: none). In a probe every class weighs the same.",
    )
    weighting: Literal["none", "confidence"] = Field(
        "none",
        description="confidence lets a synthetic image count as much as the probability that a probe of the real "
        "training images gives its class, on the features of extractor (of a network on those of efficientnet_lite0).",
    )
    resamples: int = Field(
        0,
        ge=0,
        le=1000,
        description="Probes to train besides on training images drawn anew with replacement, for intervals of the "
        "metrics (probes only).",
    )
    evaluate_on: Literal["val", "test"] = Field("val", description="The split whose metrics are reported.")
    seed: int = Field(51, ge=0, lt=2**31, description="Seed of weights and order; for a probe, of folds and draws.")

    @model_validator(mode="after")
    def _of_its_kind(self) -> "TrainClassifier":
        # A preset's values are no user's.
        own = OF_NETWORKS if self.preset is None else ("preset",)
        network = [name for name in own if getattr(self, name) not in (None, False)]
        probe = [name for name in OF_PROBES if getattr(self, name)]
        if self.ratio is not None and self.balance_to is not None:
            raise ValueError("set one of ratio and balance_to")
        if twice := sorted({slug for slug in self.include if self.include.count(slug) > 1}):
            raise ValueError(f"include names {', '.join(twice)} twice")
        if not self.include and (self.ratio or self.balance_to or self.synthetic_only):
            raise ValueError(
                "ratio, balance_to and synthetic_only are of synthetic images; name their variants in include"
            )
        if self.synthetic_only and self.weighting == "confidence":
            raise ValueError("confidence is judged by real training images, which synthetic_only leaves out")
        if self.synthetic_only and self.balance_to:
            raise ValueError("balance_to fills real classes up, and synthetic_only leaves these out; set a ratio")
        if self.arch == PROBE and network:
            raise ValueError(f"a probe has no {' and no '.join(network)}; leave that out, or choose another arch")
        if self.arch != PROBE and probe:
            raise ValueError(f"only a probe has {' and '.join(probe)}; leave that out, or set arch to '{PROBE}'")
        return self

    def resolve(self, runs: Path | None = None) -> "TrainClassifier":
        if self.arch == PROBE:
            return self.model_copy(update={"extractor": self.extractor or LITE0})
        return self.fill(self.presets["hybrid"])

    def training_set(self, records: list[Record]) -> list[Record]:
        """The images that it trains on; raises UserError where a named variant has none, or too few."""
        return training_set(records, self.include, self.ratio, self.balance_to, self.synthetic_only)

    def also_makes(self, images: int) -> tuple[str, ...]:
        return (RESAMPLED,) if self.resamples else ()


class ApplyClassifier(OnSamples):
    """Predictions of a trained classifier as a field."""

    classifier: Annotated[str, CLASSIFIER] = Field(
        min_length=1, description="The run key of a classifier of this dataset, or the folder of any other's run."
    )
    evaluate_on: str = Field(
        "val",
        min_length=1,
        description="The tag of the real images that are evaluated, such as val, test or external.",
    )
    heatmaps: bool = Field(
        False,
        description="Also map where each image speaks for the class that is predicted (Grad-CAM), and measure how much "
        "of that lies on lesions and on burnt-in marks; each image is looked at once more for it.",
    )
    batch_size: int = Field(64, ge=1, le=4096, description="Images at a time.")

    def also_makes(self, images: int) -> tuple[str, ...]:
        return (HEATMAP_GRID, ATTENTION, *map(heatmap_file, range(images))) if self.heatmaps else ()


def check_training(config: TrainClassifier, run: Run, records: list[Record]) -> None:
    """Raises UserError where a split is empty, a variant has no image, or a class trains or is held out alone.

    Also where there is no such extractor or network, or it cannot train on images of that size.
    """
    if config.arch == PROBE:
        refuse_unknown(config.extractor, run)
    else:
        imported("busaug_core.classify.model:refuse_network")(config.arch, config.resolution)
    training = config.training_set(records)
    held_out = of_split(records, config.evaluate_on)
    if not training or not held_out:
        raise UserError(
            f"A classifier needs samples tagged 'train' and '{config.evaluate_on}'; choose others, tag some, or load a "
            "dataset with a split."
        )
    classes = {r.label for r in training}
    if len(classes) == 1:
        raise UserError(
            f"All training images ({len(training)}) are of the class '{training[0].label}', so there is nothing to "
            "tell apart; tag images of another class 'train' too."
        )
    unknown = sorted({r.label for r in held_out} - classes)
    if unknown:
        raise UserError(f"The split '{config.evaluate_on}' has the class(es) {', '.join(unknown)}, training has not.")
    if config.weighting == "confidence":
        _refuse_no_judge(training)
    refuse_learned_by_makers(training, held_out)


def _refuse_no_judge(training: list[Record]) -> None:
    """Raises UserError where there is nothing to weigh, or no real image of some class to weigh it by."""
    real = {r.label for r in training if not r.synthetic}
    if not any(r.synthetic for r in training):
        raise UserError("weighting=confidence is for synthetic images; name their variants in include.")
    if lacking := sorted({r.label for r in training} - real):
        raise UserError(
            f"weighting=confidence needs real training images of each class; of {', '.join(lacking)} there are none."
        )


def check_application(config: ApplyClassifier, run: Run, records: list[Record]) -> None:
    """Raises UserError where there is no sample, or the tag to evaluate on is neither a split's nor any sample's.

    Also where heat maps are asked for of a probe on features that have none.
    """
    if not records:
        raise UserError("There is no sample to classify.")
    known = {*SPLITS, *(tag for record in records for tag in record.tags)}
    if config.evaluate_on not in known:
        raise UserError(
            f"evaluate_on: none of these samples is tagged '{config.evaluate_on}'; tags are {', '.join(sorted(known))}."
        )
    if (trained := run.used["classifier"].run) is not None:
        if config.heatmaps and is_probe(trained):
            refuse_without_maps(trained.config["extractor"])
        tagged = [r for r in records if config.evaluate_on in r.tags and not r.synthetic]
        own = {r.path for r in seen_by(trained, tagged)}  # which are not evaluated
        included = [r for r in trained.records if r.synthetic and r.variant in trained.config.get("include", [])]
        refuse_learned_by_makers(included, [r for r in tagged if r.path not in own])


TRAIN_CLASSIFIER = Job(
    "train_classifier",
    TrainClassifier,
    "busaug_core.classify.train:train_classifier",
    check_training,
    learns=True,
    files=(WEIGHTS, PREDICTIONS),
)
APPLY_CLASSIFIER = Job(
    "apply_classifier",
    ApplyClassifier,
    "busaug_core.classify.apply:apply_classifier",
    check_application,
    needs_classes=False,
    files=(PREDICTIONS,),
)
