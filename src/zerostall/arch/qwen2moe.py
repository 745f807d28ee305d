"""Qwen 1.5 and 2 MoE: a shared expert behind a sigmoid gate, routed weights not renormalised."""

from zerostall import nn


class Model(nn.Decoder):
    """norm_topk_prob is false in every released model."""

    normalise_experts = False
