"""Cross-entropy of a tied output head without ever holding all logits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .fused import softmax_loss

CHUNK_ROWS = 1024  # logits of a chunk stay in cache: 1024 x 4096 bfloat16 is 8 MiB


class _HeadLoss(torch.autograd.Function):
    """Mean cross-entropy of ``x @ weight.T``; the gradients are formed in the forward pass."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        rows, half = x.bfloat16(), weight.bfloat16()
        grad_x = torch.empty_like(rows)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        loss = torch.zeros(())
        for start in range(0, len(rows), CHUNK_ROWS):
            part = slice(start, start + CHUNK_ROWS)
            losses, grad = softmax_loss(F.linear(rows[part], half), targets[part])
            loss += losses.sum()
            grad_x[part] = grad @ half
            grad_weight += grad.mT @ rows[part]
        ctx.save_for_backward(grad_x.to(x.dtype), grad_weight.to(weight.dtype))
        ctx.rows = len(rows)
        return loss / len(rows)

    @staticmethod
    def backward(ctx, upstream: Tensor):  # type: ignore[no-untyped-def, override]
        grad_x, grad_weight = ctx.saved_tensors
        scale = upstream / ctx.rows
        return grad_x * scale.to(grad_x.dtype), grad_weight * scale, None


def head_loss(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Mean loss (nats) of rows ``x`` [N, d], output matrix [vocab, d] and ``targets`` [N]."""
    with torch.autocast("cpu", enabled=False):
        return _HeadLoss.apply(x, weight, targets)
