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


def test_the_state_of_an_optimizer_lies_in_memory_as_its_parameter_does(tmp_path):
    """A fused one reads both by their order in memory, so that a step after the resume would mix up channels."""

    def trained(steps, path=None, resumed=False):
        torch.manual_seed(0)
        network = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(network.parameters(), 0.1, fused=True)
        weights = dict(network.named_parameters())
        start = restore_checkpoint(path, weights, [optimizer]) if resumed else 0
        for step in range(start, steps):
            images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            network(images).square().sum().backward()
            optimizer.step()
        if path is not None and not resumed:
            save_checkpoint(path, steps, weights, [optimizer])
        return network.weight.detach().clone()

    whole = trained(5)
    trained(2, tmp_path / "checkpoint")
    assert torch.equal(trained(5, tmp_path / "checkpoint", resumed=True), whole)
