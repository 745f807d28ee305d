"""Gemma 2: Gemma with a second norm on each block, soft-capping, every other layer sliding."""

import math

from zerostall import nn
from zerostall.arch import gemma


class Model(gemma.Model):
    """Caps come from the metadata."""

    post_norms = True
    window = 4096  # unless the file states another
    window_period = 2
    wide_query_layers = 46  # the 27B scales queries by width / heads

    def __init__(self, builder: nn.Builder) -> None:
        super().__init__(builder)
        self.windows = self.sliding_windows(self.window, self.window_period)

    def attention_scale(self) -> float:
        """query_pre_attn_scalar ** -0.5; not in the metadata, so told by depth as in llama.cpp."""
        wide = self.layers == self.wide_query_layers
        return 1.0 / math.sqrt(self.width // self.heads if wide else self.head_dim)

    def attention_softcap(self) -> float:
        """50 in the released models."""
        return self.hp.real("attn_logit_softcapping", 0.0)

    def logit_softcap(self) -> float:
        """30 in the released models."""
        return self.hp.real("final_logit_softcapping", 0.0)
