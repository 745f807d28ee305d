"""Qwen 3 MoE: Qwen 3 with renormalised experts in place of the ffn."""

from zerostall.arch import qwen3


class Model(qwen3.Model):
    """The router's presence selects experts."""
