"""Sizes of the built-in models and the hyperparameters of their runs."""

from __future__ import annotations

from dataclasses import dataclass

VOCAB_SIZE = 4096
SEPARATOR = "<|endoftext|>"


@dataclass(frozen=True)
class ModelConfig:
    """Shape of a Qwen3 (``n_experts == 0``) or Qwen3-MoE decoder with tied embeddings.

    ``d_ff`` is the width of the dense MLP, or of one expert.
    """

    name: str
    n_layers: int
    n_experts: int
    n_experts_used: int
    d_ff: int
    d_model: int = 256
    n_heads: int = 4
    n_kv_heads: int = 2
    head_dim: int = 64
    vocab_size: int = VOCAB_SIZE
    context_length: int = 1024
    rope_theta: float = 10_000.0
    rms_eps: float = 1e-6

    @property
    def is_moe(self) -> bool:
        """Whether the MLP blocks are routed mixtures."""
        return self.n_experts > 0


@dataclass(frozen=True)
class TrainConfig:
    """Hyperparameters of one run; learning rates are those of the stable phase.

    The decay phase has longer windows and fewer of them from the test suite.
    """

    tokens_per_step: int
    seq_len: int = 512
    decay_seq_len: int = 1024
    muon_lr: float = 0.02
    adam_lr: float = 2e-3
    weight_decay: float = 0.05
    grad_clip: float = 1.0
    balance_coef: float = 0.01
    router_z_coef: float = 1e-4
    test_fraction: float = 0.35
    decay_test_fraction: float = 0.1
    seed: int = 20240229


MODELS = {
    "nano": ModelConfig("nano", n_layers=6, n_experts=16, n_experts_used=2, d_ff=256),
    "nano-draft": ModelConfig("nano-draft", n_layers=2, n_experts=0, n_experts_used=0, d_ff=256),
}

TRAINING = {
    "nano": TrainConfig(tokens_per_step=8192),
    "nano-draft": TrainConfig(tokens_per_step=8192),
}
