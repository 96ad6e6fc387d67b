"""Settings of a short training, and how a classifier is loaded."""

import torch

from busaug_core.classify.config import WEIGHTS
from busaug_core.classify.load import load_classifier
from busaug_core.jobs.run import Run

QUICK = dict(arch="squeezenet1_1", epochs=3, resolution=32, batch_size=4)


def loaded(folder):
    """The classifier of a folder that holds its weights."""
    return load_classifier(folder / WEIGHTS, Run(folder), torch.device("cpu"))
