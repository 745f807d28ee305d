"""OLMoE: one norm over all queries and one over all keys; expert weights not renormalised."""

from zerostall import nn


class Model(nn.Decoder):
    """Norms precede the split into heads."""

    query_key_norm = "projection"
    normalise_experts = False
