"""Settings of the job that trains the base model `mini`; the defaults are the shipped recipe."""

from pydantic import Field

from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.execute import Job


class PretrainMini(JobConfig):
    """The small base model `mini`, trained from the beginning on simulated scans."""

    without_effect = frozenset({"workers", "checkpoint_seconds"})
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of scans, weights and training.")
    phantoms: int = Field(2000, ge=3, description="Simulated scans of each class.")
    held_out: int = Field(64, ge=4, description="Further scans of each class, only for evaluation.")
    workers: int = Field(2, ge=1, description="Processes that simulate scans.")

    autoencoder_steps: int = Field(4000, ge=1, description="Steps of encoder and decoder together.")
    autoencoder_rate: float = Field(2e-3, gt=0, description="Their peak learning rate.")
    decoder_steps: int = Field(2000, ge=1, description="Steps of the decoder alone.")
    decoder_rate: float = Field(5e-4, gt=0, description="Its peak learning rate; the discriminator's is twice that.")
    crop_batch: int = Field(4, ge=1, description="Crops of 64×64 pixels a step, in both.")

    styled: int = Field(300, ge=3, description="Scans encoded again in each adjective's contrast.")
    diffusion_steps: int = Field(10000, ge=1, description="Steps of UNet and text encoder.")
    diffusion_rate: float = Field(1e-3, gt=0, description="Peak learning rate of the UNet; the text encoder's is half.")
    diffusion_batch: int = Field(8, ge=1, description="Latents a step.")
    class_weights: list[float] = Field(
        [0.3, 0.4, 0.3], min_length=3, max_length=3, description="Shares of normal, benign and malignant captions."
    )
    high_noise: float = Field(1.5, gt=0, description="Above 1: more of the noisy timesteps.")
    checkpoint_seconds: float = Field(60, gt=0, description="Least time between checkpoints to resume from.")

    busi: str | None = Field(None, description="A folder of real BUSI, for evaluation only; it is never trained on.")
    samples: int = Field(32, ge=2, description="Images of each class for the card's values.")
    sampling_steps: int = Field(20, ge=2, description="DPM-Solver++ steps of those images.")
    guidance_scale: float = Field(2.5, ge=1, description="Guidance scale of those images.")
    classifier_epochs: int = Field(2, ge=1, description="Epochs of the classifier that evaluates those images.")
    out: str | None = Field(
        None, description="A folder that the finished model replaces (empty: it stays in the run's folder alone)."
    )


PRETRAIN_MINI = Job(
    "pretrain_mini",
    PretrainMini,
    "busaug_core.pretrain.pretrain_mini:pretrain_mini",
    needs_classes=False,
    takes_samples=False,
)
