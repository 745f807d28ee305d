"""Element-wise chains compiled into single passes; eager, they cost as much as the GEMMs.

All return the autocast dtype so that no separate cast is needed before the next GEMM.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.compile(dynamic=False)
def rms_norm(x: Tensor, gain: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """RMS normalisation over the last axis of ``x`` [..., d], as ``dtype``."""
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * scale * gain).to(dtype)


@torch.compile(dynamic=False)
def norm_rotate(x: Tensor, gain: Tensor, cos: Tensor, sin: Tensor, eps: float) -> Tensor:
    """RMS-normalised heads ``x`` [B, L, H, D] with rotary embedding, as [B, H, L, D].

    ``cos``, ``sin`` are [L, D] and the rotation pairs the two halves of a head.
    """
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * gain
    low, high = wide.chunk(2, -1)
    turned = wide * cos[:, None] + torch.cat((-high, low), -1) * sin[:, None]
    return turned.to(x.dtype).transpose(1, 2).contiguous()


@torch.compile(dynamic=False)
def weighted_sum(choices: Tensor, weights: Tensor) -> Tensor:
    """Sum over k of ``choices`` [T, k, d] times ``weights`` [T, k]."""
    return (choices.float() * weights.unsqueeze(-1)).sum(1).to(choices.dtype)


@torch.compile(dynamic=False)
def softmax_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy [N] of ``logits`` [N, V] and its gradient in them (as their dtype)."""
    wide = logits.float()
    peak = wide.amax(-1, keepdim=True)
    powers = (wide - peak).exp()
    total = powers.sum(-1, keepdim=True)
    wanted = torch.arange(logits.shape[-1]) == targets.unsqueeze(-1)
    grad = powers / total - wanted.float()
    losses = total.log() + peak - wide.gather(-1, targets.unsqueeze(-1))
    return losses.squeeze(-1), grad.to(logits.dtype)
