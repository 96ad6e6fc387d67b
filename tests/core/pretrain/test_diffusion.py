"""What UNet and text encoder of mini are trained on."""

import torch

from busaug_core.pretrain import diffusion, text
from busaug_core.prompts import BUSI_PROMPTS


def test_captions_name_the_class_and_only_adjectives_that_were_applied():
    count = 3 * len(diffusion.STYLES)
    labels = torch.arange(3).repeat(len(diffusion.STYLES))
    styles = torch.arange(len(diffusion.STYLES)).repeat_interleave(3)
    marks = (labels * 10 + styles).float().view(count, 1, 1, 1).expand(-1, 4, 2, 2)
    latents, captions = diffusion.Corpus(marks, labels, styles).batch(400, 0, [0.3, 0.4, 0.3])
    for mark, caption in zip(latents[:, 0, 0, 0].int().tolist(), captions, strict=True):
        label, style = text.CLASSES[mark // 10], diffusion.STYLES[mark % 10]
        assert caption == "" or label in caption or (label == "normal" and "no tumor" in caption)
        assert caption.startswith(style)
    assert 0.05 < captions.count("") / 400 < 0.15
    assert 0.63 < sum(c in BUSI_PROMPTS.values() for c in captions) / 400 < 0.77
