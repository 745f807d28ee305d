"""Qwen 3: a norm on each query and key head."""

from zerostall import nn


class Model(nn.Decoder):
    """Head size is independent of width / heads."""

    query_key_norm = "head"
