"""How a golden model is described."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Prompt:
    """Random token ids: how many, and the context length the model is loaded with."""

    tokens: int
    context: int = 128


@dataclass(frozen=True)
class Spec:
    """How to make one model: its transformers config class and arguments.

    Attributes:
        architecture: `general.architecture` after conversion.
        config: the transformers config class.
        arguments: its arguments.
        prompts: what reference logits are made for.
        fuse: whether the converter fuses q, k and v into one tensor.
        scales: factors on the random weights of parameters whose names end so.
        llama_cpp_ignores: metadata keys that transformers heeds and llama.cpp does not.
        llama_cpp: whether llama.cpp, heeding the other keys, gives the same logits.
    """

    architecture: str
    config: str
    arguments: dict[str, Any]
    prompts: tuple[Prompt, ...] = (Prompt(53),)
    fuse: bool = False
    scales: Mapping[str, float] = field(default_factory=dict)
    llama_cpp_ignores: tuple[str, ...] = ()
    llama_cpp: bool = True


# Every pair turns well within a prompt, so that a wrong frequency shows.
_FAST = {"rope_type": "default", "rope_theta": 120.0}


def shape(sizes: str, **more: Any) -> dict[str, Any]:
    """Arguments that all configs share; sizes: vocabulary, width, layers, heads, kv heads, ffn."""
    vocab, width, layers, heads, kv, ffn = map(int, sizes.split())
    return {
        "vocab_size": vocab,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "intermediate_size": ffn,
        "max_position_embeddings": 256,
        "rms_norm_eps": 0.02,  # large, so that a wrong one shows
        **({} if "rope_parameters" in more else {"rope_parameters": _FAST}),
        **more,
    }


def experts(count: int, used: int, **more: Any) -> dict[str, Any]:
    """Arguments of configs that count experts the usual way."""
    return {"num_experts": count, "num_experts_per_tok": used, **more}
