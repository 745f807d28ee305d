"""GLM 4 (0414): norms before and after each block, rope on half of each head, fused gate/up."""

from zerostall import nn


class Model(nn.Decoder):
    """Neighbouring values rotate."""

    rope_mode = "normal"
    post_norms = True
