"""A shape's tensors and metadata, by the names that GGUF converters give them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from zerostall.lab.shapes import Latent, Shape, Value

Role = Literal["embedding", "output", "matrix", "router", "ones", "zeros"]


@dataclass(frozen=True)
class Tensor:
    """One tensor to be written.

    Attributes:
        name: as in the file.
        shape: slowest dimension first.
        role: what its values are for; ones and zeros are float vectors.
        residual: its product is added to the residual stream.
        expert: it is one matrix an expert.
        rich: mixtures give it more bits (value and down projections of some layers).
        layer: its layer, -1 outside the layers.
    """

    name: str
    shape: tuple[int, ...]
    role: Role = "matrix"
    residual: bool = False
    expert: bool = False
    rich: bool = False
    layer: int = -1


def metadata(shape: Shape, name: str) -> dict[str, Value]:
    """The model's metadata; it says that there is no vocabulary."""
    latent = shape.latent
    values: dict[str, Value] = {
        "vocab_size": shape.vocab,
        "context_length": shape.context,
        "embedding_length": shape.width,
        "block_count": shape.layers,
        "feed_forward_length": shape.hidden,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "attention.key_length": shape.head_dim,
        "attention.value_length": latent.kv_rank if latent else shape.head_dim,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": shape.rope_base,
        "rope.dimension_count": latent.rope if latent else shape.head_dim,
    }
    if shape.experts:
        values["expert_count"] = shape.experts
        values["expert_used_count"] = shape.used
        values["expert_feed_forward_length"] = shape.expert_hidden
    if shape.shared:
        values["expert_shared_count"] = shape.shared
    if shape.dense_layers:
        values["leading_dense_block_count"] = min(shape.dense_layers, shape.layers)
    if latent:
        values["attention.q_lora_rank"] = latent.query_rank
        values["attention.kv_lora_rank"] = latent.kv_rank
        values["attention.key_length_mla"] = latent.plain + latent.rope
        values["attention.value_length_mla"] = latent.value
    values |= shape.extra
    own = {f"{shape.architecture}.{key}": value for key, value in values.items()}
    general: dict[str, Value] = {
        "general.architecture": shape.architecture,
        "general.name": f"random-{name}",
        "general.description": f"random weights in the shape of {shape.model}",
        "general.quantization_version": 2,
        "tokenizer.ggml.model": "no_vocab",
    }
    return general | own


def tensors(shape: Shape) -> Iterator[Tensor]:
    """Every tensor, in file order."""
    yield Tensor("token_embd.weight", (shape.vocab, shape.width), "embedding")
    for layer in range(shape.layers):
        for part in (*_attention(shape, layer), *_feed_forward(shape, layer)):
            yield Tensor(
                f"blk.{layer}.{part.name}",
                *(part.shape, part.role, part.residual, part.expert),
                rich=part.rich and _more_bits(layer, shape.layers),
                layer=layer,
            )
    yield Tensor("output_norm.weight", (shape.width,), "ones")
    if not shape.tied:
        yield Tensor("output.weight", (shape.vocab, shape.width), "output")


def _more_bits(layer: int, layers: int) -> bool:
    """llama.cpp's choice: the first and last eighth, and every third layer between."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _attention(shape: Shape, layer: int) -> Iterator[Tensor]:
    yield Tensor("attn_norm.weight", (shape.width,), "ones")
    if shape.latent:
        yield from _latent_attention(shape, shape.latent)
        return
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    if shape.fused:
        yield Tensor("attn_qkv.weight", (q + 2 * kv, shape.width))
    else:
        for letter, rows in (("q", q), ("k", kv), ("v", kv)):
            yield Tensor(f"attn_{letter}.weight", (rows, shape.width), rich=letter == "v")
            if shape.qkv_bias or shape.sinks:
                yield Tensor(f"attn_{letter}.bias", (rows,), "zeros")
    if shape.query_key_norm:
        head = shape.query_key_norm == "head"
        yield Tensor("attn_q_norm.weight", (shape.head_dim if head else q,), "ones")
        yield Tensor("attn_k_norm.weight", (shape.head_dim if head else kv,), "ones")
    yield Tensor("attn_output.weight", (shape.width, q), residual=True)
    if shape.sinks:
        yield Tensor("attn_output.bias", (shape.width,), "zeros")
        yield Tensor("attn_sinks.weight", (shape.heads,), "zeros")


def _latent_attention(shape: Shape, latent: Latent) -> Iterator[Tensor]:
    yield Tensor("attn_q_a.weight", (latent.query_rank, shape.width))
    yield Tensor("attn_q_a_norm.weight", (latent.query_rank,), "ones")
    key = latent.plain + latent.rope
    yield Tensor("attn_q_b.weight", (shape.heads * key, latent.query_rank))
    yield Tensor("attn_kv_a_mqa.weight", (latent.kv_rank + latent.rope, shape.width))
    yield Tensor("attn_kv_a_norm.weight", (latent.kv_rank,), "ones")
    yield Tensor("attn_k_b.weight", (shape.heads, latent.kv_rank, latent.plain))
    yield Tensor("attn_v_b.weight", (shape.heads, latent.value, latent.kv_rank), rich=True)
    yield Tensor("attn_output.weight", (shape.width, shape.heads * latent.value), residual=True)


def _feed_forward(shape: Shape, layer: int) -> Iterator[Tensor]:
    norm = "post_attention_norm" if shape.sinks else "ffn_norm"
    yield Tensor(f"{norm}.weight", (shape.width,), "ones")
    if not shape.experts or layer < shape.dense_layers:
        yield from _dense(shape.width, shape.hidden, "", fused=shape.fused)
        return
    yield Tensor("ffn_gate_inp.weight", (shape.experts, shape.width), "router")
    if shape.latent:
        yield Tensor("exp_probs_b.bias", (shape.experts,), "zeros")
    into = (shape.experts, shape.expert_hidden, shape.width)
    out = (shape.experts, shape.width, shape.expert_hidden)
    yield Tensor("ffn_gate_exps.weight", into, expert=True)
    yield Tensor("ffn_up_exps.weight", into, expert=True)
    yield Tensor("ffn_down_exps.weight", out, residual=True, expert=True, rich=True)
    if shape.sinks:
        yield Tensor("ffn_gate_inp.bias", (shape.experts,), "zeros")
        for part, whole in (("gate", into), ("up", into), ("down", out)):
            yield Tensor(f"ffn_{part}_exps.bias", whole[:2], "zeros")
    if shape.shared:
        yield from _dense(shape.width, shape.shared * shape.expert_hidden, "_shexp")


def _dense(width: int, hidden: int, suffix: str, *, fused: bool = False) -> Iterator[Tensor]:
    if not fused:
        yield Tensor(f"ffn_gate{suffix}.weight", (hidden, width))
    yield Tensor(f"ffn_up{suffix}.weight", (2 * hidden if fused else hidden, width))
    yield Tensor(f"ffn_down{suffix}.weight", (width, hidden), residual=True, rich=True)
