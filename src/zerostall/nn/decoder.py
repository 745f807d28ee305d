"""The pre-norm decoder that most models are; an architecture overrides what differs."""

from __future__ import annotations

import math
from typing import Literal

from zerostall.errors import InvalidRequestError
from zerostall.nn.builder import Builder
from zerostall.nn.mixture import Mixture
from zerostall.nn.rope import Rope, longest_context
from zerostall.tape import Tape, Weight

_MAX_LAYERS = 1024  # llama.cpp stops at 512


class Decoder(Mixture):
    """Builds the tape of one decoder-only model from GGUF's standard tensor names.

    Present tensors choose the variant: fused or separate q/k/v, biases, gated or plain ffn,
    dense or experts, shared experts, tied or own output. Class attributes choose what names
    cannot tell; the methods, one per block, are there to be overridden.

    Attributes:
        rope_mode: "neox" rotates value i with i + n/2, "normal" i with i + 1.
        query_key_norm: None, "head" (each head on its own) or "projection" (all heads at once).
        attention_sinks: whether each head has a learned score beside those of the keys.
        post_norms: whether what attention and ffn add is normed as well.
        windows: how many of the last positions each layer sees, itself included; 0 for all.
    """

    rope_mode: Literal["neox", "normal"] = "neox"
    query_key_norm: Literal["head", "projection"] | None = None
    attention_sinks = False
    post_norms = False

    def __init__(self, builder: Builder) -> None:
        super().__init__(builder)
        hp = self.hp
        self.context_length = longest_context(builder)
        self.layers = hp.integer("block_count", high=_MAX_LAYERS)
        self.windows = [0] * self.layers
        self.heads = hp.integer("attention.head_count", high=4096)
        self.kv_heads = hp.integer("attention.head_count_kv", self.heads, high=self.heads)
        self.head_dim = hp.integer("attention.key_length", self.width // self.heads, high=4096)
        self.value_dim = hp.integer("attention.value_length", self.head_dim, high=4096)
        self.rotated = hp.integer("rope.dimension_count", self.head_dim, high=self.head_dim)
        self.rope_base = hp.real("rope.freq_base", 10000.0, low=1.0001)
        if self.heads % self.kv_heads:
            raise self.invalid(
                f"{self.heads} query heads do not divide into {self.kv_heads} groups"
            )
        if self.rotated % 2:
            raise self.invalid(f"rope over an odd number of values ({self.rotated}) a head")
        shape = self.b.shape("token_embd.weight")
        if len(shape) != 2:
            raise self.invalid(f"token_embd.weight has {len(shape)} dimensions, expected 2")
        self.vocab_size = shape[0]

    # -- the whole model, top down ------------------------------------------------------------

    def build(self) -> Tape:
        """Write every operator, and check that every tensor of the file has its place."""
        if self.b.experts is not None and "expert_used_count" not in self.hp:
            raise InvalidRequestError(
                f"experts is {self.b.experts}, but {self.b.file.paths[0]} has no experts"
            )
        x = self.embed()
        self.ropes()
        for layer in range(self.layers):
            self.foresee(layer, x)
            x = self.block(layer, x)
        self.head(x)
        return self.b.finish()

    def block(self, layer: int, x: int) -> int:
        """One layer: attention and feed-forward, each on the norm of the residual stream."""
        h = self.attention(layer, self.norm(f"blk.{layer}.attn_norm", x))
        if self.post_norms:
            h = self.norm(f"blk.{layer}.post_attention_norm", h)
        x = self.add(x, h)
        h = self.feed_forward(layer, self.norm(f"blk.{layer}.{self.ffn_norm}", x))
        if self.post_norms:
            h = self.norm(f"blk.{layer}.post_ffw_norm", h)
        return self.add(x, h)

    def embed(self) -> int:
        """The residual stream: a row of token_embd per token."""
        (x,) = self.tape.add(
            "embed", weights=[self.embedding()], widths=[self.width], scale=self.embed_scale()
        )
        return x

    def head(self, x: int) -> None:
        """Final norm and logits; without an output tensor the embedding serves (tied)."""
        x = self.norm("output_norm", x)
        output = self.b.optional("output.weight", (self.vocab_size, self.width))
        bias = self.b.optional("output.bias", (self.vocab_size,))
        self.tape.add(
            "logits",
            [x],
            [output or self.embedding(), bias],
            scale=self.logit_scale(),
            softcap=self.logit_softcap(),
        )

    # -- what architectures often change ------------------------------------------------------

    def embed_scale(self) -> float:
        """Factor on the embeddings."""
        return 1.0

    def logit_scale(self) -> float:
        """Factor on the logits."""
        return 1.0

    def logit_softcap(self) -> float:
        """c in c * tanh(logits / c); 0 for none."""
        return 0.0

    def attention_scale(self) -> float:
        """Factor on q.k before the softmax."""
        return self.hp.real("attention.scale", 0.0) or 1.0 / math.sqrt(self.head_dim)

    def attention_softcap(self) -> float:
        """c in c * tanh(scores / c); 0 for none."""
        return 0.0

    def sliding_windows(self, default: int = 0, period: int = 1) -> list[int]:
        """The window of each layer: the file's, or 0 (everything) on the last of each period.

        A file may state the period, or one boolean per layer, in place of the given period;
        period 0 makes every layer slide.
        """
        window = self.hp.integer("attention.sliding_window", default, low=0, high=1 << 31)
        key = "attention.sliding_window_pattern"
        slides = self.hp.flags(key, self.layers)
        if slides is None:
            period = self.hp.integer(key, period, low=0)
            slides = [not period or i % period < period - 1 for i in range(self.layers)]
        return [window if slide else 0 for slide in slides]

    def ropes(self) -> None:
        """Write the rope tables; `rope_of` then names the one a layer uses."""
        self.table = self.rope_table(Rope.from_file(self.b, self.rotated, self.rope_base))

    def rope_of(self, layer: int) -> int | None:
        """The buffer of the rope table of a layer; None for a layer without positions."""
        return self.table

    # -- blocks -------------------------------------------------------------------------------

    def attention(self, layer: int, x: int) -> int:
        """Causal attention with grouped queries, up to and including the output projection."""
        q, k, v = self.query_key_value(layer, x)
        q = self.rotate(layer, self.norm_heads(f"blk.{layer}.attn_q_norm", q, self.heads))
        k = self.rotate(layer, self.norm_heads(f"blk.{layer}.attn_k_norm", k, self.kv_heads))
        sinks: list[Weight | None] = []
        if self.attention_sinks:
            sinks.append(self.b.weight(f"blk.{layer}.attn_sinks.weight", (self.heads,)))
        (o,) = self.tape.add(
            "attention",
            [q, k, v],
            sinks,
            [self.heads * self.value_dim],
            layer=layer,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            value_dim=self.value_dim,
            scale=self.attention_scale(),
            window=self.windows[layer],
            softcap=self.attention_softcap(),
        )
        return self.linear(f"blk.{layer}.attn_output", o, self.width)

    def query_key_value(self, layer: int, x: int) -> tuple[int, ...]:
        """The three projections, from attn_q/k/v or from the rows of a fused attn_qkv."""
        inner = self.heads * self.head_dim
        sizes = (inner, self.kv_heads * self.head_dim, self.kv_heads * self.value_dim)
        total = sum(sizes)
        fused = f"blk.{layer}.attn_qkv"
        weights: list[Weight | None] = []
        begin = 0
        for letter, size in zip("qkv", sizes, strict=True):
            rows = (begin, begin + size)
            begin += size
            own = f"blk.{layer}.attn_{letter}"
            if self.b.has(f"{fused}.weight"):
                weights.append(self.b.weight(f"{fused}.weight", (total, self.width), rows))
            else:
                weights.append(self.b.weight(f"{own}.weight", (size, self.width)))
            if self.b.has(f"{fused}.bias"):
                weights.append(self.b.weight(f"{fused}.bias", (total,), rows))
            else:
                weights.append(self.b.optional(f"{own}.bias", (size,)))
        return self.tape.add("linear", [x], weights, sizes)

    def norm_heads(self, name: str, x: int, heads: int) -> int:
        """The norm of queries or keys, as `query_key_norm` says."""
        if self.query_key_norm is None:
            return x
        width = heads * self.head_dim
        group = self.head_dim if self.query_key_norm == "head" else width
        weight = self.b.weight(f"{name}.weight", (group,))
        (y,) = self.tape.add("rms_norm", [x], [weight], [width], eps=self.eps, group=group)
        return y

    def rotate(self, layer: int, x: int) -> int:
        """Rope on the first `rotated` values of each head."""
        table = self.rope_of(layer)
        if table is None:
            return x
        (y,) = self.tape.add(
            "rope",
            [x, table],
            widths=[self.tape.widths[x]],
            head_dim=self.head_dim,
            n_rot=self.rotated,
            mode=self.rope_mode,
        )
        return y

    def rope_table(self, rope: Rope) -> int:
        """Cosine and sine of every pair at every position of the step."""
        (table,) = self.tape.add(
            "rope_table",
            widths=[self.rotated],
            inv_freq=[float(value) for value in rope.inverse_frequencies],
            scale=rope.magnitude,
        )
        return table

    def embedding(self) -> Weight:
        """The embedding matrix [vocabulary, width]."""
        return self.b.weight("token_embd.weight", (self.vocab_size, self.width))
