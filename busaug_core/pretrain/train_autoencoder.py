"""How the autoencoder of mini is trained, in two stages.

First encoder and decoder together, by pixels, gradients and local statistics; then the decoder alone, as
`finetune_decoder` trains it.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from busaug_core.files import write_whole
from busaug_core.train.decoder import DecoderAlone, OnCrops
from busaug_core.train.image_losses import decorrelation_loss, gradient_loss, statistic_loss

ENCODER, DECODER = "encoder.safetensors", "decoder.safetensors"
"""The whole autoencoder after either stage, not yet whitened."""


class WholeAutoencoder(OnCrops):
    """Encoder and decoder together."""

    message = "Training the autoencoder"
    hold = 0.3

    def parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.vae.named_parameters())

    def optimizers(self, learning_rate: float) -> list[torch.optim.Optimizer]:
        return [torch.optim.AdamW(self.vae.parameters(), learning_rate, weight_decay=0.01, fused=True)]

    def loss(self, batch: tuple[int, Tensor]) -> Tensor:
        _, target = batch
        with self.autocast():
            posterior = self.vae.encode(target.expand(-1, 3, -1, -1)).latent_dist
            output = self.vae.decode(posterior.sample()).sample
        output, mean = output.float(), posterior.mean.float()
        target = target.expand_as(output)
        pixel = F.l1_loss(output, target)
        statistic = statistic_loss(output, target)
        self.values = {"pixel": pixel.item(), "statistic": statistic.item()}
        return (
            pixel
            + 0.5 * gradient_loss(output, target)
            + 0.1 * statistic
            + 0.05 * decorrelation_loss(mean)
            + 1e-6 * posterior.kl().float().mean()
        )

    def save(self, folder: Path) -> None:
        write_whole(folder / ENCODER, lambda partial: save_file(self.vae.state_dict(), partial))


class MiniDecoder(DecoderAlone):
    """The second stage, whose weights are whitened later."""

    def save(self, folder: Path) -> None:
        self.keep_average()
        write_whole(folder / DECODER, lambda partial: save_file(self.vae.state_dict(), partial))
