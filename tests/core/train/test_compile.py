"""Steps made by PyTorch's compiler: what is compiled, how often, and that it trains the same."""

import pytest
import torch
from saved import weights
from torch._dynamo.testing import CompileCounter

from busaug_core.errors import UserError

SMALL = dict(steps=4, batch_size=4, resolution=64, precision="fp32", membership=True)
TRAININGS = {
    "train_lora": dict(rank=2, layers="attention", gradient_checkpointing=True, validate_every=2),
    "train_textual_inversion": {},
    "finetune_unet": dict(validate_every=2),
    "train_controlnet": dict(sample_every=4),
}


@pytest.fixture
def compiled_by(monkeypatch):
    """Replace what a network is compiled with, since PyTorch's own takes minutes."""

    def replace(backend):
        torch._dynamo.reset()
        plain = torch.compile
        monkeypatch.setattr(torch, "compile", lambda network, **how: plain(network, **{**how, "backend": backend}))

    return replace


@pytest.mark.parametrize("name", TRAININGS)
def test_compiled_steps_train_the_same_and_are_compiled_once(run_job, masked, base, compiled_by, name):
    values = {**SMALL, **TRAININGS[name], "base_model": base}
    plain = run_job(name, masked, **values)
    counter = CompileCounter()
    compiled_by(counter)
    compiled = run_job(name, masked, compile=True, **values)
    networks = 2 if name == "train_controlnet" else 1
    assert counter.frame_count == networks, "a network is one graph, and no look in another size compiles another"
    assert compiled["loss"] == pytest.approx(plain["loss"], rel=1e-5)
    one, other = weights(plain), weights(compiled)
    assert all(torch.allclose(one[key], other[key], atol=1e-4) for key in one)


def test_a_network_that_cannot_be_compiled_is_told(run_job, masked, base, compiled_by):
    def missing(_graph, _inputs):
        raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.")

    compiled_by(missing)
    with pytest.raises(UserError, match=r"cannot compile .*Failed to find C compiler.*Set compile to False"):
        run_job("train_lora", masked, compile=True, base_model=base, **SMALL)


def test_memory_that_runs_out_in_the_compiler_is_told_as_such(run_job, masked, base, compiled_by):
    def short(_graph, _inputs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    compiled_by(short)
    with pytest.raises(UserError, match="batch_size"):
        run_job("train_lora", masked, compile=True, base_model=base, **SMALL)


def test_a_run_is_taken_up_without_the_compiler(run_job, masked, base, compiled_by):
    def missing(_graph, _inputs):
        raise RuntimeError("Failed to find C compiler.")

    compiled_by(missing)
    values = dict(SMALL, base_model=base, run_key="here", membership=False)
    with pytest.raises(UserError, match="Set compile to False"):
        run_job("train_lora", masked, compile=True, **values)
    assert run_job("train_lora", masked, **values)["loss"] > 0
