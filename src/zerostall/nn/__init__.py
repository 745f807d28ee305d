"""Shared blocks that architectures compose: hyperparameters, weights, rope tables, the decoder."""

from zerostall.nn.builder import Builder
from zerostall.nn.decoder import Decoder
from zerostall.nn.hyperparameters import Hyperparameters
from zerostall.nn.rope import Rope

__all__ = ["Builder", "Decoder", "Hyperparameters", "Rope"]
