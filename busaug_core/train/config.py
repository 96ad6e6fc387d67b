"""Settings of the trainings on a base model. What is left open takes the base's own defaults."""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from busaug_core.base.components import CONTROLNET, LORA, TOKEN, UNET, VAE
from busaug_core.base.defaults import BASE, HELP, MINI, BaseDefaults, defaults_of
from busaug_core.errors import UserError
from busaug_core.jobs.config import OnSamples, Precision
from busaug_core.jobs.execute import Job, JobCheck
from busaug_core.jobs.roles import masked_images, of_split, refuse_unused_datasets, training_images, validation_images
from busaug_core.jobs.run import Run
from busaug_core.prompts import (
    BUSI_PROMPTS,
    MODALITY,
    MODALITY_HELP,
    Modality,
    Prompts,
    refuse_unknown_classes,
    refuse_unused_modality,
    with_token,
    wordings_of,
)
from busaug_core.records import SPLITS, Record

SCHEDULE = "How the learning rate goes on after the warm-up; cosine falls to zero."
CAPTION_DROPOUT = "Share of the images that are shown without their prompt, which guidance departs from."


class BaseTraining(OnSamples):
    """What all trainings on a base share."""

    without_effect = frozenset({"checkpoint_seconds"})
    kind: ClassVar[str]
    """How `BaseDefaults` calls the training's steps and learning rate."""

    base_model: Annotated[str, BASE] = Field(MINI, min_length=1, description=HELP)
    datasets: list[str] | None = Field(
        None,
        min_length=1,
        description="Further datasets, by name, whose training images are learned from too; what shows a scan that "
        "one of them, or this one, holds out is left out.",
    )
    steps: int | None = Field(None, ge=1, le=1_000_000, description="Optimizer steps (empty: the base's own).")
    batch_size: int | None = Field(
        None, ge=1, le=1024, description="Images a step and process (empty: the base's own)."
    )
    learning_rate: float | None = Field(None, gt=0, le=1, description="AdamW's learning rate (empty: the base's own).")
    resolution: int | None = Field(
        None,
        ge=64,
        le=2048,
        multiple_of=8,
        description="Side of the training images in pixels (empty: the base's).",
    )
    seed: int = Field(51, ge=0, lt=2**31, description="Seed of order, noise and initial weights.")
    membership: bool = Field(
        True, description="At the end, measure how well the loss tells training from held-out images."
    )
    checkpoint_seconds: float = Field(60, gt=0, description="Least time between checkpoints to resume from.")

    def resolve(self, runs: Path | None = None) -> Self:
        return self.fill(self.open_fields(defaults_of(self.base_model, runs)))

    def open_fields(self, base: BaseDefaults) -> dict[str, Any]:
        """What the fields that are left open are on a base."""
        return dict(
            steps=getattr(base, f"{self.kind}_steps"),
            batch_size=base.train_batch_size,
            learning_rate=getattr(base, f"{self.kind}_learning_rate"),
            resolution=base.resolution,
        )

    @field_validator("datasets")
    @classmethod
    def _named_once(cls, datasets: list[str] | None) -> list[str] | None:
        if datasets and len(set(datasets)) < len(datasets):
            raise ValueError("a dataset is named twice")
        return datasets


class DiffusionTraining(BaseTraining):
    """What all trainings of diffusion share."""

    without_effect = BaseTraining.without_effect | {"gradient_checkpointing", "accumulation", "compile"}
    flip: bool = Field(True, description="Mirror half of the training images.")
    precision: Precision = Field(
        "auto", description="Arithmetic, and dtype of what is frozen: auto is fp16 on CUDA, bf16 or fp32 elsewhere."
    )
    accumulation: int = Field(
        1,
        ge=1,
        le=1024,
        description="Parts in which a step's images go through the networks, one after another: less memory, the same "
        "training.",
    )
    gradient_checkpointing: bool = Field(
        False, description="Compute inner values anew for the gradients and keep few of them: less memory, more time."
    )
    compile: bool = Field(
        False,
        description="Compile the networks before the first step (two minutes; needs a C compiler): on an NVIDIA GPU "
        "one and a half times as fast, with less memory. Of no use on a CPU.",
    )
    schedule: Literal["constant", "cosine"] = Field("constant", description=SCHEDULE)
    warmup_steps: int = Field(0, ge=0, description="Steps in which the learning rate rises to its full value.")
    snr_gamma: float | None = Field(
        None,
        gt=0,
        le=100,
        description="Min-SNR weighting of the loss, usually at 5 (empty: all timesteps count alike).",
    )
    caption_dropout: float = Field(0.0, ge=0, lt=1, description=CAPTION_DROPOUT)
    noise_offset: float = Field(
        0.0, ge=0, le=1, description="Noise that shifts a whole channel, for images darker or brighter than usual."
    )
    validate_every: int | None = Field(
        None,
        ge=1,
        description="Steps between losses on held-out and as many training images, at noise that stays the same "
        "(empty: none).",
    )
    validation_images: int = Field(48, ge=2, description="At most so many images of either kind for it.")
    patience: int | None = Field(
        None,
        ge=1,
        description="Stop when so many such losses in a row were no better, and keep the weights of the best (empty: "
        "all steps, and the last weights).",
    )
    sample_every: int | None = Field(
        None,
        ge=1,
        description="Steps between grids of images at noise that stays the same, four of each class, from before the "
        "first step to what is kept in the end; on mini a grid takes some ten seconds of two cores (empty: none).",
    )
    balance: Literal["none", "oversample"] = Field(
        "none", description="oversample: show each class equally often, images of small ones more often."
    )
    lesion_weight: float = Field(
        1.0,
        ge=1,
        le=100,
        description="How much more an error counts within a lesion's mask than outside; the mean of an image stays 1.",
    )
    prompts: Prompts = Field(
        BUSI_PROMPTS,
        description="The prompt of each class, where it is not to be BUSI's; of several wordings, parted by |, one is "
        "drawn each time an image is shown.",
    )
    modality: Modality = Field(MODALITY, description=MODALITY_HELP)

    @property
    def part_size(self) -> int:
        """Images that pass through the networks at once."""
        return -(-self.batch_size // self.accumulation)

    @model_validator(mode="after")
    def _patience_with_validation(self) -> "DiffusionTraining":
        if self.patience and not self.validate_every:
            raise ValueError("patience counts validation losses; set validate_every too")
        return self


class Lora(DiffusionTraining):
    """Low-rank adaptation of the UNet, and of the text encoder where asked for (Hu et al. 2021)."""

    kind = "lora"
    presets: ClassVar = {
        "hybrid": dict(rank=4, layers="attention", learning_rate=1e-4, steps=3000, batch_size=4, resolution=512),
        "meddap": dict(rank=4, layers="cross_attention", learning_rate=1e-4, batch_size=1, resolution=224),
        "demo": dict(steps=100, batch_size=8, membership=False),
    }
    preset: Literal["hybrid", "meddap", "demo"] | None = Field(
        None, description="Settings of a paper; what you set yourself goes before them."
    )
    rank: int | None = Field(None, ge=1, le=320, description="Rank of the update (empty: the base's own).")
    alpha: float | None = Field(
        None, gt=0, le=10_000, description="Alpha over rank scales the update (empty: the rank, so a scale of one)."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout of what enters the update.")
    text_encoder: bool = Field(False, description="Adapt the text encoder's attention too.")
    layers: Literal["attention", "cross_attention", "wide"] | None = Field(
        None,
        description="Layers that are adapted; wide adds convolutions and residual blocks (empty: the base's own).",
    )

    def open_fields(self, base: BaseDefaults) -> dict[str, Any]:
        return {**super().open_fields(base), "rank": base.lora_rank, "layers": base.lora_layers}


class TextualInversion(DiffusionTraining):
    """A learned token in the prompt (Gal et al. 2022)."""

    kind = "token"
    presets: ClassVar = {
        "hybrid": dict(learning_rate=5e-4, steps=2000, batch_size=4, resolution=512, vectors=1),
        "demo": dict(steps=60, batch_size=8, membership=False),
    }
    preset: Literal["hybrid", "demo"] | None = Field(
        None, description="Settings of a paper; what you set yourself goes before them."
    )
    token: str = Field("<ultrasound>", description="The new token, in angle brackets; case does not matter.")
    initial_word: str = Field("ultrasound", min_length=1, description="The word whose embedding it starts from.")
    vectors: int = Field(1, ge=1, le=32, description="Embedding vectors of the token.")
    lora: Annotated[str | None, LORA.product] = Field(
        None, description="A LoRA (run, file or folder) that is loaded, frozen, while the token is learned."
    )
    images_per_class: int | None = Field(
        None,
        ge=1,
        description="Training images drawn from each class (empty: as many as the smallest class has; with balance "
        "oversample all).",
    )
    keep_norm: bool = Field(
        True,
        description="Hold the vectors' norm at the vocabulary's mean, so that the token does not drown the class.",
    )

    @field_validator("token")
    @classmethod
    def _no_word(cls, token: str) -> str:
        """In brackets it cannot take over a word of the vocabulary."""
        if re.fullmatch(r"<[^<>\s]+>", token) is None:
            raise ValueError("a token is one word in angle brackets, such as <ultrasound>")
        return token

    @model_validator(mode="after")
    def _balanced_once(self) -> "TextualInversion":
        if self.images_per_class and self.balance != "none":
            raise ValueError("balance takes all images of each class; set it or images_per_class, not both")
        return self


class FinetuneUnet(DiffusionTraining):
    """All weights of the UNet, and their moving average."""

    kind = "unet"
    schedule: Literal["constant", "cosine"] = Field("cosine", description=SCHEDULE)
    caption_dropout: float = Field(0.1, ge=0, lt=1, description=CAPTION_DROPOUT)
    ema_decay: float = Field(
        0.999, ge=0, lt=1, description="Decay of the weights' moving average, which is what is kept; 0 is none."
    )


class FinetuneDecoder(BaseTraining):
    """The autoencoder's decoder, which paints the texture of what the UNet has drawn."""

    kind = "decoder"
    batch_size: int = Field(4, ge=1, le=1024, description="Crops of the images a step.")


class TrainControlnet(DiffusionTraining):
    """A ControlNet on lesion masks (Zhang et al. 2023)."""

    kind = "controlnet"
    lora: Annotated[str | None, LORA.product] = Field(
        None, description="A LoRA (run, file or folder) that is loaded, frozen, while the ControlNet is trained."
    )
    unet: Annotated[str | None, UNET.product] = Field(
        None, description="A tuned UNet (run or folder) that is loaded, frozen, in the place of the base's."
    )
    condition_dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of the images that are shown with an empty mask instead of their own."
    )

    @model_validator(mode="after")
    def _one_tuning(self) -> "TrainControlnet":
        if self.lora and self.unet:
            raise ValueError("set lora or unet, not both: they change the same weights")
        return self


def check(config: DiffusionTraining, run: Run, records: list[Record]) -> None:
    """Raises UserError where no sample trains, of a dataset none does, or the steps do not fit.

    And where a class has no prompt, a prompt no class, or no prompt the modality; where losses are to be compared and
    there is nothing to compare with, or lesions are to count more and no image has a mask.
    """
    for name in ("warmup_steps", "validate_every", "sample_every"):
        if (steps := getattr(config, name) or 0) > config.steps:
            raise UserError(f"{name} is {steps}, more than the {config.steps} steps of the training.")
    if config.accumulation > config.batch_size:
        raise UserError(f"accumulation is {config.accumulation}, more than the {config.batch_size} images of a step.")
    if config.validate_every:
        validation_images(records)
    check_images(config, run, records)
    training = training_images(records)
    if config.lesion_weight > 1:
        masked_images(training)
    labels = sorted({r.label for r in training})
    refuse_unknown_classes(config.prompts, labels)
    shown = [wording for label in labels for wording in wordings_of(label, config.prompts, config.modality)]
    refuse_unused_modality(config.modality, shown)


def check_images(config: BaseTraining, run: Run, records: list[Record]) -> None:
    """Raises UserError where no sample trains, or of a dataset none does."""
    for split in SPLITS if config.datasets else ():
        of_split(records, split)
    refuse_unused_datasets(config.datasets or (), training_images(records))


def check_token(config: TextualInversion, run: Run, records: list[Record]) -> None:
    """Raises UserError where `check` does, or a wording has no word for the token to stand for."""
    check(config, run, records)
    for label in sorted({r.label for r in training_images(records)}):
        for wording in wordings_of(label, config.prompts, config.modality):
            with_token(wording, config.token, config.modality)


def check_masks(config: TrainControlnet, run: Run, records: list[Record]) -> None:
    """Raises UserError where `check` does, or no training image has a mask."""
    check(config, run, records)
    masked_images(training_images(records))


def _training(
    name: str, config: type[DiffusionTraining], function: str, files: tuple[str, ...], checked_by: JobCheck = check
) -> Job:
    """A job that trains; `function` is its place in this room."""
    together = dict(distributed=True, stops_together=True, learns=True)
    return Job(name, config, f"busaug_core.train.{function}", checked_by, files=files, **together)


def _network(folder: str) -> tuple[str, ...]:
    """The files of a network in diffusers' layout."""
    return f"{folder}/config.json", f"{folder}/diffusion_pytorch_model.safetensors"


TRAIN_LORA = _training("train_lora", Lora, "lora:train_lora", (LORA.product.name,))
TRAIN_TEXTUAL_INVERSION = _training(
    "train_textual_inversion",
    TextualInversion,
    "textual_inversion:train_textual_inversion",
    (TOKEN.product.name,),
    check_token,
)
FINETUNE_UNET = _training(BASE.job, FinetuneUnet, "unet:finetune_unet", _network(UNET.product.name))
TRAIN_CONTROLNET = _training(
    "train_controlnet",
    TrainControlnet,
    "controlnet:train_controlnet",
    _network(CONTROLNET.product.name),
    check_masks,
)
FINETUNE_DECODER = Job(
    VAE.product.job,
    FinetuneDecoder,
    "busaug_core.train.decoder:finetune_decoder",
    check_images,
    learns=True,
    files=_network(VAE.product.name),
)
