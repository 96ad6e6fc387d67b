"""A simulated scan."""

import pytest
from PIL import Image

from busaug_core.simulate import simulate


@pytest.fixture(scope="session")
def scan():
    return Image.fromarray(simulate("benign", 3, 224).image)
