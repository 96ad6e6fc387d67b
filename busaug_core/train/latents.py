"""Images as the autoencoder sees them, computed once for all trainings of a dataset."""

import hashlib
import json

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import Tensor

from busaug_core.base.autoencoder import as_input
from busaug_core.files import content_hash
from busaug_core.images import PREPROCESSING, load_gray
from busaug_core.jobs.cache import RowCache
from busaug_core.jobs.events import Steps
from busaug_core.jobs.processes import Team
from busaug_core.jobs.run import Run
from busaug_core.parallel import in_order

ENCODE_BATCH = 8
FOLDER = "latents"
"""Beside the dataset's runs; what lies in it shows the images, and may be deleted at any time.

A training that is taken up again afterwards may differ in the last bits, since images are encoded by batches.
"""
LIMIT = 4 * 2**30
"""Most bytes of it: 16,000 images at 512 px with Stable Diffusion's autoencoder, 64,000 at 128 px with mini's."""


def encode_images(pipe: StableDiffusionPipeline, paths: list[str], size: int, run: Run) -> Steps[Tensor]:
    """Pass every image and its mirror image through the autoencoder, or find what an earlier training has kept.

    The processes of a launcher share the work. Returns the posterior's moments, float32 N × 2 (as is, mirrored) × 2C ×
    h × w, on the CPU. Raises UserError where an image cannot be read.
    """

    def compute(images: list[np.ndarray]) -> np.ndarray:
        given = as_input(pipe, np.stack(images))
        both = torch.stack([given, given.flip(-1)], 1).flatten(0, 1)
        with torch.no_grad():
            parameters = pipe.vae.encode(both).latent_dist.parameters.float().cpu()
        return parameters.unflatten(0, (-1, 2)).contiguous().numpy()

    how = f"{PREPROCESSING}, {size} px, {hash_of(pipe.vae)} on {pipe.vae.device.type} by torch {torch.__version__}"
    folder = run.folder.parent.parent / FOLDER / hashlib.sha256(how.encode()).hexdigest()[:16]
    cache, team = RowCache(folder, "moments", LIMIT), Team()
    hashes = list(in_order(content_hash, paths))
    files = dict(zip(hashes, paths, strict=True))
    settings = (lambda path: load_gray(path, size), compute, ENCODE_BATCH, "Encoding images")
    if team.has_several:
        yield from cache.complete({h: files[h] for h in team.share(list(files))}, *settings)
        team.meet()
        cache.refresh()
    found = yield from cache.complete(files, *settings)
    return torch.from_numpy(np.stack([found[h] for h in hashes]))


def hash_of(network: AutoencoderKL) -> str:
    """SHA-256 of a network's configuration, and its weights in their dtype."""
    made_of = {name: value for name, value in network.config.items() if not name.startswith("_")}
    digest = hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode())
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tensor.dtype}".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
