"""The feed-forward of a mixture of experts, and the guesses of what the next layer will want."""

from __future__ import annotations

from typing import Literal

from zerostall.errors import InvalidRequestError
from zerostall.nn.layers import Layers
from zerostall.tape import Weight


class Mixture(Layers):
    """Writes routed and shared experts.

    Attributes:
        ffn_norm: the name of the norm in front of the ffn.
        gating: "softmax" or "sigmoid" over the router's logits.
        normalise_experts: whether the chosen experts' weights are made to sum to 1.
    """

    ffn_norm = "ffn_norm"
    gating: Literal["softmax", "sigmoid"] = "softmax"
    normalise_experts = True

    def feed_forward(self, layer: int, x: int) -> int:
        """Experts where the layer has a router, else the dense ffn."""
        if self.b.has(f"blk.{layer}.ffn_gate_inp.weight"):
            return self.experts(layer, x)
        return self.ffn(x, *(f"blk.{layer}.ffn_{part}" for part in ("gate", "up", "down")))

    def experts(self, layer: int, x: int) -> int:
        """Routed experts, plus shared ones (behind a sigmoid gate where the file has it)."""
        count = self.hp.integer("expert_count", high=1 << 16)
        used = self.experts_used(count)
        blk = f"blk.{layer}"
        selection_bias, router_bias = self._router_biases(layer, count)
        hidden = self.matrix_shape(f"{blk}.ffn_up_exps.weight", 3)[1]
        into, out = (count, hidden, self.width), (count, self.width, hidden)
        (y,) = self.tape.add(
            "moe",
            [x],
            [
                self.b.weight(f"{blk}.ffn_gate_inp.weight", (count, self.width)),
                selection_bias,
                self.b.weight(f"{blk}.ffn_gate_exps.weight", into),
                self.b.weight(f"{blk}.ffn_up_exps.weight", into),
                self.b.weight(f"{blk}.ffn_down_exps.weight", out),
                router_bias,
                *self._expert_biases(blk, count, hidden),
                *self.lookahead(layer),
            ],
            [self.width],
            experts=count,
            used=used,
            gating=self.gating,
            normalise=self.normalise_experts,
            scale=self.hp.real("expert_weights_scale", 0.0) or 1.0,
            act=self.activation,
        )
        if not self.b.has(f"{blk}.ffn_up_shexp.weight"):
            return y
        shared = self.ffn(x, *(f"{blk}.ffn_{part}_shexp" for part in ("gate", "up", "down")))
        gate = self._shared_gate(f"{blk}.ffn_gate_inp_shexp.weight", x)
        if gate is not None:
            (shared,) = self.tape.add("sigmoid_gate", [shared, gate], widths=[self.width])
        return self.add(y, shared, 1.0)

    def experts_used(self, count: int) -> int:
        """How many of `count` experts a token uses: the file's number, or the fewer asked for."""
        used = self.hp.integer("expert_used_count", high=count)
        asked = self.b.experts
        if asked is None:
            return used
        if not 1 <= asked <= used:
            raise InvalidRequestError(
                f"experts is {asked}; this model uses {used} for each token: give 1 to {used}"
            )
        return asked

    def foresee(self, layer: int, x: int) -> None:
        """Name the experts that the layer will want, from what it has before its attention."""
        norm, router = f"blk.{layer}.{self.ffn_norm}.weight", f"blk.{layer}.ffn_gate_inp.weight"
        if self.norm_kind != "rms_norm" or not self.b.has(norm) or not self.b.has(router):
            return
        count = self.b.shape(router)[0]
        self.tape.add(
            "foresee",
            [x],
            [
                self.b.weight(norm, (self.width,)),
                self.b.weight(router, (count, self.width)),
                *self._router_biases(layer, count),
            ],
            experts=count,
            used=self.experts_used(count),
            gating=self.gating,
            eps=self.eps,
        )

    def lookahead(self, layer: int) -> list[Weight | None]:
        """What guesses the next layer's experts: this layer's norm, then its norm and router.

        Empty where the next layer has no experts, or their input is no norm of the residual stream.
        """
        norms = [f"blk.{i}.{self.ffn_norm}.weight" for i in (layer, layer + 1)]
        router = f"blk.{layer + 1}.ffn_gate_inp.weight"
        if self.norm_kind != "rms_norm" or not all(map(self.b.has, [*norms, router])):
            return []
        count = self.b.shape(router)[0]
        return [
            *(self.b.weight(norm, (self.width,)) for norm in norms),
            self.b.weight(router, (count, self.width)),
            *self._router_biases(layer + 1, count),
        ]

    def _router_biases(self, layer: int, count: int) -> list[Weight | None]:
        """What is added for the choice alone (DeepSeek-V3), then to the logits (gpt-oss)."""
        names = ("exp_probs_b.bias", "ffn_gate_inp.bias")
        return [self.b.optional(f"blk.{layer}.{name}", (count,)) for name in names]

    def _expert_biases(self, blk: str, count: int, hidden: int) -> list[Weight | None]:
        """Of gate, up and down: one row an expert."""
        return [
            self.b.optional(f"{blk}.ffn_{part}_exps.bias", (count, rows))
            for part, rows in (("gate", hidden), ("up", hidden), ("down", self.width))
        ]

    def _shared_gate(self, name: str, x: int) -> int | None:
        """The shared expert's gate logit; stored by converters as [width] or [1, width]."""
        if not self.b.has(name):
            return None
        shape = self.b.shape(name)
        weight = self.b.weight(name, (1, self.width) if len(shape) == 2 else (self.width,))
        (gate,) = self.tape.add("linear", [x], [weight, None], [1])
        return gate
