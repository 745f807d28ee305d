"""Speed of every weight format on every instruction set, timed in the core."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from zerostall import _core
from zerostall.engine.work import Limits
from zerostall.errors import InvalidRequestError
from zerostall.lab.limits import buffer_bytes, measure_limits

COLUMNS = 4096
PREFILL_ROWS = 4096


@dataclass(frozen=True)
class KernelSpeed:
    """One format on one instruction set.

    Attributes:
        decode_gb_per_s: weight bytes read a second with one token, from memory.
        decode_fraction: of the read bandwidth measured right after it.
        prefill_tops: 10^12 operations a second with many tokens, a multiply-add being two.
        prefill_fraction: of the measured peak: int8, or float32 for float formats.
    """

    format: str
    isa: str
    decode_gb_per_s: float
    decode_fraction: float
    prefill_tops: float
    prefill_fraction: float

    def to_dict(self) -> dict[str, float | str]:
        """The fields, for JSON."""
        return asdict(self)


def default_isas() -> list[str]:
    """All of this machine but scalar, which is a reference and takes minutes."""
    isas = _core.isas()
    return isas[1:] or isas


def measure_kernels(
    threads: int,
    tokens: int = 128,
    formats: Sequence[str] = (),
    isas: Sequence[str] = (),
    seconds: float = 0.3,
    weight_bytes: int | None = None,
) -> Iterator[KernelSpeed]:
    """Time each format on each instruction set; medians of as many products as fit the time.

    Args:
        threads: threads that share each product.
        tokens: of a prefill product with a 4096 x 4096 weight.
        formats: weight formats; empty for all.
        isas: instruction sets; empty for all but scalar.
        seconds: for each figure.
        weight_bytes: size of the weight in decoding; None: four times the last-level cache and
            at least 512 MiB, so that it comes from memory.

    Raises:
        InvalidRequestError: a format or instruction set that there is not, or a bad number.
    """
    if not 1 <= tokens <= 1024:
        raise InvalidRequestError(f"tokens is {tokens}; give 1 to 1024")
    size = buffer_bytes() if weight_bytes is None else weight_bytes
    chosen = list(formats) or _core.format_names()
    traits = {name: _core.format_traits(name) for name in chosen}
    limits: dict[str, Limits] = {}
    for isa in isas or default_isas():
        limits[isa] = measure_limits(isa, threads, None, seconds)
        for name in chosen:
            row_bytes = COLUMNS // traits[name]["block_values"] * traits[name]["block_bytes"]
            rows = max(16 * threads, size // row_bytes)
            decode = statistics.median(
                _core.time_matmul(name, rows, COLUMNS, 1, isa, threads, seconds)
            )
            bandwidth = _core.read_bandwidth(threads, buffer_bytes(), seconds)
            prefill = statistics.median(
                _core.time_matmul(name, PREFILL_ROWS, COLUMNS, tokens, isa, threads, seconds)
            )
            speed = rows * row_bytes / decode
            operations = 2 * PREFILL_ROWS * COLUMNS * tokens / prefill
            floats = traits[name]["activations"] == "F32"
            peak = limits[isa].float32 if floats else limits[isa].int8
            yield KernelSpeed(
                format=name,
                isa=isa,
                decode_gb_per_s=speed / 1e9,
                decode_fraction=speed / bandwidth,
                prefill_tops=operations / 1e12,
                prefill_fraction=operations / peak,
            )


def kernel_table(speeds: Sequence[KernelSpeed]) -> list[list[str]]:
    """One row a format, two columns an instruction set; the first row is the heading."""
    isas = list(dict.fromkeys(speed.isa for speed in speeds))
    by_key = {(speed.format, speed.isa): speed for speed in speeds}
    table = [["format"]]
    for isa in isas:
        table[0] += [f"{isa} decode GB/s", f"{isa} prefill TOPS"]
    for name in dict.fromkeys(speed.format for speed in speeds):
        row = [name]
        for isa in isas:
            speed = by_key[name, isa]
            row.append(f"{speed.decode_gb_per_s:.1f} ({speed.decode_fraction:.0%})")
            row.append(f"{speed.prefill_tops:.3f} ({speed.prefill_fraction:.0%})")
        table.append(row)
    return table
