"""Rotary position embedding: the inverse frequencies and magnitude of every known scaling.

Computed in float64 and rounded once to float32. Angles are position * inverse frequency, and
cosine and sine are multiplied by the magnitude.

Sources: RoFormer (arXiv:2104.09864); linear interpolation (arXiv:2306.15595); YaRN
(arXiv:2309.00071); LongRoPE (arXiv:2402.13753); Llama 3.1's factors arrive precomputed in the
tensor `rope_freqs.weight`. Checked against transformers' modeling_rope_utils.py and against
llama.cpp reading the same metadata.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from zerostall.errors import UnsupportedModelError
from zerostall.nn.builder import Builder

_YARN_BETA_FAST = 32.0  # the paper's defaults for Llama; converters omit them when equal
_YARN_BETA_SLOW = 1.0
_MAX_CONTEXT = 1 << 31


@dataclass(frozen=True)
class Rope:
    """Inverse frequency of each rotated pair, and the magnitude of cosine and sine."""

    inverse_frequencies: npt.NDArray[np.float32]
    magnitude: float = 1.0

    @staticmethod
    def plain(rotated: int, base: float, factors: npt.NDArray[np.float64] | None = None) -> Rope:
        """Unscaled rope over `rotated` values a head; `factors` divide the frequencies."""
        divisor = 1.0 if factors is None else factors
        return Rope((_frequencies(rotated, base) / divisor).astype(np.float32))

    @staticmethod
    def yarn(
        rotated: int,
        base: float,
        factor: float,
        original_context: int,
        beta_fast: float = _YARN_BETA_FAST,
        beta_slow: float = _YARN_BETA_SLOW,
        extrapolation: float = 1.0,
        magnitude: float | None = None,
        whole_pairs: bool = True,
    ) -> Rope:
        """YaRN: fast pairs keep their frequency, slow ones are interpolated, a ramp between.

        `magnitude` None means the paper's 1 + 0.1 ln(factor). `whole_pairs`: the ramp begins and
        ends at a pair, as in the authors' code; few models leave its ends where they are.
        """
        low = _pair_turning(beta_fast, rotated, base, original_context)
        high = _pair_turning(beta_slow, rotated, base, original_context)
        if whole_pairs:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, rotated - 1)
        ramp = (np.arange(rotated // 2) - low) / max(high - low, 0.001)
        keep = (1.0 - np.clip(ramp, 0.0, 1.0)) * extrapolation
        plain = _frequencies(rotated, base)
        mixed = plain / factor * (1.0 - keep) + plain * keep
        if magnitude is None:
            magnitude = yarn_magnitude(factor)
        return Rope(mixed.astype(np.float32), magnitude)

    @staticmethod
    def from_file(b: Builder, rotated: int, base: float, whole_pairs: bool = True) -> Rope:
        """The rope that the file's `rope.scaling.*` metadata and factor tensors describe."""
        hp = b.hyperparameters
        kind = hp.text("rope.scaling.type", "linear")
        if kind not in ("none", "linear", "yarn", "longrope"):
            raise UnsupportedModelError(
                f"{b.file.paths[0]}: rope.scaling.type is '{kind}'; supported are none, linear, "
                "yarn and longrope."
            )
        factor = _scaling_factor(b)
        if kind == "yarn":
            rope = _yarn_from_file(b, rotated, base, factor, whole_pairs)
        else:
            rope = Rope.plain(rotated, base, _factors_from_file(b, rotated))
            if kind == "linear":
                rope = Rope(rope.inverse_frequencies / np.float32(factor))
        return replace(
            rope, magnitude=rope.magnitude * hp.real("rope.scaling.attn_factor", 1.0, 1e-6, 1e6)
        )


def yarn_magnitude(factor: float, multiplier: float = 1.0) -> float:
    """YaRN's magnitude 1 + 0.1 m ln(factor), and 1 where nothing is extended."""
    return 1.0 if factor <= 1.0 else 1.0 + 0.1 * multiplier * math.log(factor)


def _scaling_factor(b: Builder) -> float:
    """How far positions are stretched; 0 means not at all, as in llama.cpp."""
    hp = b.hyperparameters
    key = "rope.scaling.factor" if "rope.scaling.factor" in hp else "rope.scale_linear"
    if hp.real(key, 0.0) == 0.0:
        return 1.0
    return hp.real(key, low=1e-6, high=1e6)


def longest_context(b: Builder) -> int:
    """Positions the model was made for, those that its scaling reaches included.

    Configurations of YaRN often state the context before scaling (Qwen2.5 does); the file's
    converter copies it.
    """
    hp = b.hyperparameters
    stated = hp.integer("context_length", high=_MAX_CONTEXT)
    kind = hp.text("rope.scaling.type", "none")
    key = "rope.scaling.original_context_length"
    if kind not in ("linear", "yarn") or (kind == "linear" and key not in hp):
        return stated  # without the original, a linear factor may be counted in what is stated
    scaled = int(hp.integer(key, stated, high=_MAX_CONTEXT) * _scaling_factor(b))
    return min(max(stated, scaled), _MAX_CONTEXT)


def _factors_from_file(b: Builder, rotated: int) -> npt.NDArray[np.float64] | None:
    """Llama 3.1's factors, or longrope's: the long ones once the context exceeds the original.

    phi3 files hold longrope's two tensors without stating a scaling type.
    """
    if b.has("rope_factors_long.weight"):
        long = b.factors("rope_factors_long.weight", rotated // 2)
        short = b.factors("rope_factors_short.weight", rotated // 2)
        original = b.hyperparameters.integer(
            "rope.scaling.original_context_length", high=_MAX_CONTEXT
        )
        return long if b.context > original else short
    if b.has("rope_freqs.weight"):
        return b.factors("rope_freqs.weight", rotated // 2)
    return None


def _yarn_from_file(
    b: Builder, rotated: int, base: float, factor: float, whole_pairs: bool
) -> Rope:
    """YaRN by the file's keys, which default to the paper's values.

    The converter stores transformers' `attention_factor` under yarn_attn_factor, where it
    replaces the paper's magnitude. llama.cpp reads that key and the betas for few architectures.
    """
    hp = b.hyperparameters
    original = hp.integer(
        "rope.scaling.original_context_length",
        hp.integer("context_length", high=_MAX_CONTEXT),
        high=_MAX_CONTEXT,
    )
    magnitude = hp.real("rope.scaling.yarn_attn_factor", 0.0, high=1e6)
    if magnitude == 0.0:
        multiplier = hp.real("rope.scaling.yarn_log_multiplier", 0.0, high=1e6)
        magnitude = yarn_magnitude(factor) / yarn_magnitude(factor, multiplier)
    extrapolation = hp.real("rope.scaling.yarn_ext_factor", 1.0, low=-1.0, high=1e6)
    return Rope.yarn(
        rotated,
        base,
        factor,
        original,
        hp.real("rope.scaling.yarn_beta_fast", _YARN_BETA_FAST, 1e-6, 1e6),
        hp.real("rope.scaling.yarn_beta_slow", _YARN_BETA_SLOW, 1e-6, 1e6),
        1.0 if extrapolation < 0.0 else extrapolation,  # llama.cpp's -1 means not set
        magnitude,
        whole_pairs,
    )


def _frequencies(rotated: int, base: float) -> npt.NDArray[np.float64]:
    return np.power(base, -np.arange(0, rotated, 2, dtype=np.float64) / rotated)


def _pair_turning(turns: float, rotated: int, base: float, context: int) -> float:
    """The pair (as a real number) that makes `turns` full turns within `context` positions."""
    return rotated * math.log(context / (turns * 2.0 * math.pi)) / (2.0 * math.log(base))
