"""What a training has saved."""

from pathlib import Path

from safetensors.torch import load_file


def weights(result):
    """The tensors that a training has made, by name, of its file or of its network's folder."""
    made = Path(result["weights"])
    return load_file(made / "diffusion_pytorch_model.safetensors" if made.is_dir() else made)
