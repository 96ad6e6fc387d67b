"""Parts of a batch side by side: the gradients of the whole, the same bytes each time, and the cores shared out."""

from itertools import islice
from threading import Thread, current_thread

import pytest
import torch
from saved import weights

from busaug_core.jobs.device import autocast_to
from busaug_core.jobs.events import Progress
from busaug_core.registry import job
from busaug_core.train import denoising
from busaug_core.train.side_by_side import SideBySide, workers_for

VALUES = dict(steps=2, batch_size=4, resolution=64, precision="fp32", membership=False)
CASES = [
    ("train_lora", dict(rank=2, layers="attention", text_encoder=True, gradient_checkpointing=True)),
    ("train_lora", dict(rank=2, layers="wide", accumulation=2)),
    ("train_textual_inversion", {}),
    ("finetune_unet", dict(lesion_weight=3, precision="bf16")),
    ("train_controlnet", dict(caption_dropout=0.3)),
]


@pytest.fixture
def two_workers(monkeypatch):
    monkeypatch.setattr(denoising, "workers_for", lambda *_: 2)


@pytest.fixture
def side_by_side():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    weights = [torch.nn.Parameter(torch.tensor([2.0, 3.0])), torch.nn.Parameter(torch.ones(2))]
    made = SideBySide(2, weights)
    yield made
    made.close()
    torch.set_num_threads(before)


@pytest.mark.parametrize(("name", "more"), CASES)
def test_a_training_learns_what_it_does_of_whole_batches(run_job, masked, base, monkeypatch, name, more):
    met, plain = [], denoising.Denoising.loss

    def loss(self, batch):
        met.append((current_thread().name, len(batch.chosen)))
        return plain(self, batch)

    monkeypatch.setattr(denoising.Denoising, "loss", loss)
    values = {**VALUES, "base_model": base, **more}
    whole = run_job(name, masked, **values)
    assert not any(thread.startswith("part") for thread, _ in met)
    monkeypatch.setattr(denoising, "workers_for", lambda *_: 2)
    met.clear()
    parts = run_job(name, masked, **values)
    sizes = [size for thread, size in met if thread.startswith("part")]
    assert sizes == [2 // values.get("accumulation", 1)] * (4 * values.get("accumulation", 1))
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-2 if "precision" in more else 1e-5)
    one, other = weights(whole), weights(parts)
    away = 3e-4 if "precision" in more else 1e-5  # Adam scales rounding up
    assert all((one[key] - other[key]).abs().mean() < away for key in one)


@pytest.mark.parametrize(("name", "more"), CASES)
def test_a_stopped_training_ends_in_the_same_bytes(run_job, masked, base, tmp_path, two_workers, name, more):
    values = {**VALUES, "base_model": base, "steps": 3, "checkpoint_seconds": 1e-9, **more}
    whole = weights(run_job(name, masked, run_key="whole", **values))
    events = job(name).run({**values, "run_key": "broken"}, masked, "trial", tmp_path)
    list(islice((e for e in events if isinstance(e, Progress) and e.values), 2))
    events.close()
    resumed = weights(run_job(name, masked, run_key="broken", **values))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_dropout_is_drawn_in_one_thread(run_job, masked, base, monkeypatch, two_workers):
    met, plain = [], denoising.Denoising.loss
    monkeypatch.setattr(denoising.Denoising, "loss", lambda *a: met.append(current_thread().name) or plain(*a))
    run_job("train_lora", masked, **VALUES, base_model=base, rank=2, layers="attention", dropout=0.5)
    assert met and not any(name.startswith("part") for name in met)


@pytest.mark.parametrize("arithmetic", [torch.float32, torch.bfloat16])
def test_gradients_are_those_of_the_whole_and_of_what_is_used(side_by_side, arithmetic):
    used, unused = side_by_side.parameters
    inputs = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    seen = []

    def objective(rows):
        with autocast_to(torch.device("cpu"), arithmetic):
            product = rows @ used[:, None]
        seen.append(product.dtype)
        return product.float().mean()

    for _ in range(2):
        loss = side_by_side.backward(objective, [(inputs[:2], 0.5), (inputs[2:], 0.5)])
    assert loss == pytest.approx(float((inputs @ used).mean()), rel=1e-2)
    assert torch.allclose(used.grad, 2 * inputs.mean(0), rtol=1e-2)
    assert unused.grad is None and set(seen) == {arithmetic}


def test_gradients_lie_in_memory_as_their_parameters_do():
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last))
    factors = torch.randn(2, 4, 3, 2, 2)
    workers = SideBySide(2, [weight])
    workers.backward(lambda part: (weight * factors[part]).sum(), [(0, 0.5), (1, 0.5)])
    workers.close()
    assert weight.grad.stride() == weight.stride() != factors[0].stride()
    assert torch.allclose(weight.grad, factors.mean(0))


def test_each_thread_has_its_share_of_the_cores_and_others_keep_theirs(side_by_side):
    found = []
    side_by_side.backward(
        lambda _: found.append(torch.get_num_threads()) or side_by_side.parameters[0].sum(), [(0, 1.0)]
    )
    later = Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found == [2, 4] and torch.get_num_threads() == 4


def test_an_error_in_a_part_is_raised_and_ends_no_thread(side_by_side):
    weight = side_by_side.parameters[0]

    def objective(part):
        if part:
            raise ValueError("in a part")
        return weight.sum()

    with pytest.raises(ValueError, match="in a part"):
        side_by_side.backward(objective, [(0, 0.5), (1, 0.5)])
    assert side_by_side.backward(objective, [(0, 1.0)]) == 5


def test_parts_share_out_the_cores_evenly_where_networks_are_small_and_images_enough(monkeypatch):
    small, large = torch.nn.Linear(2, 2), torch.nn.Linear(10_000, 10_000, device="meta")
    for threads, expected in ((1, [1, 1, 1, 1]), (2, [1, 1, 2, 2]), (6, [1, 1, 2, 3]), (8, [1, 1, 2, 4])):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=threads: n)
        assert [workers_for(images, [small]) for images in (1, 3, 4, 8)] == expected
        assert workers_for(64, [small, large]) == 1
