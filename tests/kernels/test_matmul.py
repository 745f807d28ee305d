"""Matrix products: the same bits on every instruction set, and the right ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tests.quant.weights import FORMATS, block_sizes, decoded, random_rows
from zerostall import _core
from zerostall.errors import InvalidRequestError

Floats = npt.NDArray[np.float32]
ISAS: list[str] = _core.isas()
BEST = ISAS[-1]
MODELS: list[str] = _core.isa_models()
ROWS, TOKENS = 37, [1, 2, 3, 5, 7, 8, 9, 17, 19]
BLOCKS = {1: 131, 32: 11, 256: 3}  # columns that are no multiple of a kernel's chunk


class Weight:
    """A random weight matrix, packed and decoded."""

    def __init__(self, name: str, rows: int = ROWS, extreme: bool = False) -> None:
        values, _ = block_sizes(name)
        self.name, self.rows, self.columns = name, rows, values * BLOCKS[values]
        data = random_rows(name, rows, self.columns, seed=4, extreme=extreme)
        self.packed = _core.pack(name, data.reshape(-1), rows, self.columns)
        self.values = decoded(name, data)

    def activations(self, tokens: int) -> Floats:
        rng = np.random.default_rng(tokens)
        x = rng.standard_normal((tokens, self.columns)) * rng.exponential(1, (tokens, 1))
        return x.astype(np.float32)

    def times(self, x: Floats, isa: str, **more: npt.NDArray[np.generic]) -> Floats:
        return _core.matmul(self.name, self.packed, self.rows, self.columns, x, isa, **more)


@pytest.fixture(scope="module", params=FORMATS)
def weight(request: pytest.FixtureRequest) -> Weight:
    return Weight(request.param)


@pytest.mark.parametrize("isa", ISAS[1:] + MODELS)
def test_every_instruction_set_gives_the_bits_of_plain_code(weight: Weight, isa: str) -> None:
    for tokens in TOKENS:
        x = weight.activations(tokens)
        assert weight.times(x, isa).tobytes() == weight.times(x, "scalar").tobytes(), tokens


@pytest.mark.parametrize("isa", ISAS[1:] + MODELS)
@pytest.mark.parametrize("name", FORMATS)
def test_extreme_scales_give_the_same_bits_too(name: str, isa: str) -> None:
    weight = Weight(name, rows=16, extreme=True)
    x = weight.activations(9)
    got, expected = weight.times(x, isa), weight.times(x, "scalar")
    assert np.array_equal(got, expected, equal_nan=True)


@pytest.mark.parametrize("isa", ISAS + MODELS)
def test_a_token_has_the_same_bits_alone_and_in_any_batch(weight: Weight, isa: str) -> None:
    x = weight.activations(17)
    alone = np.concatenate([weight.times(x[t : t + 1], isa) for t in range(17)])
    for tokens in TOKENS:
        assert weight.times(x[:tokens], isa).tobytes() == alone[:tokens].tobytes(), tokens
    assert weight.times(x[5:], isa).tobytes() == alone[5:].tobytes()


@pytest.mark.parametrize("isa", [BEST, *MODELS])
def test_more_tokens_than_one_pass_takes_have_the_same_bits(isa: str) -> None:
    weight = Weight("Q4_K")
    x = weight.activations(300)
    together = weight.times(x, isa)
    halves = np.concatenate([weight.times(x[:150], BEST), weight.times(x[150:], BEST)])
    assert together.tobytes() == halves.tobytes()


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 48])
def test_rows_have_the_same_bits_whatever_the_height_of_the_matrix(rows: int) -> None:
    x = Weight("Q6_K").activations(5)
    whole = Weight("Q6_K", rows=48).times(x, BEST)
    data = random_rows("Q6_K", 48, 768, seed=4)[:rows]
    packed = _core.pack("Q6_K", np.ascontiguousarray(data).reshape(-1), rows, 768)
    part = _core.matmul("Q6_K", packed, rows, 768, x, BEST)
    assert part.tobytes() == np.ascontiguousarray(whole[:, :rows]).tobytes()


@pytest.mark.parametrize("isa", ISAS)
def test_results_are_the_exact_product_with_the_quantised_activations(
    weight: Weight, isa: str
) -> None:
    x = weight.activations(3)
    used = x.astype(np.float64)
    kind = _core.format_traits(weight.name)["activations"]
    if kind != "F32":
        q, scales, _, _ = _core.quantize(kind, x.reshape(-1), isa)
        group = 256 if kind == "Q8_K" else 32
        used = (q.reshape(-1, group) * scales.astype(np.float64)[:, None]).reshape(x.shape)
    exact = used @ weight.values.T.astype(np.float64)
    # Each block adds one rounding of a sum whose size is at most that of its largest term.
    size = np.abs(used) @ np.abs(weight.values.T).astype(np.float64)
    assert np.abs(weight.times(x, isa) - exact).max() <= 4e-7 * size.max()


@pytest.mark.parametrize("isa", ISAS)
def test_bias_is_added_once_at_the_end(weight: Weight, isa: str) -> None:
    bias = np.random.default_rng(5).standard_normal(ROWS).astype(np.float32)
    for tokens in (1, 9):
        x = weight.activations(tokens)
        plain = weight.times(x, isa)
        assert weight.times(x, isa, bias=bias).tobytes() == (plain + bias).tobytes()


@pytest.mark.parametrize("isa", ISAS + MODELS)
def test_row_index_selects_tokens_in_its_own_order(weight: Weight, isa: str) -> None:
    x = weight.activations(9)
    index = np.array([8, 0, 3, 3, 7], np.int32)
    got = weight.times(x, isa, row_index=index)
    assert got.tobytes() == weight.times(np.ascontiguousarray(x[index]), isa).tobytes()


def test_unknown_names_and_wrong_shapes_are_refused() -> None:
    weight = Weight("Q8_0")
    x = weight.activations(2)
    with pytest.raises(InvalidRequestError, match='instruction set "sse9" is unknown'):
        weight.times(x, "sse9")
    with pytest.raises(InvalidRequestError, match="as many columns as the weight"):
        weight.times(np.ascontiguousarray(x[:, 1:]), BEST)
    with pytest.raises(InvalidRequestError, match="row_index 2 is not a row of x"):
        weight.times(x, BEST, row_index=np.array([2], np.int32))
    with pytest.raises(InvalidRequestError, match="Q8_0: packed has"):
        _core.matmul("Q8_0", weight.packed[1:], ROWS, weight.columns, x, BEST)
