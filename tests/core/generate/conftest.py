"""A LoRA and a token, images made with them, and the model that made these."""

import pytest
from generating import FOUR, QUICK, Generate, make, producer_of

from busaug_core.registry import job


@pytest.fixture(scope="session")
def trained(records, base, tmp_path_factory):
    """A home with a LoRA and a token, trained long enough to matter."""
    home = tmp_path_factory.mktemp("home")
    values = dict(base_model=base, batch_size=2, resolution=64, precision="fp32")
    for name, key, more in (
        ("train_lora", "lora", dict(steps=15, rank=4, learning_rate=5e-3, membership=False)),
        ("train_textual_inversion", "token", dict(steps=5, vectors=2, learning_rate=0.2, membership=False)),
    ):
        for _ in job(name).run({**values, **more, "run_key": key}, records, "trial", home):
            pass
    return home


@pytest.fixture(scope="session")
def events(trained, records, base):
    return make(trained, records, "all", base_model=base, variants=["base", *FOUR], counts={"benign": 2, "normal": 2})


@pytest.fixture(scope="session")
def producer(trained, base, events):
    config = Generate.parse(
        {
            **QUICK,
            "base_model": base,
            "lora": "lora",
            "token": "token",
            "variants": ["base", *FOUR],
            "counts": {"benign": 1},
        }
    ).resolve()
    return producer_of(trained, config)
