"""Seed-OSS: the plain decoder with biases on q, k and v and another name for the ffn's norm."""

from zerostall import nn


class Model(nn.Decoder):
    """Head size is independent of width / heads."""

    ffn_norm = "post_attention_norm"
