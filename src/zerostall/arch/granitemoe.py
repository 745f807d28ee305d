"""Granite 3 MoE: Granite with experts, their weights a softmax over the chosen."""

from zerostall.arch import granite


class Model(granite.Model):
    """The router's presence selects experts."""
