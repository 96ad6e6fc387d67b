"""What the autoencoder's trainings minimise asks for texture, not for pixels."""

import pytest
import torch

from busaug_core.train import image_losses as losses


@pytest.mark.parametrize("loss", [losses.statistic_loss, losses.spectral_loss])
def test_texture_losses_ask_for_the_same_texture_not_the_same_pixels(loss):
    noise, other = torch.randn(2, 4, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.3
    assert loss(noise, noise) == 0
    assert loss(other, noise) < 0.5 * loss(losses.low_pass(noise), noise)
