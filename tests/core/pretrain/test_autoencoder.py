"""The autoencoder of mini: its whitening against closed forms."""

import torch

from busaug_core.pretrain import autoencoder, evaluate


def test_whitening_changes_the_latents_but_not_the_image():
    vae = autoencoder.build_autoencoder(0).eval()
    torch.nn.init.normal_(vae.quant_conv.weight[:4])
    images = torch.randint(0, 256, (8, 32, 32), dtype=torch.uint8)
    device = torch.device("cpu")
    before = evaluate.reconstruct(vae, images, device)
    with torch.no_grad():
        latents = vae.encode(autoencoder.to_input(images)).latent_dist.mean
        autoencoder.fold_whitening(vae, **autoencoder.whitening(latents))
        white = vae.encode(autoencoder.to_input(images)).latent_dist.mean
    found = autoencoder.whitening(white)
    torch.testing.assert_close(found["mean"], torch.zeros(4).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(found["covariance"], torch.eye(4).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(evaluate.reconstruct(vae, images, device), before, atol=1e-4, rtol=0)
