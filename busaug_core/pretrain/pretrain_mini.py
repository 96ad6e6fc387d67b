"""The job `pretrain_mini`: the small base model `mini`, trained from the beginning on simulated ultrasound.

Scans are simulated; an autoencoder is trained on them, then its decoder alone; its latents are whitened by weights
folded into it; UNet and text encoder are trained on the latents; all is evaluated and written as a diffusers folder.
What a step leaves in the run's folder the next picks up, and a run that is taken up again goes on from there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from busaug_core.errors import UserError
from busaug_core.files import write_whole
from busaug_core.jobs.device import describe, pick_device
from busaug_core.jobs.events import Progress, Row, Steps
from busaug_core.jobs.run import Run
from busaug_core.paths import absolute
from busaug_core.pretrain.autoencoder import build_autoencoder, encode, fold_whitening, whitening
from busaug_core.pretrain.classifier import load_classifier, predicted_shares, train_classifier
from busaug_core.pretrain.config import PretrainMini
from busaug_core.pretrain.diffusion import DIFFUSION, Corpus, UNetAndText, build_unet, latent_corpus
from busaug_core.pretrain.evaluate import band_powers, grid, prompt_gap, read_folder, reconstruction, sample
from busaug_core.pretrain.export import export, pipeline, write_card
from busaug_core.pretrain.text import ADJECTIVES, CLASSES, build_text_encoder, build_tokenizer
from busaug_core.pretrain.train_autoencoder import DECODER, ENCODER, MiniDecoder, WholeAutoencoder
from busaug_core.simulate import write_busi
from busaug_core.train.loop import Method, train

TRAINING, HELD_OUT = "scans/training", "scans/held_out"
WHITENING, LATENTS, CLASSIFIER = "whitening.safetensors", "latents.safetensors", "classifier.safetensors"
MODEL, SAMPLES = "mini", "samples.png"


def pretrain_mini(config: PretrainMini, run: Run) -> Steps[dict[str, Any]]:
    """Train mini from simulated scans alone.

    Returns `model` (the diffusers folder, with its card), `parameters` (how many it has), and what was `measured`. The
    run's folder also holds the scans, the weights of every step and a picture of samples.
    Raises UserError where `busi` is no such folder, `out` holds something else, or a loss is not finite any more.
    """
    real = read_folder(absolute(config.busi))[0] if config.busi else None
    out = [absolute(config.out)] if config.out else []
    if any(place.exists() and not (place / "model_index.json").exists() for place in out):
        raise UserError(f"out: {config.out} would be replaced, but is no model; name a new folder.")
    device, folder = pick_device(), run.folder
    run.record_environment(device=describe(device))
    yield from _simulate(config, folder)
    yield from _train_autoencoder(config, run, device)
    yield from _train_decoder(config, run, device)
    yield from _encode_scans(config, folder, device)
    yield from _train_unet_and_text(config, run, device)
    if not (folder / CLASSIFIER).exists():
        yield from train_classifier(
            folder / CLASSIFIER, *_scans(folder / TRAINING), config.classifier_epochs, config.seed
        )
    pipe = _trained_pipeline(config, folder).to(device)
    measured = yield from _evaluate(pipe, config, folder, real)
    parts = pipe.vae, pipe.unet, pipe.text_encoder
    parameters = sum(p.numel() for part in parts for p in part.parameters())
    card = write_card(config, parameters, measured)
    for place in (folder / MODEL, *out):
        export(place, *parts, pipe.tokenizer, card)
    return {"model": str(folder / MODEL), "parameters": parameters, "measured": measured}


def _simulate(config: PretrainMini, folder: Path) -> Steps[None]:
    """Scans as PNG in BUSI's layout, the held-out ones from another seed."""
    for name, count, seed in (
        (TRAINING, config.phantoms, 2 * config.seed + 1),
        (HELD_OUT, config.held_out, 2 * config.seed + 2),
    ):
        counts = dict.fromkeys(CLASSES, count)
        for done, total in write_busi(folder / name, counts, seed=seed, size=128, workers=config.workers):
            yield Progress(done, total, "Simulating scans")


def _scans(folder: Path) -> tuple[Tensor, Tensor]:
    """Simulated images and labels, see `read_folder`: one of each class in turn, so that any part is even."""
    images, labels = read_folder(folder)
    order = torch.arange(len(images)).reshape(len(CLASSES), -1).T.flatten()
    return images[order], labels[order]


def _train(
    run: Run, product: str, build: Callable[[], Method], steps: int, learning_rate: float, seconds: float
) -> Steps[None]:
    """Train what `build` makes, unless its product is there; until then the checkpoint lies beside it."""
    checkpoint = f"checkpoint_{product}"
    if not (run.folder / product).exists():
        yield from train(build(), run, steps, learning_rate, torch.float32, seconds, checkpoint)
    (run.folder / checkpoint).unlink(missing_ok=True)


def _train_autoencoder(config: PretrainMini, run: Run, device: torch.device) -> Steps[None]:
    """Encoder and decoder by pixels and statistics; mean and covariance of the latents they end up with."""

    def build() -> WholeAutoencoder:
        images, _ = _scans(run.folder / TRAINING)
        return WholeAutoencoder(build_autoencoder(config.seed), images, config.crop_batch, config.seed + 1, device)

    settings = config.autoencoder_steps, config.autoencoder_rate, config.checkpoint_seconds
    yield from _train(run, ENCODER, build, *settings)
    if not (run.folder / WHITENING).exists():
        images, _ = _scans(run.folder / TRAINING)
        latents = encode(_autoencoder(run.folder / ENCODER, config.seed), images[:512], device)
        write_whole(run.folder / WHITENING, lambda partial: save_file(whitening(latents), partial))


def _train_decoder(config: PretrainMini, run: Run, device: torch.device) -> Steps[None]:
    """The same latents, a decoder that has texture."""

    def build() -> MiniDecoder:
        images, _ = _scans(run.folder / TRAINING)
        vae = _autoencoder(run.folder / ENCODER, config.seed)  # seeds the discriminator's weights too
        return MiniDecoder(vae, images, config.crop_batch, config.seed + 2, device)

    settings = config.decoder_steps, config.decoder_rate, config.checkpoint_seconds
    yield from _train(run, DECODER, build, *settings)


def _encode_scans(config: PretrainMini, folder: Path, device: torch.device) -> Steps[None]:
    """Latents of every scan, of its mirror image, and of the adjectives' copies."""
    if (folder / LATENTS).exists():
        return
    images, labels = _scans(folder / TRAINING)
    total = len(images) + len(ADJECTIVES) * min(config.styled, len(images))
    parts, done = [], 0
    for part in latent_corpus(_whitened(folder, ENCODER, config.seed), images, labels, config.styled, device):
        parts.append(part)
        done += len(part["labels"]) // 2
        yield Progress(done, total, "Encoding scans")
    whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    write_whole(folder / LATENTS, lambda partial: save_file(whole, partial))


def _train_unet_and_text(config: PretrainMini, run: Run, device: torch.device) -> Steps[None]:
    def build() -> UNetAndText:
        tokenizer = build_tokenizer()
        models = build_unet(config.seed), build_text_encoder(tokenizer, config.seed)
        return UNetAndText(*models, tokenizer, Corpus(**load_file(run.folder / LATENTS)), config, device)

    settings = config.diffusion_steps, config.diffusion_rate, config.checkpoint_seconds
    yield from _train(run, DIFFUSION, build, *settings)


def _autoencoder(path: Path, seed: int) -> AutoencoderKL:
    """A trained autoencoder, not yet whitened."""
    vae = build_autoencoder(seed)
    vae.load_state_dict(load_file(path))
    return vae


def _whitened(folder: Path, weights: str, seed: int) -> AutoencoderKL:
    """A trained autoencoder with the whitening folded in; before its decoder's training that of `ENCODER`."""
    vae = _autoencoder(folder / weights, seed)
    fold_whitening(vae, **load_file(folder / WHITENING))
    return vae.eval()


def _trained_pipeline(config: PretrainMini, folder: Path) -> StableDiffusionPipeline:
    """All that was trained, in float32 on the CPU."""
    tokenizer = build_tokenizer()
    models = torch.nn.ModuleList([build_unet(config.seed), build_text_encoder(tokenizer, config.seed)])
    models.load_state_dict(load_file(folder / DIFFUSION))
    return pipeline(_whitened(folder, DECODER, config.seed), *models, tokenizer)


def _evaluate(
    pipe: StableDiffusionPipeline, config: PretrainMini, folder: Path, real: Tensor | None
) -> Steps[dict[str, Any]]:
    """What the card reports; the samples are written as one picture."""
    fresh, truth = _scans(folder / HELD_OUT)
    classifier = load_classifier(folder / CLASSIFIER)
    measured: dict[str, Any] = {"reconstruction": {"simulated": reconstruction(pipe.vae, fresh, pipe.device)}}
    if real is not None:
        measured["reconstruction"]["busi"] = reconstruction(pipe.vae, real, pipe.device)
    latents = encode(pipe.vae, fresh[:48], pipe.device)
    measured["prompt_gap"] = prompt_gap(pipe.unet, pipe.text_encoder, pipe.tokenizer, latents, pipe.device)
    made: dict[str, list[Tensor]] = {label: [] for label in CLASSES}
    done = 0
    for label, part in sample(pipe, config.samples, config.sampling_steps, config.guidance_scale, config.seed):
        made[label].append(part)
        done += len(part)
        yield Progress(done, config.samples * len(CLASSES), "Sampling")
    rows = {label: torch.cat(parts) for label, parts in made.items()}
    picture = grid(list(rows.values()), 10)
    write_whole(folder / SAMPLES, lambda partial: picture.save(partial, format="png"))
    right = [predicted_shares(classifier, fresh[truth == i])[i] for i in range(len(CLASSES))]
    measured["classifier_accuracy"] = round(sum(right) / len(right), 3)
    measured["predicted"] = {label: predicted_shares(classifier, row) for label, row in rows.items()}
    ours = band_powers(torch.cat(list(rows.values())).float() / 255)
    theirs = band_powers(fresh.float() / 255)
    measured["power"] = {band: round(ours[band] / theirs[band], 3) for band in ours}
    for metric, value in measured.items():
        yield Row({"metric": metric, "value": value})
    return measured
