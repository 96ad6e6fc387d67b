"""What the tests of mini's training share."""

import pytest

from busaug_core.pretrain.text import build_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return build_tokenizer()
