"""What networks that are trained on a CPU compute instead of PyTorch's own: the same, as exactly."""

import copy

import pytest
import torch
from torch import nn

from busaug_core.base.on_cpu import FastGroupNorm, use_fast_norms


def norm_of(groups, channels, dtype=torch.float32):
    torch.manual_seed(0)
    norm = nn.GroupNorm(groups, channels, eps=0.1)
    with torch.no_grad():
        norm.weight.normal_(1, 0.5)
        norm.bias.normal_()
    return norm.to(dtype)


def results(norm, x, gradient):
    """What comes out, and the gradients of x, weight and bias, in float64."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    out = norm(x)
    return [t.double() for t in (out, *torch.autograd.grad(out, [x, norm.weight, norm.bias], gradient.to(out.dtype)))]


def off(found, expected):
    return [float((a - b).detach().norm() / b.detach().norm()) for a, b in zip(found, expected, strict=True)]


@pytest.mark.parametrize("shape", [(2, 12, 15, 18), (3, 32, 16, 16), (1, 8, 40, 40)])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("weight", [torch.float32, torch.bfloat16])
def test_fast_norms_are_as_exact_as_those_of_pytorch(shape, groups, weight):
    norm = norm_of(groups, shape[1], weight)
    x, gradient = (torch.randn(shape).to(torch.bfloat16, memory_format=torch.channels_last) for _ in range(2))
    x = 2 * x + 3
    exact = results(copy.deepcopy(norm).double(), x.double(), gradient.double())
    usual = off(results(norm, x, gradient), exact)
    use_fast_norms([norm], torch.bfloat16)
    found = results(norm, x, gradient)
    assert is_fast(norm, x)
    assert all(own <= 1.1 * of_pytorch + 1e-6 for own, of_pytorch in zip(off(found, exact), usual, strict=True))


@pytest.mark.parametrize("shape", [(2, 8, 300), (2, 8, 16, 20), (2, 8, 8, 3, 14), (2, 8, 5, 7)])
def test_others_than_large_ones_with_channels_last_are_normed_as_usual(shape):
    norm = norm_of(2, 8)
    x = torch.randn(shape)
    if shape == (2, 8, 5, 7):
        x = x.to(memory_format=torch.channels_last)
    usual = results(norm, x, torch.ones_like(x))
    use_fast_norms([nn.Sequential(norm)], torch.bfloat16)
    assert isinstance(norm, FastGroupNorm) and not is_fast(norm, x)
    assert all(map(torch.equal, results(norm, x, torch.ones_like(x)), usual))


def test_a_copy_has_norms_of_its_own_and_float32_the_usual_ones():
    network, x = nn.Sequential(norm_of(2, 8)), torch.randn(2, 8, 16, 16).to(memory_format=torch.channels_last)
    use_fast_norms([network], torch.float32)
    assert not is_fast(network, x)
    use_fast_norms([network], torch.bfloat16)
    other = copy.deepcopy(network)
    nn.init.zeros_(other[0].weight)
    nn.init.ones_(other[0].bias)
    assert is_fast(other, x) and torch.equal(other(x), torch.ones_like(x))
    assert not torch.equal(network(x), torch.ones_like(x))


def is_fast(network, x):
    return type(network(x).grad_fn).__name__ == "ChannelsLastGroupNormBackward"
