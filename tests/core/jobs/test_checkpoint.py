"""Checkpoints hold what a training goes on with; those of earlier versions are read."""

import json

import torch
from safetensors.torch import save_file

from busaug_core.jobs.checkpoint import restore_checkpoint, save_checkpoint


def stepped(steps):
    """A weight, its optimizer and a further one after so many steps."""
    weight, other = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2))
    optimizers = [torch.optim.AdamW([weight], lr=0.1), torch.optim.AdamW([other], lr=0.2)]
    for step in range(steps):
        for parameter, optimizer in zip((weight, other), optimizers, strict=True):
            (parameter * (step + 1)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    return {"weight": weight, "other": other}, optimizers


def test_a_checkpoint_brings_tensors_and_optimizers_back(tmp_path):
    tensors, optimizers = stepped(3)
    save_checkpoint(tmp_path / "checkpoint.safetensors", 3, tensors, optimizers)
    fresh, others = stepped(0)
    assert restore_checkpoint(tmp_path / "checkpoint.safetensors", fresh, others) == 3
    assert all(torch.equal(fresh[name], tensors[name]) for name in tensors)
    for one, other in zip(optimizers, others, strict=True):
        assert torch.equal(one.state_dict()["state"][0]["exp_avg"], other.state_dict()["state"][0]["exp_avg"])


def test_a_checkpoint_of_one_optimizer_as_earlier_versions_wrote_it_is_read(tmp_path):
    tensors, (optimizer, _) = stepped(2)
    state = optimizer.state_dict()["state"][0]
    entries = {"tensor.weight": tensors["weight"].detach()}
    entries |= {f"optimizer.0.{key}": torch.as_tensor(value) for key, value in state.items()}
    save_file(entries, tmp_path / "old.safetensors", metadata={"busaug": json.dumps({"step": 2, "scaler": {}})})
    fresh, (other, _) = stepped(0)
    assert restore_checkpoint(tmp_path / "old.safetensors", {"weight": fresh["weight"]}, [other]) == 2
    assert torch.equal(other.state_dict()["state"][0]["exp_avg_sq"], state["exp_avg_sq"])
