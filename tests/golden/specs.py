"""The tiny random models of the golden tests: one transformers config each, odd on purpose.

Between them: query groups of 1, 2, 3 and 8; head sizes from 10 to 80, equal to width / heads
or not; widths 60, 72, 104 and others that are no multiple of a vector; tied and own output
matrices; biases; 5 experts with 3 used; sinks; windows smaller than the prompt; every kind of rope
scaling.
"""

from __future__ import annotations

from tests.golden.mixtures import MIXTURES
from tests.golden.spec import Prompt, Spec, shape

_LONG = [1.0 + 0.37 * i for i in range(12)]
_SHORT = [1.0 + 0.05 * i for i in range(12)]

SPECS: dict[str, Spec] = {
    **MIXTURES,
    "llama-head80": Spec(
        "llama",
        "LlamaConfig",
        shape("269 60 2 3 1 40", head_dim=80, tie_word_embeddings=False),
    ),
    "llama-llama3": Spec(
        "llama",
        "LlamaConfig",
        shape(
            "277 104 2 8 1 40",
            head_dim=20,
            tie_word_embeddings=True,
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 500.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        ),
        prompts=(Prompt(61),),
    ),
    "llama-yarn": Spec(
        "llama",
        "LlamaConfig",
        shape(
            "273 72 2 4 4 44",
            attention_bias=True,
            tie_word_embeddings=False,
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 300.0,
                "factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        ),
        prompts=(Prompt(67),),
    ),
    "llama-mistral": Spec(
        "llama",
        "MistralConfig",
        shape(
            "271 72 2 6 2 56",
            head_dim=24,
            sliding_window=None,
            tie_word_embeddings=False,
            rope_parameters={"rope_type": "linear", "rope_theta": 100.0, "factor": 2.0},
        ),
        fuse=True,
    ),
    "phi3-window": Spec(
        "phi3",
        "Phi3Config",
        shape(
            "273 72 2 4 4 56",
            sliding_window=17,
            original_max_position_embeddings=256,
            tie_word_embeddings=False,
        ),
        llama_cpp_ignores=("phi3.attention.sliding_window",),
    ),
    "phi3-longrope": Spec(
        "phi3",
        "Phi3Config",
        shape(
            "283 96 2 3 1 40",
            max_position_embeddings=160,
            original_max_position_embeddings=40,
            sliding_window=None,
            tie_word_embeddings=True,
            partial_rotary_factor=0.75,
            rope_parameters={
                "rope_type": "longrope",
                "rope_theta": 100.0,
                "partial_rotary_factor": 0.75,
                "original_max_position_embeddings": 40,
                "long_factor": _LONG,
                "short_factor": _SHORT,
            },
        ),
        prompts=(Prompt(40, 40), Prompt(63, 160)),
    ),
    "qwen2-tied": Spec(
        "qwen2",
        "Qwen2Config",
        shape("281 84 3 6 2 40", tie_word_embeddings=True),
    ),
    "qwen2-yarn": Spec(
        "qwen2",
        "Qwen2Config",
        shape(
            "267 80 2 8 1 40",
            tie_word_embeddings=False,
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 400.0,
                "factor": 2.0,
                "original_max_position_embeddings": 32,
                "attention_factor": 1.3,
                "beta_fast": 2.0,
                "beta_slow": 0.25,
            },
            max_position_embeddings=64,
        ),
        prompts=(Prompt(59),),
        llama_cpp_ignores=tuple(  # which heeds these for grok and mistral3 only
            f"qwen2.rope.scaling.yarn_{key}" for key in ("attn_factor", "beta_fast", "beta_slow")
        ),
        fuse=True,
    ),
    "qwen3-head80": Spec(
        "qwen3",
        "Qwen3Config",
        shape("285 60 2 3 1 40", head_dim=80, tie_word_embeddings=True),
    ),
    "gemma2": Spec(
        "gemma2",
        "Gemma2Config",
        shape(
            "278 72 4 4 2 56",
            head_dim=20,
            query_pre_attn_scalar=20,
            sliding_window=17,
            attn_logit_softcapping=3.0,
            final_logit_softcapping=5.0,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},  # not converted
            hidden_activation="gelu_pytorch_tanh",
        ),
    ),
    "gemma3": Spec(
        "gemma3",
        "Gemma3TextConfig",
        shape(
            "276 56 7 4 1 40",
            head_dim=20,
            query_pre_attn_scalar=20,
            sliding_window=13,
            hidden_activation="gelu_pytorch_tanh",
            rope_parameters={
                "full_attention": {"rope_type": "linear", "rope_theta": 30.0, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 70.0},
            },
        ),
        prompts=(Prompt(70),),
    ),
    "gemma3-softcap": Spec(
        "gemma3",
        "Gemma3TextConfig",
        shape(
            "270 72 2 3 3 56",
            head_dim=16,
            query_pre_attn_scalar=16,
            sliding_window=19,
            final_logit_softcapping=4.0,
            rope_parameters={
                "full_attention": {"rope_type": "default", "rope_theta": 300.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
            },
            hidden_activation="gelu_pytorch_tanh",
        ),
    ),
    "gemma": Spec(
        "gemma",
        "GemmaConfig",
        shape(
            "272 56 2 3 1 40",
            head_dim=20,
            hidden_activation="gelu_pytorch_tanh",
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},  # not converted
        ),
    ),
    "granite": Spec(
        "granite",
        "GraniteConfig",
        shape(
            "274 56 2 4 2 40",
            embedding_multiplier=3.0,
            residual_multiplier=0.4,
            logits_scaling=2.5,
            attention_multiplier=0.2,
            tie_word_embeddings=True,
        ),
    ),
    "smollm3": Spec(
        "smollm3",
        "SmolLM3Config",
        shape("270 56 5 4 2 24", tie_word_embeddings=True),
    ),
    "olmo2": Spec(
        "olmo2",
        "Olmo2Config",
        shape("278 56 2 4 2 40", tie_word_embeddings=False),
    ),
    "olmo2-olmo3": Spec(
        "olmo2",
        "Olmo3Config",
        shape(
            "280 48 5 4 2 24",
            sliding_window=15,
            tie_word_embeddings=False,
            rope_parameters={
                "full_attention": {
                    "rope_type": "yarn",
                    "rope_theta": 40.0,
                    "factor": 4.0,
                    "original_max_position_embeddings": 64,
                },
                "sliding_attention": {"rope_type": "default", "rope_theta": 40.0},
            },
        ),
    ),
    "glm4": Spec(
        "glm4",
        "Glm4Config",
        shape(
            "284 56 2 4 2 40",
            head_dim=16,
            attention_bias=True,
            tie_word_embeddings=False,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 120.0,
                "partial_rotary_factor": 0.5,
            },
        ),
    ),
    "seed_oss": Spec(
        "seed_oss",
        "SeedOssConfig",
        shape(
            "286 56 2 4 2 40",
            head_dim=20,
            attention_bias=True,
            attention_out_bias=False,
            tie_word_embeddings=False,
        ),
    ),
    "stablelm": Spec(
        "stablelm",
        "StableLmConfig",
        shape(
            "288 64 2 4 2 40",
            layer_norm_eps=0.02,
            use_qkv_bias=True,
            tie_word_embeddings=False,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 10000.0,  # not converted
                "partial_rotary_factor": 0.25,
            },
        ),
    ),
    "stablelm-parallel": Spec(
        "stablelm",
        "StableLmConfig",
        shape(
            "271 64 2 4 4 40",
            layer_norm_eps=0.02,
            use_parallel_residual=True,
            tie_word_embeddings=False,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 10000.0,  # not converted
                "partial_rotary_factor": 0.5,
            },
        ),
    ),
}
