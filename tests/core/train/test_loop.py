"""The training loop owns neither objective nor dtype; a batch says how it was drawn."""

import json
import time

import pytest
import torch
from generators import run_to_end

from busaug_core.base.loading import load_pipeline
from busaug_core.jobs.events import Progress
from busaug_core.jobs.run import CHECKPOINT, Run
from busaug_core.train import loop
from busaug_core.train.config import Lora
from busaug_core.train.denoising import Denoising
from busaug_core.train.training import train_denoising


class Shifted(Denoising):
    """A made-up method: one weight, and a loss of its own."""

    message = "Shifting"
    product = "saved"
    weight_decay = 0.0
    workers = 1  # the loss is no mean over images

    def __init__(self, pipe):
        self.pipe, self.weight, self.seen, self.autocast = pipe, torch.nn.Parameter(torch.ones(())), [], []

    def parameters(self):
        return {"weight": self.weight}

    def encode_prompts(self, prompts):
        return torch.zeros(len(prompts), 77, 128)

    def draw(self, step):
        self.seen.append(super().draw(step))
        return self.seen[-1]

    def loss(self, batch):
        self.autocast.append(torch.is_autocast_enabled("cpu"))
        return self.weight * batch.noise.mean() ** 2

    def save(self, folder):
        (folder / self.product).touch()


class Duel(loop.Method):
    """A made-up method with all that a method may have: two optimizers, a falling rate, a clip and an average."""

    message = "Duelling"
    clip = 0.5

    def __init__(self):
        self.weight, self.other = (torch.nn.Parameter(torch.full((3,), float(i))) for i in (1, 2))
        self.average, self.rates, self.norms = torch.zeros(3), [], []

    def parameters(self):
        return {"weight": self.weight}

    def optimizers(self, learning_rate):
        self.second = torch.optim.AdamW([self.other], 2 * learning_rate)
        first = torch.optim.SGD([self.weight], learning_rate, momentum=0.9)
        first.register_step_pre_hook(lambda *_: self.norms.append(float(self.weight.grad.norm())))
        return [first, self.second]

    def rate(self, done):
        return 1 - done

    def state(self):
        return {"other": self.other, "average": self.average}

    def draw(self, step):
        return torch.randn(3, generator=torch.Generator().manual_seed(step))

    def loss(self, batch):
        ((self.other - batch) * self.weight.detach()).square().sum().backward()
        self.second.step()
        self.second.zero_grad()
        self.rates.append(self.second.param_groups[0]["lr"])
        self.values = {"other": float(self.other.detach().mean())}
        return ((self.weight - batch) * self.other.detach()).square().sum()

    def after_step(self):
        self.average.lerp_(self.weight.detach(), 0.1)

    def save(self, folder):
        self.saved = [self.weight.detach().clone(), self.other.detach().clone(), self.average.clone()]


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "trial/runs/one"
    folder.mkdir(parents=True)
    return Run(folder)


@pytest.fixture
def train(run, records, base):
    """A function that trains the made-up method on four images; returns it and the events."""

    def train(weights=torch.float32, **values):
        method = Shifted(load_pipeline(base, torch.device("cpu"), weights))
        config = Lora(**dict(base_model=base, steps=3, batch_size=4, resolution=64) | values).resolve()
        _, events = run_to_end(train_denoising(method, records[:4], config, run, []))
        return method, events

    return train


def test_the_method_owns_the_loss_and_sees_which_images_were_mirrored(train, run):
    method, events = train()
    assert len(method.seen) == 3
    for batch in method.seen:
        assert len(batch.chosen) == len(batch.mirrored) == len(batch.timesteps) == 4
    assert len({tuple(b.mirrored.tolist()) for b in method.seen}) > 1
    assert [e.values["loss"] for e in events if isinstance(e, Progress) and e.values] == pytest.approx(
        [float(b.noise.mean() ** 2) for b in method.seen], rel=0.02
    )
    assert (run.folder / "saved").exists()


def test_a_mirrored_image_has_the_latents_of_its_mirror_image(train):
    method, _ = train()
    moments = method.batches.moments
    for batch in method.seen:
        for place, mirrored, latents in zip(batch.chosen, batch.mirrored, batch.latents, strict=True):
            mean = moments[place, int(mirrored)][:4] * method.batches.scale
            other = moments[place, 1 - int(mirrored)][:4] * method.batches.scale
            assert (latents - mean).abs().mean() < (latents - other).abs().mean()


@pytest.mark.parametrize(("weights", "precision", "on"), [("bfloat16", "fp32", False), ("float32", "bf16", True)])
def test_the_dtype_of_the_weights_does_not_decide_the_arithmetic(train, weights, precision, on):
    method, _ = train(getattr(torch, weights), precision=precision)
    assert set(method.autocast) == {on}
    assert method.weight.dtype == torch.float32
    assert all(batch.latents.dtype == torch.float32 for batch in method.seen)


def test_checkpoints_come_by_time_and_never_take_more_than_a_twentieth_of_it(train, run, monkeypatch):
    written = []

    def slow(*_):
        written.append(time.monotonic())
        time.sleep(0.05)

    monkeypatch.setattr(loop, "save_checkpoint", slow)
    train(steps=20, checkpoint_seconds=1e-9)
    assert len(written) < 5
    written.clear()
    train(steps=3, checkpoint_seconds=60)
    assert not written
    assert not (run.folder / CHECKPOINT).exists()


def test_the_number_of_processes_is_recorded(train, run):
    train()
    assert json.loads((run.folder / "environment.json").read_text())["processes"] == 1


def duel(run, steps=8):
    """The events of a training of `Duel`, whose first item is the method."""
    method = Duel()
    yield method
    yield from loop.train(method, run, steps, 0.1, torch.float32, 1e-9, "duel.safetensors")


def test_a_method_may_have_a_rate_a_clip_further_optimizers_and_values_of_its_own(run):
    method, *events = duel(run)
    assert method.rates == pytest.approx([0.2 * (1 - (step + 1) / 8) for step in range(8)])
    assert max(method.norms) == pytest.approx(0.5)
    assert all(e.values.keys() == {"loss", "other"} for e in events)


def test_further_optimizers_and_state_are_resumed_too(run):
    whole, *_ = duel(run)
    (run.folder / "duel.safetensors").unlink()
    broken = duel(run)
    for _ in range(6):
        next(broken)
    broken.close()
    parts, *events = duel(run)
    assert events[0].done == 6
    assert all(torch.equal(a, b) for a, b in zip(whole.saved, parts.saved, strict=True))
