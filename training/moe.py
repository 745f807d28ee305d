"""Routed mixture of expert MLPs, computed one expert at a time over its own tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import ModelConfig
from .fused import weighted_sum


class _Dispatch(torch.autograd.Function):
    """Copies token rows into expert order. Its adjoint is a gather, not a scatter.

    ``x`` [T, d], ``order`` [T*k] (slot -> token*k + choice), ``inverse`` its inverse.
    """

    @staticmethod
    def forward(ctx, x: Tensor, order: Tensor, inverse: Tensor, k: int) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(inverse)
        ctx.k = k
        return x.index_select(0, order // k)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def, override]
        (inverse,) = ctx.saved_tensors
        rows = grad.index_select(0, inverse).view(-1, ctx.k, grad.shape[-1])
        return rows.sum(1), None, None, None


class _Collect(torch.autograd.Function):
    """Permutes rows back from expert order to token order; the adjoint permutes forth."""

    @staticmethod
    def forward(ctx, y: Tensor, order: Tensor, inverse: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(order)
        return y.index_select(0, inverse)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def, override]
        (order,) = ctx.saved_tensors
        return grad.index_select(0, order), None, None


class MixtureOfExperts(nn.Module):
    """Top-k routed SwiGLU experts; the k softmax weights are renormalised to sum to one.

    After a forward pass in training mode ``balance_loss`` holds the load-balancing loss
    of Switch Transformers (arXiv:2101.03961, eq. 4; 1.0 when perfectly balanced),
    ``z_loss`` the squared log-partition of the router (arXiv:2202.08906, eq. 5) and
    ``load`` [E] the share of the choices that each expert received.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        experts, d_model, d_ff = config.n_experts, config.d_model, config.d_ff
        self.k = config.n_experts_used
        self.router = nn.Parameter(torch.empty(experts, d_model))
        self.gate = nn.Parameter(torch.empty(experts, d_ff, d_model))
        self.up = nn.Parameter(torch.empty(experts, d_ff, d_model))
        self.down = nn.Parameter(torch.empty(experts, d_model, d_ff))
        self.balance_loss = torch.zeros(())
        self.z_loss = torch.zeros(())
        self.load = torch.zeros(experts)

    def route(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Weights [T, k] (float32) and expert ids [T, k] of token rows ``x`` [T, d]."""
        with torch.autocast("cpu", enabled=False):
            logits = x.float() @ self.router.t()
            probs = logits.softmax(-1)
        weights, chosen = probs.topk(self.k, -1)
        if self.training:
            experts = probs.shape[-1]
            self.load = torch.bincount(chosen.flatten(), minlength=experts) / chosen.numel()
            self.balance_loss = experts * (self.load * probs.mean(0)).sum()
            self.z_loss = logits.logsumexp(-1).square().mean()
        return weights / weights.sum(-1, keepdim=True), chosen

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, L, d] to [B, L, d]."""
        rows = x.reshape(-1, x.shape[-1])
        weights, chosen = self.route(rows)
        order = chosen.flatten().argsort(stable=True)
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(order.numel())
        counts = torch.bincount(chosen.flatten(), minlength=len(self.router)).tolist()

        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        grouped = _Dispatch.apply(rows.to(kind), order, inverse, self.k).split(counts)
        outputs = []
        matrices = (self.gate.to(kind), self.up.to(kind), self.down.to(kind))
        for tokens, gate, up, down in zip(grouped, *(m.unbind(0) for m in matrices), strict=True):
            hidden = F.silu(F.linear(tokens, gate)) * F.linear(tokens, up)
            outputs.append(F.linear(hidden, down))
        collected = _Collect.apply(torch.cat(outputs), order, inverse)
        choices = collected.view(-1, self.k, x.shape[-1])
        return weighted_sum(choices, weights).view(x.shape)
