"""Seed-OSS: the plain decoder with biases on q, k and v and another name for the ffn's norm."""

from zerostall import nn


class Model(nn.Decoder):
    """Head size is independent of width / heads."""

    def block(self, layer: int, x: int) -> int:
        """post_attention_norm is what others call ffn_norm."""
        x = self.add(x, self.attention(layer, self.norm(f"blk.{layer}.attn_norm", x)))
        h = self.norm(f"blk.{layer}.post_attention_norm", x)
        return self.add(x, self.feed_forward(layer, h))
