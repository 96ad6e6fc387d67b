"""Training on a CPU in bfloat16, where PyTorch's fused attention and group norms have slow backward passes."""

from collections.abc import Iterable
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from transformers import PreTrainedModel

MOST_PLACES = 48 * 48
"""The places of the latents up to which `attend_plainly` does; `mini` has 32² at its 128 px, Stable Diffusion 64²."""
MANY_PLACES = 32 * 32
"""The places from which on PyTorch's own forward pass of a group norm is fast."""
LANES = 16
"""Below, it is fast where a group's channels are a multiple of so many."""
FEWEST_PLACES = 16 * 16
"""The places of an image from which on fast norms are; below, PyTorch's own are as fast, or for few images faster."""


def attend_plainly(networks: Iterable[ModelMixin | PreTrainedModel], arithmetic: torch.dtype, places: int = 0) -> None:
    """Give networks and text encoders that are trained on a CPU an attention whose backward pass is fast there.

    With PyTorch's fused one a step of `mini` takes a fifth to a third longer in bfloat16, and in float32 a twentieth
    less. But it keeps no matrix of all `places` of the latents against all, so for large ones it stays. In a text
    encoder, which has few places, a backward pass takes a third of the time.
    """
    if arithmetic == torch.bfloat16 and places <= MOST_PLACES:
        for network in networks:
            if network.device.type != "cpu":
                continue
            if isinstance(network, PreTrainedModel):
                network.set_attn_implementation("eager")
            else:
                network.set_attn_processor(PlainAttention())


class PlainAttention(AttnProcessor):
    """diffusers' attention with a matrix of all places against all, with fewer operations where it is a UNet's."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *args: Any,
        **more: Any,
    ) -> Tensor:
        """hidden_states: B×N×C, of text, if any, B×M×D; returns B×N×C."""
        has_norms = attn.group_norm is not None or attn.spatial_norm is not None or attn.norm_cross
        has_more = attn.residual_connection or attn.rescale_output_factor != 1 or attention_mask is not None
        upcasts = attn.upcast_attention or attn.upcast_softmax
        if has_norms or has_more or upcasts or hidden_states.dim() != 3:
            return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, *args, **more)
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        projected = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        (images, places, width), heads = projected[0].shape, attn.heads
        each = width // heads
        q, k, v = (t.view(images, -1, heads, each).transpose(1, 2).reshape(images * heads, -1, each) for t in projected)
        scores = torch.baddbmm(q.new_empty(1), q, k.transpose(1, 2), beta=0, alpha=attn.scale)
        found = torch.bmm(scores.softmax(-1), v).view(images, heads, places, each)
        return attn.to_out[1](attn.to_out[0](found.transpose(1, 2).reshape(images, places, width)))


def use_fast_norms(networks: Iterable[nn.Module], arithmetic: torch.dtype) -> None:
    """Give networks with channels last that are trained on a CPU group norms that are fast there.

    PyTorch's backward pass takes three to ten times as long in bfloat16 from 16×16 places on, its forward pass up to
    five times as long below 32×32; in float32 they take as long.
    """
    if arithmetic == torch.bfloat16:
        for norm in (module for network in networks for module in network.modules()):
            if isinstance(norm, nn.GroupNorm) and norm.weight.device.type == "cpu":
                norm.__class__ = FastGroupNorm


class FastGroupNorm(nn.GroupNorm):
    """PyTorch's group norm, computed otherwise where what comes lies in memory with channels last."""

    def forward(self, x: Tensor) -> Tensor:
        """x: B×C×…; returns the same shape and dtype."""
        channels_last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
        if channels_last and x[0, 0].numel() >= FEWEST_PLACES:
            return ChannelsLastGroupNorm.apply(x, self.weight, self.bias, self.num_groups, self.eps)
        return super().forward(x)


def rows_of(x: Tensor) -> Tensor:
    """B×C×H×W as B × H·W × C, a row a place, which is how channels last lie in memory; a float32 copy."""
    return x.permute(0, 2, 3, 1).flatten(1, 2).to(torch.float32, copy=True)


class ChannelsLastGroupNorm(torch.autograd.Function):
    """PyTorch's group norm of B×C×H×W, from each channel's sums over the places of an image.

    With x̂ = (x − μ) / σ over the values of a group (Wu & He 2018, arXiv 1803.08494) and the gradient g of what comes
    out, that of x is (γg − mean(γg) − x̂·mean(γg·x̂)) / σ: here a·g + b·x + c, whose factors are the same at all places.
    All of it is computed in float32.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        """x: B×C×H×W with channels last; returns the same shape and dtype."""
        gamma, beta, places, channels = weight.float(), bias.float(), x[0, 0].numel(), x.shape[1] // groups
        if places >= MANY_PLACES or channels % LANES == 0:
            y, mean, rstd = torch.native_group_norm(x, gamma, beta, *x.shape[:2], places, groups, eps)
        else:
            rows, n, each = rows_of(x), places * channels, (len(x), groups, channels)
            mean = rows.sum(1).view(each).sum(2) / n
            rows -= mean.repeat_interleave(channels, 1)[:, None]
            rstd = (rows.square().sum(1).view(each).sum(2) / n + eps).rsqrt()
            factor = rstd.repeat_interleave(channels, 1)[:, None] * gamma
            y = torch.addcmul(beta, factor, rows).to(x.dtype).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        ctx.save_for_backward(x, weight, mean, rstd)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Any, ...]:
        """The gradients of x, weight and bias."""
        x, weight, mean, rstd = ctx.saved_tensors
        rows, g = rows_of(x), rows_of(gradients[0])
        grouped = (*mean.shape, x.shape[1] // mean.shape[1])
        sums, products = g.sum(1).view(grouped), (g * rows).sum(1).view(grouped)
        gamma, n = weight.float().view(grouped[1:]), rows[0].numel() / mean.shape[1]
        mean, rstd = mean[..., None], rstd[..., None]
        mean_g = (gamma * sums).sum(2, keepdim=True) / n
        mean_gx = rstd * ((gamma * products).sum(2, keepdim=True) / n - mean * mean_g)
        a, b = rstd * gamma, -rstd.square() * mean_gx
        c = -rstd * mean_g - mean * b
        a, b, c = (factor.expand(grouped).flatten(1)[:, None] for factor in (a, b, c))
        of_x = torch.addcmul(c, b, rows).addcmul_(a, g).to(x.dtype)
        of_weight = (rstd * (products - mean * sums)).sum(0).flatten().to(weight.dtype)
        of_bias = sums.sum(0).flatten().to(weight.dtype)
        return of_x.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2), of_weight, of_bias, None, None
