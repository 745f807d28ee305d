"""Shapes of well-known models, from their published config.json files on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Value = int | float | bool | str
# layers, width, heads, kv heads, head size, hidden, vocabulary, context
Sizes = tuple[int, int, int, int, int, int, int, int]


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention (arXiv:2405.04434): ranks and parts of a head."""

    query_rank: int
    kv_rank: int
    rope: int
    plain: int
    value: int


@dataclass(frozen=True)
class Shape:
    """The sizes of one model.

    Attributes:
        model: its repository on the hub.
        architecture: `general.architecture`.
        layers, width, heads, kv_heads, head_dim: as everywhere.
        hidden: of the dense ffn, 0 where every layer has experts.
        vocab: rows of the embedding.
        context: positions it was made for.
        rope_base: base of the rope frequencies.
        tied: whether the embedding is the output too.
        query_key_norm: None, "head" or "projection".
        qkv_bias: biases on q, k and v.
        fused: q/k/v in one tensor, and gate with up.
        sinks: attention sinks, and biases everywhere (gpt-oss).
        experts, used, expert_hidden: of the mixture, 0 for a dense model.
        shared: shared experts.
        dense_layers: leading layers without experts.
        latent: latent attention in place of q, k and v.
        mixture: weight formats by default.
        extra: further metadata, without the architecture's prefix.
    """

    model: str
    architecture: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocab: int
    context: int
    rope_base: float = 10000.0
    tied: bool = False
    query_key_norm: Literal["head", "projection"] | None = None
    qkv_bias: bool = False
    fused: bool = False
    sinks: bool = False
    experts: int = 0
    used: int = 0
    expert_hidden: int = 0
    shared: int = 0
    dense_layers: int = 0
    latent: Latent | None = None
    mixture: str = "Q4_K_M"
    extra: Mapping[str, Value] = field(default_factory=dict)


_PHI4: dict[str, Value] = {
    "attention.sliding_window": 0,
    "rope.scaling.original_context_length": 16384,
}
_GPT_OSS: dict[str, Value] = {
    "attention.sliding_window": 128,
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": 32.0,
    "rope.scaling.original_context_length": 4096,
}
_DEEPSEEK: dict[str, Value] = {
    "expert_weights_norm": True,
    "expert_gating_func": 2,  # sigmoid
    "rope.scaling.type": "yarn",
    "rope.scaling.original_context_length": 4096,
    "rope.scaling.yarn_log_multiplier": 0.1,
}
_MLA = Latent(query_rank=1536, kv_rank=512, rope=64, plain=128, value=128)


def _llama(model: str, sizes: Sizes, rope_base: float = 5e5, tied: bool = False) -> Shape:
    return Shape(model, "llama", *sizes, rope_base=rope_base, tied=tied)


def _qwen3(model: str, sizes: Sizes, tied: bool = False) -> Shape:
    return Shape(model, "qwen3", *sizes, rope_base=1e6, tied=tied, query_key_norm="head")


def _qwen3moe(
    model: str, sizes: Sizes, *, experts: int, expert_hidden: int, base: float = 1e6
) -> Shape:
    return Shape(
        model,
        "qwen3moe",
        *sizes,
        rope_base=base,
        query_key_norm="head",
        experts=experts,
        used=8,
        expert_hidden=expert_hidden,
    )


def _gpt_oss(model: str, layers: int, experts: int) -> Shape:
    return Shape(
        model,
        "gpt-oss",
        *(layers, 2880, 64, 8, 64, 2880, 201088, 131072),
        rope_base=150000.0,
        sinks=True,
        experts=experts,
        used=4,
        expert_hidden=2880,
        mixture="MXFP4",
        extra=_GPT_OSS,
    )


SHAPES = {
    "tinyllama-1.1b": _llama(
        "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
        (22, 2048, 32, 4, 64, 5632, 32000, 2048),
        rope_base=1e4,
    ),
    "llama-3.2-1b": _llama(
        "meta-llama/Llama-3.2-1B", (16, 2048, 32, 8, 64, 8192, 128256, 131072), tied=True
    ),
    "llama-3.2-3b": _llama(
        "meta-llama/Llama-3.2-3B", (28, 3072, 24, 8, 128, 8192, 128256, 131072), tied=True
    ),
    "llama-3.1-8b": _llama(
        "meta-llama/Llama-3.1-8B", (32, 4096, 32, 8, 128, 14336, 128256, 131072)
    ),
    "llama-3.1-70b": _llama(
        "meta-llama/Llama-3.1-70B", (80, 8192, 64, 8, 128, 28672, 128256, 131072)
    ),
    "mistral-7b": _llama(
        "mistralai/Mistral-7B-v0.3",
        (32, 4096, 32, 8, 128, 14336, 32768, 32768),
        rope_base=1e6,
    ),
    "mixtral-8x7b": Shape(
        "mistralai/Mixtral-8x7B-v0.1",
        "llama",
        *(32, 4096, 32, 8, 128, 14336, 32000, 32768),
        rope_base=1e6,
        experts=8,
        used=2,
        expert_hidden=14336,
    ),
    "phi-4": Shape(
        "microsoft/phi-4",
        "phi3",
        *(40, 5120, 40, 10, 128, 17920, 100352, 16384),
        rope_base=250000.0,
        fused=True,
        extra=_PHI4,
    ),
    "phi-4-mini": Shape(
        "microsoft/Phi-4-mini-instruct",
        "phi3",
        *(32, 3072, 24, 8, 128, 8192, 200064, 131072),
        tied=True,
        fused=True,
        extra={
            "attention.sliding_window": 0,
            "rope.dimension_count": 96,
            "rope.scaling.original_context_length": 4096,
        },
    ),
    "qwen2.5-7b": Shape(
        "Qwen/Qwen2.5-7B",
        "qwen2",
        *(28, 3584, 28, 4, 128, 18944, 152064, 131072),
        rope_base=1e6,
        qkv_bias=True,
    ),
    "qwen3-0.6b": _qwen3("Qwen/Qwen3-0.6B", (28, 1024, 16, 8, 128, 3072, 151936, 40960), tied=True),
    "qwen3-4b": _qwen3("Qwen/Qwen3-4B", (36, 2560, 32, 8, 128, 9728, 151936, 40960), tied=True),
    "qwen3-8b": _qwen3("Qwen/Qwen3-8B", (36, 4096, 32, 8, 128, 12288, 151936, 40960)),
    "qwen3-32b": _qwen3("Qwen/Qwen3-32B", (64, 5120, 64, 8, 128, 25600, 151936, 40960)),
    "qwen3-30b-a3b": _qwen3moe(
        "Qwen/Qwen3-30B-A3B",
        (48, 2048, 32, 4, 128, 6144, 151936, 40960),
        experts=128,
        expert_hidden=768,
    ),
    "qwen3-235b-a22b": _qwen3moe(
        "Qwen/Qwen3-235B-A22B",
        (94, 4096, 64, 4, 128, 12288, 151936, 40960),
        experts=128,
        expert_hidden=1536,
    ),
    "qwen3-coder-480b-a35b": _qwen3moe(
        "Qwen/Qwen3-Coder-480B-A35B-Instruct",
        (62, 6144, 96, 8, 128, 8192, 151936, 262144),
        experts=160,
        expert_hidden=2560,
        base=1e7,
    ),
    "olmoe-1b-7b": Shape(
        "allenai/OLMoE-1B-7B-0924",
        "olmoe",
        *(16, 2048, 16, 16, 128, 1024, 50304, 4096),
        query_key_norm="projection",
        experts=64,
        used=8,
        expert_hidden=1024,
    ),
    "gpt-oss-20b": _gpt_oss("openai/gpt-oss-20b", 24, 32),
    "gpt-oss-120b": _gpt_oss("openai/gpt-oss-120b", 36, 128),
    "deepseek-v3": Shape(
        "deepseek-ai/DeepSeek-V3",
        "deepseek2",
        *(61, 7168, 128, 1, 576, 18432, 129280, 163840),
        experts=256,
        used=8,
        expert_hidden=2048,
        shared=1,
        dense_layers=3,
        latent=_MLA,
        extra=_DEEPSEEK
        | {
            "rope.scaling.factor": 40.0,
            "expert_weights_scale": 2.5,
            "expert_group_count": 8,
            "expert_group_used_count": 4,
        },
    ),
    "kimi-k2": Shape(
        "moonshotai/Kimi-K2-Instruct",
        "deepseek2",
        *(61, 7168, 64, 1, 576, 18432, 163840, 131072),
        rope_base=50000.0,
        experts=384,
        used=8,
        expert_hidden=2048,
        shared=1,
        dense_layers=1,
        latent=_MLA,
        extra=_DEEPSEEK
        | {
            "rope.scaling.factor": 32.0,
            "expert_weights_scale": 2.827,
            "expert_group_count": 1,
            "expert_group_used_count": 1,
        },
    ),
}
