"""The Qwen3 and Qwen3-MoE decoder, small enough to read, exact enough to export."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import Attention
from .config import ModelConfig
from .fused import rms_norm
from .head import head_loss
from .moe import MixtureOfExperts

INIT_STD = 0.02


def rope_tables(config: ModelConfig, length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [length, head_dim] of rotary embedding, halves duplicated."""
    exponents = torch.arange(0, config.head_dim, 2).float() / config.head_dim
    angles = torch.outer(torch.arange(length).float(), config.rope_theta**-exponents)
    angles = torch.cat((angles, angles), -1)
    return angles.cos(), angles.sin()


class DenseMlp(nn.Module):
    """SwiGLU MLP."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.up = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [..., d] to [..., d]."""
        return self.down(F.silu(self.gate(x)) * self.up(x))


class RmsNorm(nn.Module):
    """RMS normalisation with a gain."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.eps = config.rms_eps
        self.weight = nn.Parameter(torch.ones(config.d_model))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises the last axis; the result has the dtype that GEMMs run in."""
        autocast = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if autocast else x.dtype
        return rms_norm(x, self.weight, self.eps, dtype)


class Block(nn.Module):
    """Pre-norm decoder layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attn_norm = RmsNorm(config)
        self.attn = Attention(config)
        self.mlp_norm = RmsNorm(config)
        self.mlp: nn.Module = MixtureOfExperts(config) if config.is_moe else DenseMlp(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Maps [B, L, d] to [B, L, d]."""
        x = x + self.attn(self.attn_norm(x), cos, sin)
        return x + self.mlp(self.mlp_norm(x))


class Decoder(nn.Module):
    """Token ids to next-token logits; the output matrix is the embedding."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = RmsNorm(config)
        cos, sin = rope_tables(config, config.context_length)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.init_weights()

    def init_weights(self) -> None:
        """Draws every matrix from N(0, 0.02); projections into the residual start at zero."""
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                into_residual = name.endswith((".o.weight", ".down", ".down.weight"))
                nn.init.normal_(parameter, std=0.0 if into_residual else INIT_STD)

    def mixtures(self) -> list[MixtureOfExperts]:
        """The routed MLPs, by layer; empty for a dense model."""
        return [m for m in self.modules() if isinstance(m, MixtureOfExperts)]

    def hidden(self, ids: Tensor) -> Tensor:
        """Normalised final states [B, L, d] of token ids [B, L]."""
        length = ids.shape[1]
        cos, sin = self.cos[:length], self.sin[:length]
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.norm(x)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [B, L, vocab] of token ids [B, L]."""
        return F.linear(self.hidden(ids), self.embed.weight)

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Mean next-token cross-entropy (nats) of ``ids`` and ``targets`` [B, L]."""
        rows = self.hidden(ids).flatten(0, 1)
        return head_loss(rows, self.embed.weight, targets.flatten())
