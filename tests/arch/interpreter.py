"""The operators of the tape in plain numpy, float64: what each means, for one sequence.

The engine is compared with this, operator by operator and on whole models.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from zerostall.tape import Op, Tape, Weight

Array = npt.NDArray[np.float64]


def sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softcapped(x: Array, cap: float) -> Array:
    return cap * np.tanh(x / cap) if cap else x


_ERF = np.vectorize(math.erf, otypes=[np.float64])
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "silu": lambda x: x * sigmoid(x),
    "gelu": lambda x: 0.5 * x * (1.0 + _ERF(x / math.sqrt(2.0))),
    "gelu_tanh": lambda x: (
        0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "swiglu_oai": lambda x: np.minimum(x, 7.0) * sigmoid(1.702 * np.minimum(x, 7.0)),
}


def gated(act: str, gate: Array, up: Array) -> Array:
    if act == "swiglu_oai":
        up = np.clip(up, -7.0, 7.0) + 1.0
    return ACTIVATIONS[act](gate) * up


class Interpreter:
    """Runs a tape on one sequence, keeping keys and values between steps.

    Attributes:
        hidden: what the head read in the last step, float64 [tokens, width].

    Args:
        tape: the model.
        tensor: gives a tensor of the file by name, slowest dimension first.
    """

    def __init__(self, tape: Tape, tensor: Callable[[str], npt.NDArray[Any]]) -> None:
        self.tape = tape
        self.tensor = tensor
        self.length = 0
        self.cache: dict[int, tuple[Array, Array]] = {}

    def step(self, tokens: npt.NDArray[np.int32]) -> Array:
        """Append tokens; logits of each, float64 [tokens, vocab]."""
        self.tokens = tokens
        self.positions = self.length + np.arange(len(tokens))
        buffers: dict[int, Array] = {}
        for op in self.tape.ops:
            inputs = [buffers[i] for i in op.inputs]
            weights = [self._weight(w) for w in op.weights]
            outputs = getattr(self, op.kind)(op, inputs, weights)
            if op.kind == "logits":
                self.hidden = inputs[0]
                self.length += len(tokens)
                return np.asarray(outputs[0])
            for index, value in zip(op.outputs, outputs, strict=True):
                assert value.shape == (len(tokens), self.tape.widths[index]), op
                buffers[index] = value
        raise AssertionError("the tape does not end in logits")

    def _weight(self, weight: Weight | None) -> Any:
        if weight is None:
            return None
        data = self.tensor(weight.name).astype(np.float64)
        axis = data.ndim - 2 if data.ndim > 1 else 0
        return data.take(range(weight.row_begin, weight.row_end or data.shape[axis]), axis)

    def embed(self, op: Op, inputs: list[Array], weights: list[Any]) -> list[Array]:
        return [weights[0][self.tokens] * op.attrs["scale"]]

    def rope_table(self, op: Op, inputs: list[Array], weights: list[Any]) -> list[Array]:
        frequencies = np.asarray(op.attrs["inv_freq"], dtype=np.float32)
        angles = (self.positions.astype(np.float32)[:, None] * frequencies).astype(np.float64)
        pairs = np.stack([np.cos(angles), np.sin(angles)], axis=-1) * op.attrs["scale"]
        return [pairs.reshape(len(angles), -1)]

    def rms_norm(self, op: Op, inputs: list[Array], weights: list[Any]) -> list[Array]:
        x = self._grouped(op, inputs[0])
        y = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + op.attrs["eps"])
        y = y if weights[0] is None else y * weights[0]
        return [y.reshape(inputs[0].shape)]

    def layer_norm(self, op: Op, inputs: list[Array], weights: list[Any]) -> list[Array]:
        x = self._grouped(op, inputs[0])
        x = x - x.mean(axis=-1, keepdims=True)
        y = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + op.attrs["eps"])
        y = y if weights[0] is None else y * weights[0]
        y = y if weights[1] is None else y + weights[1]
        return [y.reshape(inputs[0].shape)]

    def linear(self, op: Op, inputs: list[Array], weights: list[Any]) -> list[Array]:
        pairs = zip(weights[::2], weights[1::2], strict=True)
        return [
            inputs[0] @ np.atleast_2d(w).T + (0.0 if bias is None else bias) for w, bias in pairs
        ]

    def rope(self, op: Op, inputs: list[Array], weights: list[Any]) -> list[Array]:
        x, table = inputs
        n = op.attrs["n_rot"]
        heads = x.reshape(len(x), -1, op.attrs["head_dim"]).copy()
        first, second = (
            (slice(0, n // 2), slice(n // 2, n))
            if op.attrs["mode"] == "neox"
            else (slice(0, n, 2), slice(1, n, 2))
        )
        cosine, sine = table[:, None, 0::2], table[:, None, 1::2]
        a, b = heads[..., first].copy(), heads[..., second].copy()
        heads[..., first] = a * cosine - b * sine
        heads[..., second] = b * cosine + a * sine
        return [heads.reshape(x.shape)]

    def attention(self, op: Op, inputs: list[Array], weights: list[Any]) -> list[Array]:
        at = op.attrs
        heads, kv_heads = at["heads"], at["kv_heads"]
        counts = (heads, kv_heads, kv_heads)
        q, k, v = (x.reshape(len(x), n, -1) for x, n in zip(inputs, counts, strict=True))
        if at["layer"] in self.cache:
            old_k, old_v = self.cache[at["layer"]]
            k, v = np.concatenate([old_k, k]), np.concatenate([old_v, v])
        self.cache[at["layer"]] = (k, v)
        distance = self.positions[:, None] - np.arange(len(k))[None, :]
        visible = (distance >= 0) & ((distance < at["window"]) if at["window"] else True)
        out = np.empty((len(q), heads, at["value_dim"]))
        for head in range(heads):
            group = head // (heads // kv_heads)
            scores = softcapped(q[:, head] @ k[:, group].T * at["scale"], at["softcap"])
            sink = np.full((len(q), 1), weights[0][head] if weights else -np.inf)
            seen = np.concatenate([np.where(visible, scores, -np.inf), sink], axis=1)
            out[:, head] = softmax(seen)[:, :-1] @ v[:, group]
        return [out.reshape(len(q), -1)]

    def ffn(self, op: Op, inputs: list[Array], weights: list[Any]) -> list[Array]:
        return [self._ffn(op, inputs[0], *weights)]

    def foresee(self, op: Op, inputs: list[Array], weights: list[Any]) -> list[Array]:
        return []  # what it guesses changes no result

    def moe(self, op: Op, inputs: list[Array], weights: list[Any]) -> list[Array]:
        x, at = inputs[0], op.attrs
        router, selection_bias, *matrices = weights[:5]
        router_bias, *biases = weights[5:9] or [None] * 4
        scores = x @ router.T + (0.0 if router_bias is None else router_bias)
        if at["gating"] == "sigmoid":
            scores = sigmoid(scores)
        ranked = scores if selection_bias is None else scores + selection_bias
        chosen = np.argsort(-ranked, axis=-1, kind="stable")[:, : at["used"]]
        mix = np.take_along_axis(scores, chosen, axis=-1)
        if at["gating"] == "softmax" and at["normalise"]:
            mix = softmax(mix)
        elif at["gating"] == "softmax":
            mix = np.take_along_axis(softmax(scores), chosen, axis=-1)
        elif at["normalise"]:
            mix = mix / mix.sum(axis=-1, keepdims=True)
        y = np.zeros_like(x)
        for row in range(len(x)):
            for expert, weight in zip(chosen[row], mix[row] * at["scale"], strict=True):
                own = [m[expert] for m in matrices]
                own_biases = [0.0 if b is None else b[expert] for b in biases]
                y[row] += weight * self._ffn(op, x[row : row + 1], *own, *own_biases)[0]
        return [y]

    def sigmoid_gate(self, op: Op, inputs: list[Array], weights: list[Any]) -> list[Array]:
        return [inputs[0] * sigmoid(inputs[1])]

    def add(self, op: Op, inputs: list[Array], weights: list[Any]) -> list[Array]:
        return [inputs[0] + op.attrs["scale"] * inputs[1]]

    def softcap(self, op: Op, inputs: list[Array], weights: list[Any]) -> list[Array]:
        return [softcapped(inputs[0], op.attrs["cap"])]

    def logits(self, op: Op, inputs: list[Array], weights: list[Any]) -> list[Array]:
        y = inputs[0] @ weights[0].T + (0.0 if weights[1] is None else weights[1])
        return [softcapped(y * op.attrs["scale"], op.attrs["softcap"])]

    @staticmethod
    def _grouped(op: Op, x: Array) -> Array:
        return x.reshape(len(x), -1, op.attrs.get("group", x.shape[-1]))

    @staticmethod
    def _ffn(
        op: Op, x: Array, gate: Any, up: Any, down: Any,
        gate_bias: Any = 0.0, up_bias: Any = 0.0, down_bias: Any = 0.0,
    ) -> Array:  # fmt: skip
        act = op.attrs["act"]
        if gate is None:
            hidden = ACTIVATIONS[act](x @ up.T)
        else:
            hidden = gated(act, x @ gate.T + gate_bias, x @ up.T + up_bias)
        return hidden @ down.T + down_bias
