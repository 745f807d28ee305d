"""Muon: momentum updates orthogonalised by a Newton-Schulz iteration.

Source: K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024).
Experts are stacks of matrices [E, rows, cols]; each matrix is orthogonalised on its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .replicas import Replicas

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, iterations: int) -> Tensor:
    """Pushes the singular values of each matrix [N, rows, cols] towards one, in bfloat16."""
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT.contiguous()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for matrices and their stacks.

    Replicas hold the same state and share out the orthogonalisation.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        replicas: Replicas,
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
        iterations: int = 5,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "iterations": iterations,
        }
        super().__init__(parameters, defaults)
        self.replicas = replicas

    def direction(self, index: int, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """Orthogonalised update of one parameter, zero where another replica forms it."""
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        average = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
        if not self.replicas.owns(index):
            return torch.zeros_like(parameter, dtype=torch.bfloat16)
        update = parameter.grad.lerp(average, group["momentum"])
        rows, cols = parameter.shape[-2:]
        return orthogonalise(update.view(-1, rows, cols), group["iterations"]).view_as(parameter)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Updates every parameter; all must have gradients."""
        for group in self.param_groups:
            parameters = group["params"]
            directions = [self.direction(i, p, group) for i, p in enumerate(parameters)]
            self.replicas.sum_(directions)
            for parameter, direction in zip(parameters, directions, strict=True):
                rows, cols = parameter.shape[-2:]
                scale = max(1.0, rows / cols) ** 0.5
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(direction, alpha=-group["lr"] * scale)
