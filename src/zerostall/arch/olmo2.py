"""OLMo 2 and 3: norms only after each block and over all queries and keys; OLMo 3 slides.

Three sliding layers to one that sees everything; sliding layers never scale positions.
"""

from zerostall import nn


class Model(nn.Decoder):
    """OLMo 2 states no window."""

    query_key_norm = "projection"

    def __init__(self, builder: nn.Builder) -> None:
        super().__init__(builder)
        self.windows = self.sliding_windows(period=4)

    def block(self, layer: int, x: int) -> int:
        """Attention and ffn on the residual stream itself, what they add normed."""
        h = self.attention(layer, x)
        x = self.add(x, self.norm(f"blk.{layer}.post_attention_norm", h))
        h = self.feed_forward(layer, x)
        return self.add(x, self.norm(f"blk.{layer}.post_ffw_norm", h))

    def ropes(self) -> None:
        """A second, unscaled table for sliding layers."""
        super().ropes()
        if any(self.windows):
            base = self.hp.real("rope.freq_base_swa", self.rope_base, low=1.0001)
            self.local_table = self.rope_table(nn.Rope.plain(self.rotated, base))

    def rope_of(self, layer: int) -> int:
        """The unscaled table where the layer slides."""
        return self.local_table if self.windows[layer] else self.table
