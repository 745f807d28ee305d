"""Gemma 3: Gemma 2 with norms on query and key heads, 5 sliding layers to 1 that sees everything.

Sliding layers have their own rope base and never scale positions.
"""

from zerostall import nn
from zerostall.arch import gemma2


class Model(gemma2.Model):
    """Caps are absent from the released models, but read where a file states them."""

    query_key_norm = "head"
    window = 0
    window_period = 6
    wide_query_layers = 62

    def ropes(self) -> None:
        """Two tables: the file's scaling for full layers, a plain one for sliding layers."""
        super().ropes()
        if any(self.windows):
            base = self.hp.real("rope.freq_base_swa", 10000.0, low=1.0001)
            self.local_table = self.rope_table(nn.Rope.plain(self.rotated, base))

    def rope_of(self, layer: int) -> int:
        """The local table where the layer slides."""
        return self.local_table if self.windows[layer] else self.table
