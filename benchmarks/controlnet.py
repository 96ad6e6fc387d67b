"""Do generated lesions lie where their masks say? Dice of given masks against a judge's, on held-out masks.

    python benchmarks/controlnet.py                # simulated scans, `mini`
    python benchmarks/controlnet.py --busi /path/to/Dataset_BUSI_with_GT

A ControlNet is trained on the training split's masks, on the untuned base for simulated scans and on a LoRA for BUSI;
images are made from the validation split's masks. The judge is a small U-Net that took no part: it is trained on
other scans, of another seed where they are simulated, and on the training split of BUSI otherwise. Beside the Dice of
the images stand the judge's own on real held-out scans, and chance: the same images against the masks of others, and
images of the same seeds without the ControlNet. Runs are kept under $BUSAUG_HOME and resumed.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from _runs import run
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from busaug_core.images import load_batch, resize_mask
from busaug_core.jobs.roles import of_split
from busaug_core.jobs.runs import run_of
from busaug_core.measure.grids import mask_grid, variant_grid
from busaug_core.records import Record

SIDE = 128


class Judge(nn.Module):
    """A U-Net of three levels: logits N×1×S×S of the lesion from images N×1×S×S in [0, 1]."""

    def __init__(self, width: int = 16):
        super().__init__()
        sizes = [width, 2 * width, 4 * width]
        self.down = nn.ModuleList(_block(a, b) for a, b in zip([1, *sizes], [*sizes, 4 * width], strict=False))
        ups = [(8 * width, 2 * width), (4 * width, width), (2 * width, width)]
        self.up = nn.ModuleList(_block(a, b) for a, b in ups)
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for i, block in enumerate(self.down):
            x = block(x)
            if i < len(self.down) - 1:
                kept.append(x)
                x = nn.functional.max_pool2d(x, 2)
        for block, skip in zip(self.up, reversed(kept), strict=True):
            x = block(torch.cat([interpolate(x, scale_factor=2.0), skip], 1))
        return self.out(x)


def _block(a: int, b: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(a, b, 3, padding=1), nn.GroupNorm(4, b), nn.ReLU()),
        *(nn.Conv2d(b, b, 3, padding=1), nn.GroupNorm(4, b), nn.ReLU()),
    )


def arrays(records: list[Record]) -> tuple[Tensor, Tensor]:
    """Images in [0, 1] and masks, float32 N×1×S×S each."""
    images = torch.from_numpy(load_batch([r.path for r in records], SIDE))[:, None] / 255
    masks = np.stack([resize_mask(r.lesion_mask(), SIDE) for r in records])
    return images, torch.from_numpy(masks)[:, None].float()


def train_judge(records: list[Record], steps: int, seed: int = 0) -> Judge:
    """A judge of these images, by cross-entropy and Dice loss."""
    torch.manual_seed(seed)
    images, masks = arrays(records)
    judge, rng = Judge(), np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(judge.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(steps):
        chosen = torch.from_numpy(rng.choice(len(images), 16, replace=False))
        x, y = images[chosen], masks[chosen]
        if rng.random() < 0.5:
            x, y = x.flip(-1), y.flip(-1)
        x = (x * rng.uniform(0.7, 1.3) + rng.uniform(-0.1, 0.1)).clamp(0, 1)
        logits = judge(x)
        p = logits.sigmoid()
        overlap = (2 * (p * y).sum((1, 2, 3)) + 1) / (p.sum((1, 2, 3)) + y.sum((1, 2, 3)) + 1)
        loss = binary_cross_entropy_with_logits(logits, y) + 1 - overlap.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            print(f"  judge {step}/{steps} {loss.item():.3f}", flush=True)
    return judge.eval()


@torch.no_grad()
def seen(judge: Judge, records: list[Record]) -> np.ndarray:
    """What the judge takes for lesions, bool N×S×S."""
    images = arrays(records)[0]
    return torch.cat([judge(x) > 0 for x in images.split(32)])[:, 0].numpy()


def dice(found: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The Dice coefficient of each pair of masks, float N."""
    both, sizes = (found & given).sum((1, 2)), found.sum((1, 2)) + given.sum((1, 2))
    return 2 * both / np.maximum(sizes, 1)


def main() -> None:
    """Train, generate, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busi", type=Path)
    parser.add_argument("--steps", type=int, default=600, help="of the ControlNet")
    parser.add_argument("--lora_steps", type=int, default=600)
    parser.add_argument("--judge_steps", type=int, default=800)
    parser.add_argument("--images", type=int, default=400, help="simulated scans")
    parser.add_argument("--seed", type=int, default=51)
    options = parser.parse_args()
    home = f"benchmark-controlnet-{'busi' if options.busi else 'simulated'}"
    start = time.perf_counter()
    if options.busi:
        run("load_busi", [], home, run_key="load", source=str(options.busi), dataset_name=home)
    else:
        simulated = dict(source="simulated", image_size=SIDE)
        run("load_busi", [], home, run_key="load", dataset_name=home, images=options.images, **simulated)
        run("load_busi", [], home, run_key="judge", dataset_name=home, images=900, seed=1, **simulated)
    real = run_of(home, "load").products
    training, held_out = of_split(real, "train"), [r for r in of_split(real, "val") if r.lesions]
    tuned, variants = {}, ["base", "base_mask"]
    if options.busi:
        run("train_lora", real, home, run_key="lora", steps=options.lora_steps)
        tuned, variants = {"lora": "lora"}, ["sd", "sd_mask"]
    key = f"controlnet_{options.steps}_{options.seed}"
    run("train_controlnet", real, home, run_key=key, steps=options.steps, seed=options.seed, **tuned)
    counts = {label: sum(r.label == label for r in held_out) for label in sorted({r.label for r in held_out})}
    values = dict(variants=variants, mode="evaluation", masks="val", counts=counts, controlnet=key, **tuned)
    run("generate", real, home, run_key=f"images_{key}", **values)
    made = run_of(home, f"images_{key}").products
    judge = train_judge(training if options.busi else run_of(home, "judge").products, options.judge_steps)
    steered = [r for r in made if r.variant == variants[1]]
    plain = [r for r in made if r.variant == variants[0]]
    given = arrays(steered)[1][:, 0].bool().numpy()
    found = seen(judge, steered)
    rows = {
        "real held-out scans": dice(seen(judge, held_out), arrays(held_out)[1][:, 0].bool().numpy()),
        variants[1]: dice(found, given),
        "chance: the masks of others": dice(found, np.roll(given, 1, 0)),
        "chance: without the ControlNet": dice(seen(judge, plain), given),
    }
    labels = np.array([r.label for r in steered])
    print(f"\n{len(steered)} images of held-out masks, {options.steps} steps, {time.perf_counter() - start:.0f} s")
    for name, values in rows.items():
        by_class = ""
        if name == variants[1]:
            by_class = "  " + ", ".join(f"{c} {values[labels == c].mean():.2f}" for c in counts)
        print(f"{name:32} Dice {values.mean():.3f} ± {1.96 * values.std() / len(values) ** 0.5:.3f}{by_class}")
    folder = run_of(home, f"images_{key}").folder
    variant_grid(held_out + made, folder / "grid.png")
    mask_grid(real + made, folder / "masks.png")
    print(folder)


if __name__ == "__main__":
    main()
