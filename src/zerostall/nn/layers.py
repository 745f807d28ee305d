"""What blocks are made of: products, norms, residual additions and the dense feed-forward."""

from __future__ import annotations

from typing import Literal

from zerostall.errors import ModelFormatError
from zerostall.nn.builder import Builder
from zerostall.tape import Weight

_EPSILON = {
    "rms_norm": "attention.layer_norm_rms_epsilon",
    "layer_norm": "attention.layer_norm_epsilon",
}


class Layers:
    """Writes single operators of one model, by GGUF's standard tensor names.

    Attributes:
        norm_kind: the operator of all norms; layer_norm adds a bias where the file has one.
        activation: of the ffn and the experts: silu, gelu, gelu_tanh or swiglu_oai.
        gated_ffn: whether the ffn has a gate, of its own or fused in front of `up`.
    """

    norm_kind: Literal["rms_norm", "layer_norm"] = "rms_norm"
    activation: Literal["silu", "gelu", "gelu_tanh", "swiglu_oai"] = "silu"
    gated_ffn = True

    def __init__(self, builder: Builder) -> None:
        self.b = builder
        self.hp = builder.hyperparameters
        self.tape = builder.tape
        self.width = self.hp.integer("embedding_length")
        self.eps = self.hp.real(_EPSILON[self.norm_kind], low=1e-20, high=1.0)

    def residual_scale(self) -> float:
        """Factor on what a block adds to the residual stream."""
        return 1.0

    def linear(self, name: str, x: int, width: int) -> int:
        """x W^T, plus the bias where the file has one."""
        weight = self.b.weight(f"{name}.weight", (width, self.tape.widths[x]))
        bias = self.b.optional(f"{name}.bias", (width,))
        (y,) = self.tape.add("linear", [x], [weight, bias], [width])
        return y

    def norm(self, name: str, x: int) -> int:
        """The norm over the whole width."""
        width = self.tape.widths[x]
        weights: list[Weight | None] = [self.b.weight(f"{name}.weight", (width,))]
        if self.norm_kind == "layer_norm":
            weights.append(self.b.optional(f"{name}.bias", (width,)))
        (y,) = self.tape.add(self.norm_kind, [x], weights, [width], eps=self.eps)
        return y

    def add(self, x: int, y: int, scale: float | None = None) -> int:
        """x + scale * y; the residual scale unless another is given."""
        factor = self.residual_scale() if scale is None else scale
        (z,) = self.tape.add("add", [x, y], widths=[self.tape.widths[x]], scale=factor)
        return z

    def ffn(self, x: int, gate: str, up: str, down: str) -> int:
        """down(act(gate x) * up x), the gate in the first half of `up` when fused."""
        hidden = self.matrix_shape(f"{down}.weight")[1]
        down_weight = self.b.weight(f"{down}.weight", (self.width, hidden))
        whole = (hidden, self.width)
        gate_weight: Weight | None = None
        if self.gated_ffn and self.matrix_shape(f"{up}.weight")[0] == 2 * hidden:
            double = (2 * hidden, self.width)
            gate_weight = self.b.weight(f"{up}.weight", double, (0, hidden))
            up_weight = self.b.weight(f"{up}.weight", double, (hidden, 2 * hidden))
        else:
            up_weight = self.b.weight(f"{up}.weight", whole)
            if self.gated_ffn:
                gate_weight = self.b.weight(f"{gate}.weight", whole)
        (y,) = self.tape.add(
            "ffn", [x], [gate_weight, up_weight, down_weight], [self.width], act=self.activation
        )
        return y

    def invalid(self, what: str) -> ModelFormatError:
        """An error that names the file."""
        return ModelFormatError(f"{self.b.file.paths[0]}: {what}.")

    def matrix_shape(self, name: str, dimensions: int = 2) -> tuple[int, ...]:
        """The shape of a matrix, or of one matrix an expert; ModelFormatError if it is none."""
        shape = self.b.shape(name)
        if len(shape) != dimensions:
            raise self.invalid(f"{name} has {len(shape)} dimensions, expected {dimensions}")
        return shape
