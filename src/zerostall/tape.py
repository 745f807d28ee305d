"""The tape: a model as a flat list of coarse operators over named weights.

Plain data, built by Python once at load; `_core.Engine` validates, plans and runs it. Every
buffer is float32 of shape [tokens, width]; a buffer is named by its index in `Tape.widths`.
The operators, their inputs, weights and attributes are listed in docs/guides/tape.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Attribute = int | float | str | bool | Sequence[float]


@dataclass(frozen=True)
class Weight:
    """A tensor of the model file, or some of its rows.

    `row_begin` and `row_end` select along the output dimension (the slower one of a matrix);
    `row_end` None means to the end. Fused tensors (phi3's attn_qkv) are used in slices.
    """

    name: str
    row_begin: int = 0
    row_end: int | None = None


@dataclass(frozen=True)
class Op:
    """One operator: reads buffers and weights, writes buffers."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    weights: tuple[Weight | None, ...]
    attrs: dict[str, Attribute]


@dataclass
class Tape:
    """Operators in execution order, and the width in floats of each buffer they pass on."""

    ops: list[Op] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)

    def add(
        self,
        kind: str,
        inputs: Sequence[int] = (),
        weights: Sequence[Weight | str | None] = (),
        widths: Sequence[int] = (),
        **attrs: Attribute,
    ) -> tuple[int, ...]:
        """Append one operator.

        Args:
            kind: the operator's name.
            inputs: buffer indices it reads.
            weights: tensors it uses, in the operator's order; None where an optional one is
                absent; a plain name means the whole tensor.
            widths: width in floats of each buffer it writes.
            attrs: the operator's attributes.

        Returns:
            The indices of the buffers it writes.
        """
        outputs = tuple(range(len(self.widths), len(self.widths) + len(widths)))
        self.widths.extend(widths)
        refs = tuple(Weight(w) if isinstance(w, str) else w for w in weights)
        self.ops.append(Op(kind, tuple(inputs), outputs, refs, dict(attrs)))
        return outputs
