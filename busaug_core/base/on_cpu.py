"""Training on a CPU in bfloat16, where PyTorch's fused attention and group norms have slow backward passes."""

from collections.abc import Iterable
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

MOST_PLACES = 48 * 48
"""The places of the latents up to which `attend_plainly` does; `mini` has 32² at its 128 px, Stable Diffusion 64²."""
FEWEST_PLACES = 16 * 16
"""The places of an image from which on fast norms are; below, PyTorch's own are as fast, or for few images faster."""


def attend_plainly(networks: Iterable[ModelMixin], arithmetic: torch.dtype, places: int) -> None:
    """Give networks that are trained on a CPU an attention whose backward pass is fast there.

    With PyTorch's fused one a step of `mini` takes a fifth to a third longer in bfloat16, and in float32 a twentieth
    less. But it keeps no matrix of all `places` of the latents against all, so for large ones it stays.
    """
    if arithmetic == torch.bfloat16 and places <= MOST_PLACES:
        for network in networks:
            if network.device.type == "cpu":
                network.set_attn_processor(AttnProcessor())


def use_fast_norms(networks: Iterable[nn.Module], arithmetic: torch.dtype) -> None:
    """Give networks with channels last that are trained on a CPU group norms whose backward pass is fast there.

    PyTorch's takes three to ten times as long in bfloat16 from 16×16 places on, and in float32 as long.
    """
    if arithmetic == torch.bfloat16:
        for norm in (module for network in networks for module in network.modules()):
            if isinstance(norm, nn.GroupNorm) and norm.weight.device.type == "cpu":
                norm.__class__ = FastGroupNorm


class FastGroupNorm(nn.GroupNorm):
    """PyTorch's group norm, with another backward pass for what lies in memory with channels last."""

    def forward(self, x: Tensor) -> Tensor:
        """x: B×C×…; returns the same shape and dtype."""
        channels_last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
        if channels_last and x[0, 0].numel() >= FEWEST_PLACES:
            return ChannelsLastGroupNorm.apply(x, self.weight, self.bias, self.num_groups, self.eps)
        return super().forward(x)


class ChannelsLastGroupNorm(torch.autograd.Function):
    """PyTorch's group norm of B×C×H×W, with gradients from each channel's sums over the places of an image.

    With x̂ = (x − μ) / σ over the values of a group (Wu & He 2018, arXiv 1803.08494) and the gradient g of what comes
    out, that of x is (γg − mean(γg) − x̂·mean(γg·x̂)) / σ: here a·g + b·x + c, whose factors are the same at all places.
    Means and gradients are computed in float32.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        """x: B×C×H×W with channels last; returns the same shape and dtype."""
        affine, places = (weight.float(), bias.float()), x[0, 0].numel()
        y, mean, rstd = torch.native_group_norm(x, *affine, *x.shape[:2], places, groups, eps)
        ctx.save_for_backward(x, weight, mean, rstd)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Any, ...]:
        """The gradients of x, weight and bias."""
        x, weight, mean, rstd = ctx.saved_tensors
        # A row a place, B × H·W × C, which is how they lie in memory.
        rows, g = (t.permute(0, 2, 3, 1).flatten(1, 2).float() for t in (x, gradients[0]))
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
