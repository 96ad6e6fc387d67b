"""Train the small base model `mini` on simulated ultrasound: python -m busaug_core.pretrain.train_mini

Stages, each resumable: simulate → autoencoder → decoder → reference → latents → diffusion → export.
The latents are whitened by weights folded into the autoencoder.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import diffusers
import torch
import transformers
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file, save_file

from busaug_core.base.defaults import MINI_FOLDER
from busaug_core.errors import UserError
from busaug_core.prompts import BUSI_PROMPTS
from busaug_core.simulate import write_busi

from . import autoencoder, diffusion, measures
from .autoencoder import Stage
from .export import CARD, export, pipeline
from .steps import atomically
from .text import (
    ADJECTIVES,
    CLASSES,
    build_text_encoder,
    build_tokenizer,
)


class MiniConfig(BaseModel):
    """Everything that decides what `mini` becomes; the defaults are the shipped recipe."""

    model_config = ConfigDict(extra="forbid")

    out: Path = Field(MINI_FOLDER, description="Folder of the finished model.")
    work: Path = Field(Path("mini-work"), description="Folder of data and checkpoints.")
    busi: Path | None = Field(None, description="Real BUSI, for measuring only; never trained on.")
    seed: int = Field(0, ge=0, description="Seed of everything.")
    threads: int = Field(2, ge=1, description="CPU threads.")

    phantoms: int = Field(2000, ge=3, description="Simulated scans a class.")
    held_out: int = Field(64, ge=4, description="Further scans a class, only for measuring.")

    autoencoder_steps: int = Field(4000, ge=1, description="Steps, encoder and decoder.")
    autoencoder_rate: float = Field(2e-3, gt=0, description="Peak learning rate.")
    decoder_steps: int = Field(2000, ge=1, description="Steps of the decoder alone.")
    decoder_rate: float = Field(5e-4, gt=0, description="Peak learning rate; the judge's is twice.")
    crop_batch: int = Field(4, ge=1, description="64×64 crops a step, in both.")

    styled: int = Field(300, ge=3, description="Scans encoded again in each adjective's contrast.")
    diffusion_steps: int = Field(10000, ge=1, description="Steps of UNet and text encoder.")
    diffusion_rate: float = Field(1e-3, gt=0, description="Peak rate of the UNet; the text's half.")
    diffusion_batch: int = Field(8, ge=1, description="Latents a step.")
    class_weights: tuple[float, float, float] = Field(
        (0.3, 0.4, 0.3), description="Shares of normal, benign and malignant captions."
    )
    high_noise: float = Field(1.5, gt=0, description="Above 1: more of the noisy timesteps.")

    checkpoint_every: int = Field(200, ge=1, description="Steps between checkpoints.")
    snapshot: Path | None = Field(None, description="Folder for exports while the UNet trains.")
    snapshot_every: int = Field(500, ge=1, description="Steps between those exports.")

    samples: int = Field(32, ge=2, description="Images a class for the card's numbers.")
    sampling_steps: int = Field(20, ge=2, description="DPM-Solver++ steps of those images.")
    guidance_scale: float = Field(2.5, ge=1, description="Guidance scale of those images.")
    recogniser_epochs: int = Field(2, ge=1, description="Epochs of the classifier that judges.")


STAGES = ("simulate", "autoencoder", "decoder", "reference", "latents", "diffusion", "export")


NOT_OF_WEIGHTS = ("checkpoint_every", "snapshot_every", "samples", "sampling_steps", "guidance_scale")
"""The settings that may change when a training is taken up again."""


class Training:
    """The stages as generators of plain dicts; what each leaves in `work` the next picks up."""

    def __init__(self, config: MiniConfig) -> None:
        self.config = config
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.work = config.work
        self.tokenizer = build_tokenizer()

    def run(self, stages: tuple[str, ...] = STAGES) -> Iterator[dict]:
        """All `stages` in turn; yields events with `stage`, `step`, `steps` and figures.

        Raises UserError where `work` was begun with another configuration.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        begun = self.work / "config.json"
        asked = json.dumps({k: v for k, v in self.settings.items() if k not in NOT_OF_WEIGHTS}, indent=2)
        if begun.exists() and begun.read_text() != asked:
            raise UserError(f"{begun} is of a training with other settings; name another work folder, or delete it.")
        atomically(begun, lambda p: p.write_text(asked))
        for stage in stages:
            for event in getattr(self, stage)():
                yield {"stage": stage, **event}

    @property
    def settings(self) -> dict:
        """What the card tells of the configuration."""
        return self.config.model_dump(mode="json", exclude={"out", "work", "busi", "snapshot", "threads"})

    def simulate(self) -> Iterator[dict]:
        """Scans as PNG in BUSI's layout: `work/train`, and with another seed `work/held_out`."""
        c = self.config
        for name, count, seed in (
            ("train", c.phantoms, 2 * c.seed + 1),
            ("held_out", c.held_out, 2 * c.seed + 2),
        ):
            counts = dict.fromkeys(CLASSES, count)
            for done, total in write_busi(self.work / name, counts, seed=seed, size=128, workers=c.threads):
                yield {"step": done, "steps": total}

    def scans(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and labels of `simulate`: one of each class in turn, so that any part is even."""
        images, labels = measures.read_folder(self.work / name)
        order = torch.arange(len(images)).reshape(len(CLASSES), -1).T.flatten()
        return images[order], labels[order]

    def autoencoder(self) -> Iterator[dict]:
        """`work/autoencoder.pt`: encoder and decoder by pixels and statistics."""
        c = self.config
        vae = autoencoder.build_autoencoder(c.seed)
        images, _ = self.scans("train")
        stage = Stage(
            c.autoencoder_steps, c.autoencoder_rate, c.crop_batch, 0.3, c.seed + 1,
            c.checkpoint_every,
        )  # fmt: skip
        path = self.work / "autoencoder.pt"
        for event in autoencoder.train_autoencoder(vae, images, stage, path, self.device):
            yield {**event, "steps": stage.steps}
        latents = autoencoder.encode(vae, images[:512], self.device)
        whitening = autoencoder.whitening(latents)
        atomically(self.work / "encoder.safetensors", lambda p: save_file(vae.state_dict(), p))
        atomically(self.work / "whitening.safetensors", lambda p: save_file(whitening, p))

    def trained_autoencoder(self, name: str):
        """The autoencoder of `encoder` or `decoder`, not yet whitened, from `work`."""
        path = self.work / f"{name}.safetensors"
        if not path.exists():
            raise UserError(f"{path} is missing: run the stages before it first.")
        vae = autoencoder.build_autoencoder(self.config.seed)
        vae.load_state_dict(load_file(path))
        return vae

    def vae(self, name: str = "decoder"):
        """The autoencoder with the whitening folded in; `encoder` before the decoder's stage."""
        vae = self.trained_autoencoder(name)
        autoencoder.fold_whitening(vae, **load_file(self.work / "whitening.safetensors"))
        return vae.eval()

    def decoder(self) -> Iterator[dict]:
        """`work/decoder.safetensors`: the same latents, a decoder that has texture."""
        c = self.config
        vae = self.trained_autoencoder("encoder")
        images, _ = self.scans("train")
        stage = Stage(c.decoder_steps, c.decoder_rate, c.crop_batch, 0.6, c.seed + 2, c.checkpoint_every)
        path = self.work / "decoder.pt"
        for event in autoencoder.train_decoder(vae, images, stage, path, self.device):
            yield {**event, "steps": stage.steps}
        atomically(self.work / "decoder.safetensors", lambda p: save_file(vae.state_dict(), p))

    def reference(self) -> Iterator[dict]:
        """`work/reconstruction.json`, and `work/recogniser.safetensors` that judges the samples."""
        c = self.config
        path, trained = self.work / "reconstruction.json", self.work / "recogniser.safetensors"
        if not path.exists():
            fresh, _ = self.scans("held_out")
            found = {"simulated": measures.reconstruction(self.vae(), fresh, self.device)}
            if c.busi:
                real, _ = measures.read_folder(c.busi)
                found["busi"] = measures.reconstruction(self.vae(), real, self.device)
            atomically(path, lambda p: p.write_text(json.dumps(found)))
            yield {"step": 1, "steps": 2, **found}
        if not trained.exists():
            recogniser = measures.train_recogniser(*self.scans("train"), c.recogniser_epochs, c.seed)
            atomically(trained, lambda p: save_file(recogniser.state_dict(), p))
            yield {"step": 2, "steps": 2}

    def latents(self) -> Iterator[dict]:
        """`work/latents.safetensors`: every scan, its mirror image, and the adjectives' copies."""
        path = self.work / "latents.safetensors"
        if path.exists():
            return
        images, labels = self.scans("train")
        total = len(images) + len(ADJECTIVES) * min(self.config.styled, len(images))
        parts, done = [], 0
        for part in diffusion.latent_corpus(self.vae("encoder"), images, labels, self.config.styled, self.device):
            parts.append(part)
            done += len(part["labels"]) // 2
            yield {"step": done, "steps": total}
        whole = {k: torch.cat([p[k] for p in parts]) for k in parts[0]}
        atomically(path, lambda p: save_file(whole, p))

    def models(self):
        """UNet and text encoder, untrained."""
        seed = self.config.seed
        return diffusion.build_unet(seed), build_text_encoder(self.tokenizer, seed)

    def diffusion(self) -> Iterator[dict]:
        """`work/diffusion.safetensors`: the averaged UNet and text encoder."""
        c = self.config
        unet, text_encoder = self.models()
        corpus = diffusion.Corpus(**load_file(self.work / "latents.safetensors"))
        stage = Stage(
            c.diffusion_steps, c.diffusion_rate, c.diffusion_batch, 0.5, c.seed + 3,
            c.checkpoint_every,
        )  # fmt: skip
        average = None
        for event in diffusion.train_diffusion(
            unet, text_encoder, self.tokenizer, corpus, stage, c.class_weights, c.high_noise,
            self.work / "diffusion.pt", self.device,
        ):  # fmt: skip
            average = event.pop("average")
            step = event["step"]
            if c.snapshot and step % c.snapshot_every == 0 and step < stage.steps:
                event["prompt_gap"] = self.take_snapshot(average, corpus, step)
            yield {**event, "steps": stage.steps}
        if average is None:  # a finished run, started again
            saved = torch.load(self.work / "diffusion.pt", map_location="cpu", weights_only=True)
            average = torch.nn.ModuleList([unet, text_encoder])
            weights = saved["average"]
            average.load_state_dict({k.removeprefix("module."): v for k, v in weights.items() if k != "n_averaged"})
        weights = {k: v.cpu().contiguous() for k, v in average.state_dict().items()}
        atomically(self.work / "diffusion.safetensors", lambda p: save_file(weights, p))

    def take_snapshot(self, average, corpus, step: int) -> dict[str, float]:
        """Export what there is to `config.snapshot`; returns the prompt gap."""
        unet, text_encoder = average
        best = "decoder" if (self.work / "decoder.safetensors").exists() else "encoder"
        card = f"Step {step} of {self.config.diffusion_steps}: unfinished, for trying out only.\n"
        vae = self.vae(best)
        export(self.config.snapshot, vae, unet, text_encoder, self.tokenizer, card)
        latents = corpus.latents[:24].float()
        return measures.prompt_gap(unet, text_encoder, self.tokenizer, latents, self.device)

    def export(self) -> Iterator[dict]:
        """Measure, write the card and `config.out`, and a grid of samples beside the work."""
        c = self.config
        unet, text_encoder = self.models()
        weights = load_file(self.work / "diffusion.safetensors")
        torch.nn.ModuleList([unet, text_encoder]).load_state_dict(weights)
        vae = self.vae()
        yield {"step": 0, "steps": 1, "measuring": True}
        measured = self.measure(pipeline(vae, unet, text_encoder, self.tokenizer).to(self.device))
        count = sum(p.numel() for m in (vae, unet, text_encoder) for p in m.parameters())
        card = CARD.format(
            name=c.out.name,
            parameters=f"{count / 1e6:.2f} million",
            prompt=BUSI_PROMPTS["benign"],
            steps=c.sampling_steps,
            guidance_scale=c.guidance_scale,
            data=f"{3 * c.phantoms} simulated scans (a third each normal, benign and malignant) of"
            " `busaug_core.simulate`, and their mirror images.",
            busi_note="; real BUSI was only measured on" if c.busi else "",
            config=json.dumps(self.settings, indent=2),
            measured=json.dumps(measured, indent=2),
            recogniser=measured["recogniser_held_out"],
            adjectives=", ".join(ADJECTIVES),
        )
        export(c.out, vae, unet, text_encoder, self.tokenizer, card)
        yield {"step": 1, "steps": 1, **measured}

    def measure(self, pipe) -> dict:
        """The card's figures; the samples' grid goes to `work/samples.png`."""
        c = self.config
        fresh, truth = self.scans("held_out")
        recogniser = measures.Recogniser().eval()
        recogniser.load_state_dict(load_file(self.work / "recogniser.safetensors"))
        right = [measures.recognised(recogniser, fresh[truth == i])[i] for i in range(len(CLASSES))]
        latents = autoencoder.encode(pipe.vae, fresh[:48], self.device)
        made: dict[str, list[torch.Tensor]] = {label: [] for label in CLASSES}
        for label, part in measures.sample(pipe, c.samples, c.sampling_steps, c.guidance_scale, c.seed):
            made[label].append(part)
        rows = {label: torch.cat(parts) for label, parts in made.items()}
        measures.grid(list(rows.values()), 10).save(self.work / "samples.png")
        ours = measures.band_powers(torch.cat(list(rows.values())).float() / 255)
        theirs = measures.band_powers(fresh.float() / 255)
        return {
            "reconstruction": json.loads((self.work / "reconstruction.json").read_text()),
            "prompt_gap": measures.prompt_gap(pipe.unet, pipe.text_encoder, pipe.tokenizer, latents, self.device),
            "recogniser_held_out": round(sum(right) / len(right), 3),
            "recognised": {label: measures.recognised(recogniser, row) for label, row in rows.items()},
            "power": {band: round(ours[band] / theirs[band], 3) for band in ours},
        }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", default=",".join(STAGES), help="Some of them, with commas.")
    for name, field in MiniConfig.model_fields.items():
        plural = {"nargs": 3} if name == "class_weights" else {}
        help_ = f"{field.description} Default {field.default}."
        parser.add_argument(f"--{name}", default=argparse.SUPPRESS, help=help_, **plural)
    given = vars(parser.parse_args(arguments))
    stages = tuple(given.pop("stages").split(","))
    if unknown := set(stages) - set(STAGES):
        raise SystemExit(f"--stages: {', '.join(unknown)} is not one of {', '.join(STAGES)}")
    config = MiniConfig(**given)
    torch.set_num_threads(config.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    diffusers.logging.set_verbosity_error()
    diffusers.logging.disable_progress_bar()
    started = time.monotonic()
    last, shown = None, 0.0
    for event in Training(config).run(stages):
        now = time.monotonic() - started
        if event["stage"] != last or now - shown > 15 or "prompt_gap" in event:
            print(f"{now:7.0f} s  {_line(event)}", flush=True)
            last, shown = event["stage"], now
    print(f"{time.monotonic() - started:7.0f} s  done: {config.out}", flush=True)


def _line(event: dict) -> str:
    figures = {k: v for k, v in event.items() if k not in ("stage", "step", "steps")}
    text = "  ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items())
    return f"{event['stage']:<12} {event['step']}/{event['steps']}  {text}"


if __name__ == "__main__":
    main()
