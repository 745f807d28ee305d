"""Llama 2 and 3, TinyLlama, Mistral; with experts Mixtral.

The converter permutes q and k so that rope turns neighbouring values.
"""

from zerostall import nn


class Model(nn.Decoder):
    """The plain decoder; Llama 3.1's frequency factors come with the file."""

    rope_mode = "normal"
