"""A base that is not what it should be."""

import json
import os
import shutil

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
PAGE = b"<!DOCTYPE html><html><body>Sign in</body></html>"
UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


def linked(base, folder):
    """A copy of a base whose files are links, so that they must be replaced and not written to."""
    return shutil.copytree(base, folder, copy_function=os.link)


def put(path, content):
    """Replace a file by bytes, or by JSON with other values."""
    if isinstance(content, dict):
        content = json.dumps({**json.loads(path.read_text()), **content}).encode()
    path.unlink(missing_ok=True)
    path.write_bytes(content)
