"""StableLM 2 and 3B: layer norms with bias, rope on a quarter of each head."""

from zerostall import nn


class Model(nn.Decoder):
    """Without ffn norms, attention and ffn share one norm and run side by side."""

    norm_kind = "layer_norm"

    def block(self, layer: int, x: int) -> int:
        """The parallel form where the layer has no ffn_norm."""
        if self.b.has(f"blk.{layer}.ffn_norm.weight"):
            return super().block(layer, x)
        h = self.norm(f"blk.{layer}.attn_norm", x)
        return self.add(self.add(x, self.attention(layer, h)), self.feed_forward(layer, h))
