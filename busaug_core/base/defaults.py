"""What a job uses where the user leaves a field open: it depends on the base model."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from busaug_core.errors import MissingWeights, UserError
from busaug_core.foreign import kind_of, read_document, refuse_pickle
from busaug_core.jobs.lineage import Product

MINI = "mini"
STABLE_DIFFUSION = "stable-diffusion-v1-5/stable-diffusion-v1-5"
MINI_NOISIEST = 999
"""The noisiest timestep of mini's scheduler."""
MINI_FOLDER = Path(__file__).parent / "mini"
HELP = "'mini', a Hub id, a diffusers folder, a .safetensors file, or a run of finetune_unet."
ADVICE = "Give a diffusers folder with safetensors, or a Hub id that can be downloaded here (HF_HUB_OFFLINE unset)."


def place_of(base_model: str) -> Path | None:
    """The file or folder of a base; None for a Hub id. It is looked at as far as that needs no torch.

    Raises:
        UserError: the file or folder is no base
        MissingWeights: there is no such file, folder or id
    """
    path = MINI_FOLDER if base_model == MINI else Path(base_model).expanduser()
    if path.is_dir():
        if not (path / "model_index.json").exists():
            raise UserError(f"{path} has no model_index.json, so it is no diffusers folder of a base model.")
        return path
    if path.is_file():
        refuse_pickle(path)
        if (kind := kind_of(path)) != "a safetensors file":
            raise UserError(f"{path} cannot be read as a base model; it seems to be {kind}.")
        return path
    if base_model.startswith((".", "~")) or path.is_absolute() or base_model.count("/") != 1:
        raise MissingWeights(f"There is no file or folder {base_model}. {ADVICE}")
    return None


BASE = Product("unet", job="finetune_unet", only=False, refuse=place_of, reserved=(MINI,))
"""What a field that names a base model may hold besides: a run that tuned the whole UNet."""


@dataclass(frozen=True)
class Sampling:
    """How images are sampled, by the fields of `generate`."""

    steps: int
    guidance_scale: float
    guidance_end: float = 1.0
    spacing: float = 1.0
    domain_guidance: float = 1.0
    domain_guidance_width: float = 0.0
    domain_guidance_widths: dict[str, float] = field(default_factory=dict)


def scales_in_words(middle: float, width: float, widths: dict[str, float]) -> str:
    """Scales that are drawn around one, by a width or a class's own."""
    ranges = {"": width, **widths}
    if not any(ranges.values()):
        return f"{middle:g}"
    return f"{middle:g} " + ", ".join(f"{name} ± {width:g}".strip() for name, width in ranges.items())


def spaced_timesteps(steps: int, spacing: float, noisiest: int) -> list[int]:
    """Timesteps noisiest·(1 − (i/steps)^spacing), rounded, and each less noisy than the one before."""
    found = [noisiest]
    for step in range(1, steps):
        timestep = round(noisiest * (1 - (step / steps) ** spacing))
        found.append(min(timestep, found[-1] - 1))
    return found


@dataclass(frozen=True)
class BaseDefaults:
    """Settings that suit a base model; training numbers are those of `steps` at `batch_size`."""

    resolution: int
    lora_layers: str
    lora_rank: int
    lora_steps: int
    lora_learning_rate: float
    token_steps: int
    token_learning_rate: float
    unet_steps: int
    unet_learning_rate: float
    decoder_steps: int
    decoder_learning_rate: float
    controlnet_steps: int
    controlnet_learning_rate: float
    train_batch_size: int
    generate_batch_size: int
    sampling: Sampling
    """Of the base's own UNet."""
    tuned_sampling: Sampling
    """Of a UNet that was tuned as a whole."""

    def sampling_of(self, is_tuned: bool) -> Sampling:
        """How images are sampled of the base's own UNet, or of one that was tuned as a whole."""
        return self.tuned_sampling if is_tuned else self.sampling


DEFAULTS = {
    # The hybrid-diffusion paper and its authors' scripts; attention only.
    "stable-diffusion": BaseDefaults(
        resolution=512,
        lora_layers="attention",
        lora_rank=4,
        lora_steps=3000,
        lora_learning_rate=1e-4,
        token_steps=2000,
        token_learning_rate=5e-4,
        unet_steps=3000,
        unet_learning_rate=1e-5,
        decoder_steps=1000,
        decoder_learning_rate=1e-4,
        controlnet_steps=5000,
        controlnet_learning_rate=1e-5,
        train_batch_size=4,
        generate_batch_size=8,
        sampling=Sampling(steps=50, guidance_scale=7.5),
        tuned_sampling=Sampling(steps=50, guidance_scale=7.5),
    ),
    # A base of 7 M parameters learns the look of new images only through convolutions too.
    "mini": BaseDefaults(
        resolution=128,
        lora_layers="wide",
        lora_rank=16,
        lora_steps=600,
        lora_learning_rate=1e-3,
        token_steps=200,
        token_learning_rate=5e-3,
        unet_steps=6000,
        unet_learning_rate=5e-4,
        decoder_steps=1000,
        decoder_learning_rate=5e-4,
        controlnet_steps=600,
        controlnet_learning_rate=1e-3,
        train_batch_size=8,
        generate_batch_size=16,
        sampling=Sampling(steps=10, guidance_scale=3.0, guidance_end=0.5),
        tuned_sampling=Sampling(
            steps=13,
            spacing=1.5,
            guidance_scale=2.0,
            guidance_end=0.5,
            domain_guidance=1.3,
            domain_guidance_width=0.6,
            domain_guidance_widths={"normal": 1.2},
        ),
    ),
}

DEFAULT_WIDTH = 320
"""Channels of Stable Diffusion's first block; a base with fewer is a small one."""


def defaults_of(base_model: str, runs: Path | None = None) -> BaseDefaults:
    """The defaults of a base: `mini`, a diffusers folder (by its size), a file, a Hub id, or one of the `runs`."""
    if base_model == MINI:
        return DEFAULTS["mini"]
    for folder in (*([runs / base_model] if runs is not None else []), Path(base_model).expanduser()):
        unet = folder / BASE.name / "config.json"
        if unet.exists():
            widths = read_document(unet, "the configuration of a UNet").get("block_out_channels")
            if widths and widths[0] < DEFAULT_WIDTH:
                # Its scheduler is another, which may have no steps but its own.
                own = DEFAULTS["mini"]
                return replace(own, tuned_sampling=replace(own.tuned_sampling, spacing=1.0))
    return DEFAULTS["stable-diffusion"]
