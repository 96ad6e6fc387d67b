"""Training on a CPU in bfloat16, where the backward passes of PyTorch's fused attention and of its norms are slow."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ModelMixin
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

MOST_PLACES = 48 * 48
"""The places of the latents up to which `attend_plainly` does; `mini` has 32² at its 128 px, Stable Diffusion 64²."""


def attend_plainly(networks: Iterable[ModelMixin], arithmetic: torch.dtype, places: int) -> None:
    """Give networks that are trained on a CPU an attention whose backward pass is fast there.

    With PyTorch's fused one a step of `mini` takes a fifth to a third longer in bfloat16, and in float32 a twentieth
    less. But it keeps no matrix of all `places` of the latents against all, so for large ones it stays.
    """
    if arithmetic == torch.bfloat16 and places <= MOST_PLACES:
        for network in networks:
            if network.device.type == "cpu":
                network.set_attn_processor(AttnProcessor())


def norm_by_rows(networks: Iterable[nn.Module], arithmetic: torch.dtype) -> None:
    """Give networks that are trained on a CPU group norms whose backward pass is fast there.

    PyTorch's takes two to ten times as long in bfloat16 with channels last, and as long in float32.
    """
    if arithmetic == torch.bfloat16:
        for norm in (module for network in networks for module in network.modules()):
            if isinstance(norm, nn.GroupNorm) and norm.weight.device.type == "cpu":
                norm.forward = partial(_group_norm, norm)


def _group_norm(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return GroupNormByRows.apply(x, norm.weight, norm.bias, norm.num_groups, norm.eps)
    return F.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps)


class GroupNormByRows(torch.autograd.Function):
    """PyTorch's group norm of B×C×H×W with channels last; its gradients from sums over the places of each image.

    With x̂ = (x − μ) / σ over n values of a group and the gradient g of what comes out, that of x is
    (γg − mean(γg) − x̂·mean(γg·x̂)) / σ (Wu & He 2018, arXiv 1803.08494), here as a·g + b·x + c, whose factors are the
    same at all places. Computed in float32.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        """x: B×C×H×W with channels last; returns the same shape and dtype."""
        y, mean, over_std = torch.native_group_norm(x, weight, bias, *x.shape[:2], x[0, 0].numel(), groups, eps)
        ctx.save_for_backward(x, weight, mean, over_std)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Any, ...]:
        """The gradients of x, weight and bias."""
        x, weight, mean, over_std = ctx.saved_tensors
        rows, g = (t.permute(0, 2, 3, 1).flatten(1, 2).float() for t in (x, gradients[0]))
        by_group = (*mean.shape, x.shape[1] // mean.shape[1])
        sums, products = g.sum(1).view(by_group), (g * rows).sum(1).view(by_group)
        gamma, n = weight.float().view(by_group[1:]), rows[0].numel() / mean.shape[1]
        mean, over_std = mean.float()[..., None], over_std.float()[..., None]
        of_g = (gamma * sums).sum(2, keepdim=True) / n
        of_product = over_std * ((gamma * products).sum(2, keepdim=True) / n - mean * of_g)
        a, b = over_std * gamma, -over_std.square() * of_product
        c = -over_std * of_g - mean * b
        a, b, c = (factor.expand(by_group).flatten(1)[:, None] for factor in (a, b, c))
        of_x = torch.addcmul(c, b, rows).addcmul_(a, g).to(x.dtype)
        of_weight = (over_std * (products - mean * sums)).sum(0).flatten().to(weight.dtype)
        of_bias = sums.sum(0).flatten().to(weight.dtype)
        return of_x.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2), of_weight, of_bias, None, None
