"""dots.llm1: sigmoid routing with a selection bias, shared experts, dense first layers."""

from typing import Literal

from zerostall import nn
from zerostall.errors import UnsupportedModelError

_GATINGS: dict[int, Literal["softmax", "sigmoid"]] = {1: "softmax", 2: "sigmoid"}


class Model(nn.Decoder):
    """The metadata names the router's function and whether weights are renormalised."""

    query_key_norm = "head"

    def __init__(self, builder: nn.Builder) -> None:
        super().__init__(builder)
        gating = self.hp.integer("expert_gating_func", 2, low=0)
        if gating not in _GATINGS:
            raise UnsupportedModelError(f"{builder.file.paths[0]}: expert_gating_func is {gating}.")
        self.gating = _GATINGS[gating]
        self.normalise_experts = self.hp.flag("expert_weights_norm", False)
