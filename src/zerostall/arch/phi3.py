"""Phi 3, Phi 4 and Phi 4 mini: fused q/k/v and gate/up, partial rope, longrope, sliding window."""

from zerostall import nn


class Model(nn.Decoder):
    """Every layer slides, as in transformers (llama.cpp ignores the window); Phi 4 stores 0."""

    def __init__(self, builder: nn.Builder) -> None:
        super().__init__(builder)
        self.windows = self.sliding_windows(period=0)
