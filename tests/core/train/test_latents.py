"""Encoded images: once for all trainings of a dataset, and for those alone that see them alike."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL
from generators import run_to_end

from busaug_core.base import offload
from busaug_core.base.loading import load_pipeline
from busaug_core.files import content_hash
from busaug_core.jobs.run import Run
from busaug_core.train.latents import FOLDER, encode_images

CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path):
    (tmp_path / "trial/runs/one").mkdir(parents=True)
    return Run(tmp_path / "trial/runs/one")


def test_images_are_encoded_once_for_each_size_dtype_and_autoencoder(records, base, run, monkeypatch):
    encoded, plain = [], AutoencoderKL.encode
    monkeypatch.setattr(AutoencoderKL, "encode", lambda self, x: encoded.append(len(x)) or plain(self, x))
    pipe, paths = load_pipeline(base, CPU, torch.float32), [r.path for r in records[:3]]

    def encode(size=64):
        encoded.clear()
        found, _ = run_to_end(encode_images(pipe, [*paths, paths[0]], size, run))
        return found

    first = encode()
    assert first.shape == (4, 2, 8, 16, 16) and first.dtype == torch.float32 and encoded == [6]
    assert torch.equal(first[0], first[3]) and not torch.equal(first[0, 0], first[0, 1])
    paths.reverse()
    run = run.sibling("two")
    assert torch.equal(encode(), first[[2, 1, 0, 2]]) and not encoded
    encode(32)
    assert encoded
    with torch.no_grad():
        pipe.vae.quant_conv.bias += 1
    assert torch.allclose(encode(), first[[2, 1, 0, 2]] + 1, atol=1e-4) and encoded
    pipe.vae.to(torch.bfloat16)
    encode()
    assert encoded and len(list((run.folder.parents[1] / FOLDER).iterdir())) == 4


def test_a_second_training_encodes_nothing_and_ends_in_the_same_weights(run_job, records, base, monkeypatch):
    values = dict(base_model=base, steps=1, batch_size=2, resolution=64, precision="fp32", membership=False)
    first = run_job("train_lora", records, **values)
    monkeypatch.setattr(AutoencoderKL, "encode", lambda *_: pytest.fail("encoded a second time"))
    second = run_job("train_lora", records, **values)
    assert first["weights"] != second["weights"]
    assert content_hash(first["weights"]) == content_hash(second["weights"])


def test_parts_rest_off_a_gpu_alone_and_are_back_while_they_are_awake(monkeypatch):
    class Part:
        def __init__(self, kind):
            self.device = torch.device(kind)

        def to(self, device):
            self.device = torch.device(device)

    def kinds(pipe):
        return [pipe.unet.device.type, pipe.vae.device.type, pipe.text_encoder.device.type]

    for kind, apart in (("cuda", ["cuda", "cpu", "cuda"]), ("mps", ["mps"] * 3), ("cpu", ["cpu"] * 3)):
        pipe = SimpleNamespace(**{name: Part(kind) for name in offload.PARTS})
        offload.offload(pipe, ["vae"])
        assert kinds(pipe) == apart
        with offload.on_device(pipe):
            assert kinds(pipe) == [kind] * 3
        assert kinds(pipe) == apart
