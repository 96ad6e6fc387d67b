"""Settings of the classifier jobs."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.execute import Job
from busaug_core.jobs.lineage import Product

WEIGHTS = "classifier.safetensors"
CLASSIFIER = Product(WEIGHTS, job="train_classifier", held_out=False)
"""What a field that names a trained classifier holds; who uses it says what it may not have seen."""


class TrainClassifier(JobConfig):
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


class ApplyClassifier(JobConfig):
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


TRAIN_CLASSIFIER = Job("train_classifier", TrainClassifier, "busaug_core.classify.train:train_classifier", learns=True)
APPLY_CLASSIFIER = Job(
    "apply_classifier", ApplyClassifier, "busaug_core.classify.apply:apply_classifier", needs_classes=False
)
