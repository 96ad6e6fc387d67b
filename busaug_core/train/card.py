"""The card beside what a training has made: `README.md`, as the Hub names it."""

import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from busaug_core.base.components import COMPONENTS, UNET, Component, component_of, has_tuned_unet
from busaug_core.base.defaults import MINI, MINI_NOISIEST, defaults_of, scales_in_words, spaced_timesteps
from busaug_core.base.licence import RESEARCH_USE, licence_of
from busaug_core.base.tuned import root_of
from busaug_core.files import weights_hash, write_whole
from busaug_core.jobs.run import Run
from busaug_core.prompts import MODALITY
from busaug_core.records import SPLITS, Record, count_labels
from busaug_core.train.config import BaseTraining
from busaug_core.train.learned_images import LEFT_OUT, remarks_on_left_out
from busaug_core.words import counted

CARD = "README.md"
SHIPPED = "busaug_core/base/mini"
"""Where `mini` lies in a clone of the project."""


def write_card(
    run: Run, config: BaseTraining, result: dict[str, Any], records: list[Record], compared: int, prompt: str
) -> None:
    """Write the card into the run's folder.

    Args:
        run, config: the training's
        result: what it returns
        records: what was learned from
        compared: how many held-out images the loss was compared on
        prompt: one that it has learned
    """
    weights = Path(result["weights"])
    component = component_of(weights.name)
    base, tuned = root_of(run, config.base_model)
    licence, notice = licence_of(base)
    kind = component.title if component else weights.name
    modality = getattr(config, "modality", MODALITY)
    tags = ["diffusers", "stable-diffusion", modality, "synthetic", "research-only"]
    front = {"library_name": "diffusers", "license": licence, "base_model": _name(base), "tags": tags}
    subject = "breast ultrasound" if modality == MODALITY else modality
    hashes = weights_hash(weights)
    known = {name: value for name, value in run.environment.items() if name.endswith("_weights")}
    settings = config.model_dump(mode="json", exclude={"run_key", "checkpoint_seconds"})
    named = {name: _name(settings[name]) for name in ("base_model", *COMPONENTS) if settings.get(name)}
    left_out = result.get(LEFT_OUT, [])
    naming_files = remarks_on_left_out(left_out)
    remarks = [remark for remark in result["remarks"] if remark not in naming_files]
    gone = counted(len(left_out), "image was", "images were")
    without = f" {gone} left out, since another dataset holds out what they show." if left_out else ""
    others = counted(compared, "held-out image was", "held-out images were")
    with_others = f" {others} compared with, and nothing was learned from them." if compared else ""
    parts = [
        "---",
        # JSON is YAML.
        *(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in front.items()),
        "---",
        f"# {kind} of {subject}: run {run.key}",
        "",
        RESEARCH_USE,
        "",
        notice,
        "",
        "## How to load it",
        "With plain diffusers, in the folder of this card"
        + (f" (`{MINI}` lies in a clone of BUSAug as `{SHIPPED}`; write where that is):" if base == MINI else ":"),
        "",
        "```python",
        *_usage(run, config, base, tuned, component, weights, prompt),
        "```",
        "",
        "## Data",
        f"Of {_datasets(run, config)} {_data(records)} were learned from, by class "
        f"{_told(count_labels(records))}. The run was given {_splits(run.records)}."
        f"{with_others}{without}",
        "",
        "## What it does",
        *_figures(result),
        *(["", "## Remarks", *(f"- {remark}" for remark in remarks)] if remarks else []),
        "",
        "## Recipe",
        f"`{run.job}` of BUSAug {run.environment['versions']['busaug']} with these settings:",
        "",
        *_block({**settings, **named}),
        "",
        "## Weights",
        "SHA-256 of what was made, and of what it was made on:",
        "",
        *_block({"made": hashes, **known}),
    ]
    write_whole(run.folder / CARD, lambda partial: partial.write_text("\n".join(parts) + "\n", encoding="utf-8"))


def _usage(
    run: Run,
    config: BaseTraining,
    base: str,
    tuned: Path | None,
    component: Component | None,
    weights: Path,
    prompt: str,
) -> list[str]:
    """Python that makes an image, in the folder of the card."""
    place = SHIPPED if base == MINI else base
    if Path(place).is_absolute():
        place = os.path.relpath(place, run.folder)
    begin = "from_single_file" if Path(base).expanduser().is_file() else "from_pretrained"
    lines = [
        "from diffusers import StableDiffusionPipeline",
        f"pipe = StableDiffusionPipeline.{begin}({json.dumps(place, ensure_ascii=False)}, safety_checker=None)",
    ]
    others = [(COMPONENTS[name], used.path) for name, used in run.used.items() if name in COMPONENTS]
    stack = [*([(UNET, tuned)] if tuned else []), *others, *([(component, weights)] if component else [])]
    for part, path in stack:
        place = Path(os.path.relpath(path, run.folder))
        lines += part.in_diffusers.format(path=place, folder=place.parent, name=place.name).splitlines()
    more = ""
    if component and component.takes_mask:
        lines += ["from PIL import Image", 'mask = Image.open("mask.png").convert("RGB")  # white within the lesion']
        more = ", image=mask"
    defaults = defaults_of(config.base_model, run.folder.parent)
    is_tuned = has_tuned_unet(run.used, weights.name)
    sampling = defaults.sampling_of(is_tuned)
    steps = f"num_inference_steps={sampling.steps}"
    if sampling.spacing > 1:
        steps = f"timesteps={spaced_timesteps(sampling.steps, sampling.spacing, MINI_NOISIEST)}"
    options = f"{steps}, guidance_scale={sampling.guidance_scale}"
    if sampling.guidance_end < 1:
        lines.append(f"# BUSAug has this guidance_scale in the first {sampling.guidance_end:.0%} of the steps alone,")
        widths = sampling.domain_guidance_width, sampling.domain_guidance_widths
        scale = scales_in_words(sampling.domain_guidance, *widths)
        rest = f"domain_guidance of {scale}, which diffusers lacks" if sampling.domain_guidance > 1 else "none"
        lines.append(f"# and in the others {rest}.")
    size = f"height={config.resolution}, width={config.resolution}"
    return [*lines, f"image = pipe({json.dumps(prompt, ensure_ascii=False)}{more}, {size}, {options}).images[0]"]


def _figures(result: dict[str, Any]) -> list[str]:
    """What was measured, a line a figure."""
    lines = [
        f"- {result['trained_parameters']:,} numbers were trained, {100 * result['share_of_unet']:.3g} % as many as "
        "the base's UNet has.",
        f"- Mean loss of the last tenth of the steps: {result['loss']:.4g}.",
    ]
    if "reconstruction" in result:
        seen = result["reconstruction"]
        before, after = seen["before"], seen["after"]
        lines.append(
            f"- {seen['of']} out of the autoencoder: PSNR {before['psnr']:.1f} dB before and {after['psnr']:.1f} "
            f"after, their power above a quarter of a cycle a pixel {before['fine_power']:.2f} and "
            f"{after['fine_power']:.2f} of what went in; loaded from its file it changes them by "
            f"{result['read_back']['change']:.2g} gray levels in the mean."
        )
    elif "read_back" in result:
        found = result["read_back"]
        lines.append(
            f"- Loaded from its file onto the base, it changes the prediction at fixed noise by "
            f"{100 * found['change']:.2g} % of its size, and is {100 * found['difference']:.2g} % from the training's."
        )
    if rows := result.get("validation"):
        row = next((row for row in rows if row["step"] == result["best_step"]), rows[-1])
        lines.append(
            f"- Loss at fixed noise after {row['step']} steps, the least on held-out images: {row['held out']:.4g} on "
            f"these, {row['training']:.4g} on training images."
        )
    if area := result.get("membership"):
        lines.append(
            "- Membership: how well the loss tells training from held-out images, as the area under the ROC curve (0.5 "
            "is not at all; well below it, the held-out images are merely the easier ones): "
            f"{area['value']:.3f} (95 % interval {area['low']:.3f} to {area['high']:.3f})."
        )
    else:
        lines.append("- Membership was not measured: nothing says here how much of single images the weights hold.")
    return lines


def _datasets(run: Run, config: BaseTraining) -> str:
    names = [run.folder.parents[1].name, *(config.datasets or ())]
    return f"the {'datasets' if len(names) > 1 else 'dataset'} {', '.join(names)}"


def _data(records: list[Record]) -> str:
    """How many images from where."""
    sources = Counter(r.source.set if r.source and r.source.set else r.origin for r in records)
    return f"{counted(len(records), 'image')} ({_told(sources)})"


def _splits(records: Iterable[Record]) -> str:
    real = [r for r in records if not r.synthetic]
    counts = {split: sum(split in r.tags for r in real) for split in SPLITS}
    return f"{counted(len(real), 'image')} ({_told({name: n for name, n in counts.items() if n})})"


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in sorted(counts.items()))


def _name(base: str) -> str:
    """A Hub id or `mini`; of a path its last part, which tells nothing of the machine."""
    return Path(base).name if Path(base).expanduser().exists() else base


def _block(document: dict[str, Any]) -> list[str]:
    return ["```json", json.dumps(document, indent=2, ensure_ascii=False), "```"]
