"""What the card reports of mini, against closed forms."""

import pytest
import torch

from busaug_core.errors import UserError
from busaug_core.pretrain import diffusion, evaluate, export, text


def test_band_powers_find_a_grating_in_its_band():
    x = torch.arange(128.0)
    for cycles, band in ((0.2, ".125-.25"), (0.4, ">.25")):
        powers = evaluate.band_powers((0.5 + 0.4 * torch.sin(2 * torch.pi * cycles * x)).expand(1, 128, 128))
        assert powers[band] > 0.999 * sum(powers.values())


def test_the_prompt_gap_is_zero_for_a_unet_that_ignores_the_text(tokenizer):
    unet, encoder = diffusion.build_unet(0), text.build_text_encoder(tokenizer, 0)
    latents = torch.randn(2, 4, 16, 16)
    gap = evaluate.prompt_gap(unet, encoder, tokenizer, latents, torch.device("cpu"))
    assert all(value > 0 for value in gap.values())
    for name, weight in unet.named_parameters():
        if "attn2.to_v" in name:
            torch.nn.init.zeros_(weight)
    gap = evaluate.prompt_gap(unet, encoder, tokenizer, latents, torch.device("cpu"))
    assert all(value == 0 for value in gap.values())


def test_the_card_template_has_no_field_left_open():
    assert "{" not in export.CARD.format_map(_Anything()).replace("{json", "")


class _Anything(dict):
    def __missing__(self, key):
        return "x"


def test_a_folder_without_images_of_a_class_is_refused(tmp_path):
    with pytest.raises(UserError, match="needs the folders normal, benign, malignant"):
        evaluate.read_folder(tmp_path)
