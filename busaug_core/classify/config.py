"""Settings of the classifier jobs."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from busaug_core.errors import UserError
from busaug_core.jobs.config import OnSamples
from busaug_core.jobs.execute import Job
from busaug_core.jobs.lineage import Product
from busaug_core.jobs.roles import of_split, training_set
from busaug_core.jobs.run import Run
from busaug_core.records import SPLITS, Record

WEIGHTS, PREDICTIONS = "classifier.safetensors", "predictions.jsonl"
CLASSIFIER = Product(WEIGHTS, job="train_classifier", held_out=False)
"""What a field that names a trained classifier holds; who uses it says what it may not have seen."""


class TrainClassifier(OnSamples):
    """A torchvision classifier on real images and, if asked, synthetic ones."""

    presets: ClassVar = {
        "hybrid": dict(arch="resnet18", learning_rate=1e-4, batch_size=16, epochs=30, resolution=224),
        "demo": dict(arch="resnet18", learning_rate=1e-4, batch_size=16, epochs=8, resolution=96),
    }
    preset: Literal["hybrid", "demo"] | None = Field(
        None, description="Settings of a paper; what you set yourself goes before them."
    )
    arch: str | None = Field(None, description="efficientnet_lite0, or a classifier of torchvision (empty: resnet18).")
    include: list[str] = Field([], description="Variants of synthetic images to train with, besides the real ones.")
    epochs: int | None = Field(None, ge=1, le=10_000, description="Passes over the training images (empty: 30).")
    batch_size: int | None = Field(None, ge=2, le=4096, description="Images a step (empty: 16).")
    learning_rate: float | None = Field(None, gt=0, le=1, description="Adam's learning rate (empty: 1e-4).")
    resolution: int | None = Field(None, ge=32, le=1024, description="Side of the images in pixels (empty: 224).")
    pretrained: bool = Field(
        False,
        description="Start from ImageNet weights rather than from random ones: those that set-up installed of "
        "efficientnet_lite0, of others those of the torch cache.",
    )
    flip: bool = Field(True, description="Mirror half of the training images.")
    evaluate_on: Literal["val", "test"] = Field("val", description="The split whose metrics are reported.")
    seed: int = Field(51, ge=0, lt=2**31, description="Seed of weights and order.")

    def resolve(self) -> "TrainClassifier":
        return self.fill(self.presets["hybrid"])


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
    batch_size: int = Field(64, ge=1, le=4096, description="Images at a time.")


def check_training(config: TrainClassifier, run: Run, records: list[Record]) -> None:
    """Raises UserError where a split is empty, a variant has no image, or a class trains or is held out alone."""
    training, held_out = training_set(records, config.include), of_split(records, config.evaluate_on)
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


def check_application(config: ApplyClassifier, run: Run, records: list[Record]) -> None:
    """Raises UserError where there is no sample, or the tag to evaluate on is neither a split's nor any sample's."""
    if not records:
        raise UserError("There is no sample to classify.")
    known = {*SPLITS, *(tag for record in records for tag in record.tags)}
    if config.evaluate_on not in known:
        raise UserError(
            f"evaluate_on: none of these samples is tagged '{config.evaluate_on}'; tags are {', '.join(sorted(known))}."
        )


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
