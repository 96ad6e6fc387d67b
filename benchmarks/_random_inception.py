"""Inception weights in pytorch-fid's layout, but random, for timing and testing where the published ones are not."""

from pathlib import Path
from unittest.mock import patch

import torch
from pytorch_fid import inception


def write_random_inception(path: Path) -> None:
    """Write the state of a network with weights of seed 0."""
    torch.manual_seed(0)
    # pytorch-fid's constructor insists on its download.
    without_download = patch.object(inception, "load_state_dict_from_url", lambda *_, **__: {})
    with without_download, patch.object(torch.nn.Module, "load_state_dict", lambda *_: None):
        network = inception.fid_inception_v3()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    torch.save(network.state_dict(), path)
