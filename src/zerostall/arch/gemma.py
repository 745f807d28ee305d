"""Gemma: embeddings scaled by the root of the width, gelu ffn, tied output."""

import math

from zerostall import nn


class Model(nn.Decoder):
    """Heads of 256 values, whatever the width."""

    activation = "gelu_tanh"

    def embed_scale(self) -> float:
        """The square root of the width."""
        return math.sqrt(self.width)
