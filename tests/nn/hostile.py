"""Metadata that a hostile file may hold: keys that some architecture reads, and bad values."""

from __future__ import annotations

# Under the architecture's prefix; every key that code in nn/ or arch/ reads.
REQUIRED = [
    "context_length",
    "block_count",
    "embedding_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.layer_norm_rms_epsilon",
    "attention.layer_norm_epsilon",
]
OPTIONAL = [
    "attention.key_length",
    "attention.value_length",
    "attention.scale",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "expert_count",
    "expert_used_count",
    "expert_weights_scale",
    "expert_weights_norm",
    "expert_gating_func",
    "embedding_scale",
    "logit_scale",
    "residual_scale",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_log_multiplier",
]
NUMBERS = [0, 1, 2, 3, 4, 8, -1, 7, 255, 4096, 1 << 24, 1 << 31, 1 << 40, 1 << 63, (1 << 64) - 1]
REALS = [0.0, 1.0, 0.5, 1e-30, 1e30, -1.0, float("inf"), float("nan"), 1e308, 5e-324]
TEXTS = ["", "yarn", "linear", "none", "longrope", "su", "\x00"]
