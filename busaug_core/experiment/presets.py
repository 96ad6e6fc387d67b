"""Presets of experiments: what is run, and at which sizes."""

from typing import Any

from busaug_core.base.defaults import STABLE_DIFFUSION
from busaug_core.generate.recipes import IN_TURN, RECIPES

FOUR = ["sd", "sd_img2img", "sd_ti", "sd_ti_img2img"]
"""The variants of the hybrid-diffusion paper."""
OF_REAL_SCANS: dict[str, dict[str, Any]] = {
    "finetune_decoder": dict(steps=500),
    "train_lora": dict(steps=240, batch_size=8),
    "train_textual_inversion": dict(steps=100, batch_size=8, membership=False),
    "finetune_unet": dict(steps=2000, batch_size=8),
    "train_controlnet": dict(steps=600, batch_size=8),
    "generate": dict(batch_size=16, steps=8),
}
"""What suits real scans, and a computer without a GPU."""
BREAST = {c: f"ultrasound image of a {c} breast" for c in ("benign", "malignant", "normal")}
"""The ControlNet paper's prompts."""
TUMOR = {
    "benign": "ultrasound image of benign tumor in the breast",
    "malignant": "ultrasound image of malignant tumor in the breast",
    "normal": "ultrasound image of no tumor in the breast",
}
"""MEDDAP's prompts, before which an adjective may stand."""
WORDINGS = ["sd", *(slug for slug, recipe in RECIPES.items() if recipe.adjective not in (None, IN_TURN))]
"""MEDDAP's variants: without an adjective, and with one each."""
PAPERS: dict[str, dict[str, Any]] = {
    # Hybrid diffusion augmentation of BUSI: five arms, of which that of real images alone is always there.
    "hybrid": dict(
        base_model=STABLE_DIFFUSION,
        decoder="base",
        seeds=3,
        arms=FOUR,
        settings={
            "train_lora": dict(preset="hybrid"),
            "train_textual_inversion": dict(preset="hybrid"),
            "generate": dict(preset="hybrid"),
            "train_classifier": dict(preset="hybrid"),
        },
    ),
    # MEDDAP: a small LoRA for 100 epochs of four fifths of BUSI's 759 scans of clear class; ten wordings in three
    # ratios, of which the best is chosen without the images that it is tested on.
    "meddap": dict(
        base_model="CompVis/stable-diffusion-v1-4",
        decoder="base",
        folds=5,
        seeds=3,
        arms=["best", "sd_adj@50%", "sd_adj@100%", "sd_adj@200%"],
        candidates=[f"{slug}@{share}%" for slug in WORDINGS for share in (50, 100, 200)],
        settings={
            "train_lora": dict(preset="meddap", steps=60_700, prompts=TUMOR),
            "generate": dict(resolution=224, prompts=TUMOR),
            "train_classifier": dict(preset="meddap"),
        },
    ),
    # Latent diffusion with ControlNet: the UNet as a whole, then masks on it; real images, these and both, these alone.
    "controlnet-paper": dict(
        base_model=STABLE_DIFFUSION,
        decoder="base",
        seeds=3,
        arms=["ft", "ft_mask", "ft_mask@100%", "ft_mask@100%+alone"],
        settings={
            "finetune_unet": dict(prompts=BREAST),
            "train_controlnet": dict(prompts=BREAST),
            "generate": dict(samples_per_mask=4, prompts=BREAST),
            "train_classifier": dict(preset="controlnet-paper"),
        },
    ),
}
"""What the three papers did, at full size; for a GPU."""
PRESETS: dict[str, dict[str, Any]] = {
    # Simulated scans, which mini knows already, in eight minutes on two cores.
    "demo": dict(
        settings={
            "load_busi": dict(images=110, image_size=128),
            "train_lora": dict(preset="demo"),
            "train_textual_inversion": dict(preset="demo"),
            "finetune_unet": dict(steps=150, batch_size=8, membership=False),
            "train_controlnet": dict(steps=150, batch_size=8, membership=False),
            "generate": dict(preset="demo"),
        },
        decoder="base",
        arms=FOUR,
    ),
    # Real scans, in about half an hour on two cores with mini, which has to learn their look.
    "half_hour": dict(settings=OF_REAL_SCANS, decoder="tuned", arms=FOUR),
    # The same in folds and with more arms, in some three hours, so that smaller gains can be shown.
    "laptop": dict(
        # In as many sampling steps as suit each variant.
        settings=OF_REAL_SCANS | {"generate": {}},
        decoder="tuned",
        folds=3,
        seeds=3,
        learning_curve=True,
        networks=dict(arch="efficientnet_lite0", pretrained=True, epochs=6, learning_rate=3e-4, resolution=128),
        arms=[
            *FOUR,
            "ft",
            "ft_mask",
            *(f"best{how}" for how in ("@50%", "@100%", "+filtered", "+confidence")),
            "trivial",
            "best+trivial",
        ],
    ),
    # The same stages at sizes that show that they work, and nothing else.
    "minute": dict(
        settings={
            "load_busi": dict(images=30, image_size=64),
            "train_lora": dict(steps=4, batch_size=4, resolution=64, membership=False),
            "train_textual_inversion": dict(steps=4, batch_size=4, resolution=64, membership=False),
            "finetune_unet": dict(steps=4, batch_size=4, resolution=64, membership=False),
            "train_controlnet": dict(steps=4, batch_size=4, resolution=64, membership=False),
            "generate": dict(steps=4, batch_size=16, resolution=64),
        },
        decoder="base",
        arms=FOUR,
    ),
    **PAPERS,
}
