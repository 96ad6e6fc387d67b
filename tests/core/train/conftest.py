"""Trainings see whole batches, in the order of the steps, unless a test has parts side by side."""

import pytest


@pytest.fixture(autouse=True)
def whole_batches(monkeypatch):
    from busaug_core.train import denoising

    monkeypatch.setattr(denoising, "workers_for", lambda *_: 1)
