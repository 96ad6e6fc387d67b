"""What the operators' tests share: a loaded dataset and a way to call operators."""

import sys

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext, Executor

URI = "@busaug/busaug/"
SIZES = dict(images=30, image_size=64)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """The App is sent all progress and every image at once, so that what it gets hangs on no machine's speed."""
    host = type(foo.get_operator(URI + "generate")).__module__.rpartition(".")[0] + ".host"
    for module, interval in (("execution", "INTERVAL"), ("progress", "APP_INTERVAL"), ("progress", "QUEUE_INTERVAL")):
        monkeypatch.setattr(sys.modules[f"{host}.{module}"], interval, -1.0)


@pytest.fixture(scope="session")
def call():
    """A function that calls an operator by its name."""

    def call(name, *samples, **config):
        return foo.get_operator(URI + name)(*samples, **config)

    return call


@pytest.fixture(scope="session")
def loaded(call):
    """A dataset of thirty simulated scans, loaded as run `load`."""
    call("load_busi", dataset_name="loaded", run_key="load", **SIZES)
    return fo.load_dataset("loaded")


@pytest.fixture
def context():
    """A function that makes an operator and the context of a call from the App."""

    def make(name, dataset=None, **params):
        operator = foo.get_operator(URI + name)
        request = dict(dataset_name=dataset and dataset.name, view=[], params=params)
        return operator, ExecutionContext(request, executor=Executor(), operator_uri=operator.uri)

    return make


@pytest.fixture(scope="session")
def small(base):
    """Config of quick diffusion jobs on a base with random weights."""
    return dict(base_model=base, resolution=64, batch_size=4)


@pytest.fixture(scope="session")
def lora(call, loaded, small):
    return call("train_lora", loaded, steps=2, run_key="lora", membership=False, **small)


@pytest.fixture(scope="session")
def token(call, loaded, small, lora):
    return call("train_textual_inversion", loaded, steps=2, lora="lora", run_key="token", membership=False, **small)


@pytest.fixture(scope="session")
def classifier(call, loaded):
    return call("train_classifier", loaded, arch="squeezenet1_1", epochs=1, resolution=32, run_key="clf")


@pytest.fixture(scope="session")
def synthetic(call, loaded, small, lora, token):
    """The dataset with balancing and evaluation images of two variants."""
    parts = dict(lora="lora", token="token", variants=["sd", "sd_ti_img2img"], steps=4, **small)
    call("generate", loaded, counts={"benign": 1, "normal": 2}, run_key="balancing", **parts)
    call("generate", loaded, mode="evaluation", run_key="evaluation", **parts)
    return loaded
