"""Qwen 2 and 2.5: the plain decoder with biases on q, k and v."""

from zerostall import nn


class Model(nn.Decoder):
    """All of it follows from the tensors present."""
