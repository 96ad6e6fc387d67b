"""Diffusion augmentation of breast ultrasound: a library of jobs that knows nothing of FiftyOne."""

__version__ = "0.1.0"
