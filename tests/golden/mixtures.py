"""Those of the tiny random models of specs.py that are mixtures of experts."""

from __future__ import annotations

from typing import Any

from tests.golden.spec import Prompt, Spec, experts, shape

# Sinks that outweigh some keys, and gates beyond the experts' limit of 7.
_GPT_OSS_SCALES = {"sinks": 5.0, "experts.gate_up_proj": 3.0}


def _unrounded_yarn(rope_theta: float, original: int) -> dict[str, Any]:
    return {
        "rope_type": "yarn",
        "rope_theta": rope_theta,
        "factor": 4.0,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "truncate": False,
        "original_max_position_embeddings": original,
    }


MIXTURES: dict[str, Spec] = {
    "llama-mixtral": Spec(
        "llama",
        "MixtralConfig",
        shape(
            "267 72 2 6 2 24",
            num_local_experts=5,
            num_experts_per_tok=3,
            sliding_window=None,
            tie_word_embeddings=False,
        ),
    ),
    "qwen2moe": Spec(
        "qwen2moe",
        "Qwen2MoeConfig",
        shape(
            "275 60 2 3 3 64",
            **experts(5, 3, moe_intermediate_size=24, shared_expert_intermediate_size=40),
            norm_topk_prob=False,
            tie_word_embeddings=False,
        ),
    ),
    "qwen3moe": Spec(
        "qwen3moe",
        "Qwen3MoeConfig",
        shape(
            "279 72 2 8 1 64",
            head_dim=16,
            **experts(5, 3, moe_intermediate_size=24),
            norm_topk_prob=True,
            tie_word_embeddings=False,
        ),
    ),
    "qwen3moe-fused": Spec(
        "qwen3moe",
        "Qwen3MoeConfig",
        shape(
            "280 72 2 4 2 64",
            head_dim=32,
            **experts(7, 2, moe_intermediate_size=24),
            norm_topk_prob=True,
            tie_word_embeddings=True,
        ),
        fuse=True,
    ),
    "olmoe": Spec(
        "olmoe",
        "OlmoeConfig",
        shape(
            "287 72 2 4 4 24",
            **experts(5, 3),
            rms_norm_eps=1e-5,  # the converter writes no other
            norm_topk_prob=False,
            tie_word_embeddings=False,
        ),
    ),
    "granitemoe": Spec(
        "granitemoe",
        "GraniteMoeConfig",
        shape(
            "276 56 2 4 2 24",
            num_local_experts=5,
            num_experts_per_tok=3,
            embedding_multiplier=3.0,
            residual_multiplier=0.4,
            logits_scaling=2.5,
            attention_multiplier=0.2,
            tie_word_embeddings=True,
        ),
    ),
    "dots1": Spec(
        "dots1",
        "Dots1Config",
        shape(
            "282 48 3 4 4 40",
            head_dim=20,
            n_routed_experts=5,
            num_experts_per_tok=3,
            n_shared_experts=2,
            scoring_func="sigmoid",
            moe_intermediate_size=24,
            first_k_dense_replace=1,
            norm_topk_prob=True,
            routed_scaling_factor=1.7,
            n_group=1,
            topk_group=1,
            tie_word_embeddings=False,
        ),
    ),
    "gpt-oss": Spec(
        "gpt-oss",
        "GptOssConfig",
        shape(
            "290 56 3 6 2 24",
            head_dim=20,
            num_local_experts=5,
            num_experts_per_tok=3,
            sliding_window=17,
            tie_word_embeddings=False,
            # The ramp begins at 0 and ends just before a whole pair: llama.cpp, which rounds both,
            # changes nothing.
            rope_parameters=_unrounded_yarn(rope_theta=102.2599, original=40),
        ),
        prompts=(Prompt(67),),
        scales=_GPT_OSS_SCALES,
    ),
    "gpt-oss-yarn": Spec(
        "gpt-oss",
        "GptOssConfig",
        shape(
            "292 72 2 8 1 40",
            head_dim=16,
            num_local_experts=7,
            num_experts_per_tok=2,
            sliding_window=9,
            tie_word_embeddings=False,
            rope_parameters=_unrounded_yarn(rope_theta=120.0, original=300),
        ),
        prompts=(Prompt(59),),
        scales=_GPT_OSS_SCALES,
        llama_cpp=False,  # it rounds the ends of the ramp, 0.67 and 6.5
    ),
}
