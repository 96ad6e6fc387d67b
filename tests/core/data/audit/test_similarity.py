"""Likeness of locally normalised pictures."""

import numpy as np
import pytest

from busaug_core.data.audit.similarity import SIDE, likeness, locally_normalised


def test_likeness_ignores_gain_and_depth_and_finds_a_shift(scan):
    gray = np.asarray(scan.resize((SIDE, SIDE)), dtype=np.float32)
    darker = gray * np.linspace(1, 0.4, SIDE)[:, None]
    shifted = np.roll(gray, 4, axis=1)
    normalised = np.stack([locally_normalised(g) for g in (gray, darker, shifted)])
    values = likeness(normalised, np.array([[0, 0], [0, 1], [0, 2]]))
    assert values[0] == pytest.approx(1, abs=1e-3)
    assert values[1] > 0.85
    assert values[2] > 0.75
