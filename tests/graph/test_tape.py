"""What the engine refuses in a tape, and how it places buffers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.graph.tiny import WIDTH, build_tape, engine, forward, write_model
from zerostall.errors import InvalidRequestError, ModelFormatError
from zerostall.tape import Op, Tape, Weight


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


def test_buffers_that_live_together_share_no_memory(model: Path) -> None:
    tape = build_tape()
    core = engine(model, tape)
    ops = core.describe()
    spans = {b["buffer"]: (b["offset"], b["width"] * 64 * 4) for op in ops for b in op["outputs"]}
    born = {b: i for i, op in enumerate(tape.ops) for b in op.outputs}
    dies = {b: i for i, op in enumerate(tape.ops) for b in (*op.inputs, *op.outputs)}
    overlaps = 0
    for a, (start, size) in spans.items():
        for b, (other, other_size) in spans.items():
            apart = start + size <= other or other + other_size <= start
            if a != b and born[a] <= dies[b] and born[b] <= dies[a]:
                assert apart
            overlaps += not apart and a != b
    assert overlaps > 0  # dead buffers' memory is used again
    assert core.memory()["buffers"] < sum(size for _, size in spans.values())


def test_the_description_shows_every_operator_with_its_weights(model: Path) -> None:
    core = engine(model, build_tape())
    ops = core.describe()
    assert [op["op"] for op in ops[:4]] == ["embed", "rope_table", "rms_norm", "linear"]
    assert [w["name"] for w in ops[3]["weights"]] == ["0.q", "0.k", "0.v"]
    assert ops[3]["weights"][0]["format"] == "F32"
    assert ops[3]["weights"][0]["bytes"] == 96 * 64 * 4


def _replace(tape: Tape, index: int, **changes: object) -> Tape:
    op = tape.ops[index]
    fields = {name: changes.get(name, getattr(op, name)) for name in op.__dataclass_fields__}
    tape.ops[index] = Op(**fields)
    return tape


WRONG: dict[str, tuple[Callable[[Tape], Tape], type[Exception], str]] = {
    "an unknown operator": (
        lambda t: _replace(t, 2, kind="rmsnorm"),
        InvalidRequestError,
        r"operator 2 \(rmsnorm\): there is no such operator",
    ),
    "an unknown attribute": (
        lambda t: _replace(t, 2, attrs={"eps": 1e-5, "epsilon": 1.0}),
        InvalidRequestError,
        "attribute 'epsilon' is not one it has",
    ),
    "a missing attribute": (
        lambda t: _replace(t, 2, attrs={}),
        InvalidRequestError,
        "attribute 'eps' is missing",
    ),
    "an attribute out of range": (
        lambda t: _replace(t, 6, attrs=t.ops[6].attrs | {"heads": 2**32 + 4}),
        InvalidRequestError,
        r"attention\): attribute 'heads' is 4294967300, expected an integer from 1 to 65536",
    ),
    "a negative window": (
        lambda t: _replace(t, 6, attrs=t.ops[6].attrs | {"window": -1}),
        InvalidRequestError,
        "attribute 'window' is -1, expected an integer from 0",
    ),
    "a number that is none": (
        lambda t: _replace(t, 2, attrs={"eps": float("nan")}),
        InvalidRequestError,
        "'eps' is nan, expected a finite float",
    ),
    "a buffer whose size in bytes overflows": (
        lambda t: Tape(t.ops, [2**62, *t.widths[1:]]),
        InvalidRequestError,
        "buffer 0 is 4611686018427387904 wide",
    ),
    "an attribute of the wrong type": (
        lambda t: _replace(t, 2, attrs={"eps": "small"}),
        InvalidRequestError,
        "'eps' must be a number",
    ),
    "a tensor that is not there": (
        lambda t: _replace(t, 2, weights=(Weight("nowhere"),)),
        ModelFormatError,
        "tensor 'nowhere' is missing",
    ),
    "a tensor of another shape": (
        lambda t: _replace(t, 2, weights=(Weight("embed"),)),
        ModelFormatError,
        r"has shape \[50, 64\]",
    ),
    "rows past the end": (
        lambda t: _replace(t, -1, weights=(Weight("head", 0, 51), None)),
        ModelFormatError,
        "expected at least 51 rows",
    ),
    "a buffer read before it is written": (
        lambda t: _replace(t, 2, inputs=(9,)),
        InvalidRequestError,
        "reads buffer 9 unwritten",
    ),
    "a buffer that does not exist": (
        lambda t: _replace(t, 2, inputs=(99,)),
        InvalidRequestError,
        "buffer 99 does not exist",
    ),
    "no logits": (
        lambda t: Tape(t.ops[:-1], t.widths),
        InvalidRequestError,
        "does not end with logits",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_tape_is_refused_with_its_place(model: Path, name: str) -> None:
    change, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        engine(model, change(build_tape()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads must be"),
        ({"context": 0}, "context must be"),
        ({"max_batch": 4097}, "max_batch must be"),
        ({"kv_tokens": 2**63}, "kv_tokens must be"),
        ({"kv_type": "q8"}, "kv_type is 'q8'"),
        ({"isa": "sse9"}, 'instruction set "sse9" is unknown'),
    ],
)
def test_a_wrong_option_is_refused(model: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        engine(model, build_tape(), **options)


def test_ids_past_the_embedding_are_refused_though_the_head_has_more_rows(model: Path) -> None:
    tape = build_tape()
    _replace(tape, 0, weights=(Weight("embed", 0, 20),))
    core = engine(model, tape)
    assert core.vocab_size == 50
    with pytest.raises(InvalidRequestError, match="token id 20 is outside the vocabulary of 20"):
        forward(core, [19, 20])
    assert forward(core, [19]).shape == (1, 50)


def test_a_slice_of_a_vector_is_described_with_its_own_bytes(model: Path) -> None:
    tape = build_tape()
    _replace(tape, 2, weights=(Weight("0.norm", 16, 32),), attrs={"eps": 1e-5, "group": 16})
    assert engine(model, tape).describe()[2]["weights"][0]["bytes"] == 16 * 4


def test_rows_of_a_tensor_may_be_used_alone(model: Path) -> None:
    tape = build_tape()
    _replace(tape, -1, weights=(Weight("head", 3, 20), None))
    core = engine(model, tape)
    assert core.vocab_size == 17
    assert WIDTH == 64
