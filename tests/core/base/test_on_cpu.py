"""What networks that are trained on a CPU compute instead of PyTorch's own: the same, as exactly."""

import copy

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import nn

from busaug_core.base.on_cpu import FastGroupNorm, PlainAttention, use_fast_norms


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


@pytest.mark.parametrize("text", [None, 24])
@pytest.mark.parametrize(
    ("options", "is_of_unet"),
    [
        ({}, True),
        (dict(scale_qk=False, bias=True, out_bias=False), True),
        (dict(residual_connection=True), False),
        (dict(rescale_output_factor=2.0), False),
        (dict(norm_num_groups=4), False),
        (dict(upcast_attention=True), False),
        (dict(upcast_softmax=True), False),
        (dict(cross_attention_norm="layer_norm"), False),
    ],
)
def test_plain_attention_is_that_of_diffusers(monkeypatch, options, is_of_unet, text):
    torch.manual_seed(0)
    attention = Attention(16, text, heads=2, dim_head=8, **options)
    x, context = torch.randn(3, 10, 16), None if text is None else torch.randn(3, 7, text)
    usual = attended(attention, AttnProcessor(), x, context)
    assert all(map(close, attended(attention, PlainAttention(), x, context), usual))
    if context is None:
        mask = torch.randn(3, 1, 10)
        masked = attended(attention, AttnProcessor(), x, None, mask)
        assert not close(masked[0], usual[0])
        assert all(map(close, attended(attention, PlainAttention(), x, None, mask), masked))
    monkeypatch.setattr(AttnProcessor, "__call__", lambda *_, **__: pytest.fail("diffusers' own"))
    if is_of_unet:
        attended(attention, PlainAttention(), x, context)
    else:
        with pytest.raises(pytest.fail.Exception):
            attended(attention, PlainAttention(), x, context)


def test_plain_attention_leaves_norms_by_a_map_to_diffusers(monkeypatch):
    attention = Attention(32, heads=2, dim_head=16, spatial_norm_dim=4, _from_deprecated_attn_block=True)
    x, given = torch.randn(2, 10, 32), []
    monkeypatch.setattr(AttnProcessor, "__call__", lambda *args, **more: given.append(args[-1]) or x)
    assert PlainAttention()(attention, x, None, None, "map") is x
    assert given == ["map"]


def test_plain_attention_takes_images():
    torch.manual_seed(0)
    attention, image = Attention(16, heads=2, dim_head=8), torch.randn(2, 16, 3, 5)
    expected = attended(attention, AttnProcessor(), image, None)
    assert all(map(close, attended(attention, PlainAttention(), image, None), expected))


def attended(attention, processor, x, context, mask=None):
    """What comes out, and the gradients of x and of every weight."""
    attention.set_processor(processor)
    x = x.clone().requires_grad_()
    out = attention(x, encoder_hidden_states=context, attention_mask=mask)
    used = [p for n, p in attention.named_parameters() if context is not None or not n.startswith("norm_cross")]
    return [out, *torch.autograd.grad(out.square().sum(), [x, *used])]


def close(found, expected):
    return torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


def is_fast(network, x):
    return type(network(x).grad_fn).__name__ == "ChannelsLastGroupNormBackward"
