"""The engine's operators against their meaning in numpy, where no golden model reaches them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import pytest

from tests.arch.interpreter import Interpreter
from tests.arch.running import relative_difference, run
from zerostall import _core
from zerostall.tape import Tape

VOCAB, WIDTH, HIDDEN, EXPERTS, HEADS, HEAD_DIM = 37, 24, 20, 5, 3, 8
SHAPES: dict[str, tuple[int, ...]] = {
    "embed": (VOCAB, WIDTH),
    "head": (VOCAB, WIDTH),
    "head.bias": (VOCAB,),
    "norm": (WIDTH,),
    "norm.bias": (WIDTH,),
    "group": (HEAD_DIM,),
    "square": (WIDTH, WIDTH),
    "square.bias": (WIDTH,),
    "gate": (HIDDEN, WIDTH),
    "up": (HIDDEN, WIDTH),
    "down": (WIDTH, HIDDEN),
    "one": (1, WIDTH),
    "router": (EXPERTS, WIDTH),
    "router.bias": (EXPERTS,),
    "gate_exps": (EXPERTS, HIDDEN, WIDTH),
    "up_exps": (EXPERTS, HIDDEN, WIDTH),
    "down_exps": (EXPERTS, WIDTH, HIDDEN),
    "gate_exps.bias": (EXPERTS, HIDDEN),
    "up_exps.bias": (EXPERTS, HIDDEN),
    "down_exps.bias": (EXPERTS, WIDTH),
    "sinks": (HEADS,),
}
Tensors = dict[str, npt.NDArray[np.float32]]
Middle = Callable[[Tape, int], int]


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    rng = np.random.default_rng(5)
    return {
        name: rng.standard_normal(shape, np.float32) / np.float32(shape[-1] ** 0.5)
        if len(shape) > 1 and name != "embed"
        else rng.standard_normal(shape, np.float32)
        for name, shape in SHAPES.items()
    }


@pytest.fixture(scope="module")
def file(tensors: Tensors, tmp_path_factory: pytest.TempPathFactory) -> _core.GgufFile:
    path: Path = tmp_path_factory.mktemp("operators") / "operators.gguf"
    writer = gguf.GGUFWriter(path, "test")
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return _core.GgufFile(str(path))


def difference(middle: Middle, file: _core.GgufFile, tensors: Tensors) -> float:
    """Engine against interpreter on embed -> middle -> logits."""
    tape = Tape()
    (x,) = tape.add("embed", weights=["embed"], widths=[WIDTH], scale=1.5)
    x = middle(tape, x)
    tape.add("logits", [x], ["head", "head.bias"], scale=2.0, softcap=9.0)
    tokens = np.arange(0, 3 * VOCAB, 3, dtype=np.int32) % VOCAB
    engine = _core.Engine(file, tape, context=64, max_batch=64, kv_type="f32")
    expected = Interpreter(tape, lambda name: tensors[name]).step(tokens)
    assert expected.std() > 0.5
    return relative_difference(run(engine, tokens), expected)


def norm(weight: str | None, bias: str | None = None, group: int = WIDTH) -> Middle:
    kind = "layer_norm" if bias is not None else "rms_norm"
    weights = [weight, bias or None] if kind == "layer_norm" else [weight]

    def middle(tape: Tape, x: int) -> int:
        return tape.add(kind, [x], weights, [WIDTH], eps=0.1, group=group)[0]

    return middle


def ffn(act: str, gate: str | None) -> Middle:
    def middle(tape: Tape, x: int) -> int:
        return tape.add("ffn", [x], [gate, "up", "down"], [WIDTH], act=act)[0]

    return middle


BIASES = ["router.bias", "gate_exps.bias", "up_exps.bias", "down_exps.bias"]
ROUTER_ONLY, UP_ONLY = ["router.bias", *[None] * 3], [None, None, "up_exps.bias", None]


def moe(
    gating: str,
    normalise: bool,
    bias: str | None,
    act: str = "silu",
    biases: Sequence[str | None] = (),
) -> Middle:
    def middle(tape: Tape, x: int) -> int:
        weights = ["router", bias, "gate_exps", "up_exps", "down_exps", *biases]
        attrs = {"experts": EXPERTS, "used": 3, "scale": 3.0, "gating": gating, "act": act}
        return tape.add("moe", [x], weights, [WIDTH], normalise=normalise, **attrs)[0]

    return middle


def gated(weight: str, width: int) -> Middle:
    def middle(tape: Tape, x: int) -> int:
        (gate,) = tape.add("linear", [x], [weight, None], [width])
        return tape.add("sigmoid_gate", [x, gate], widths=[WIDTH])[0]

    return middle


def attention(
    window: int, softcap: float, rotated: int, mode: str, sinks: Sequence[str] = ()
) -> Middle:
    def middle(tape: Tape, x: int) -> int:
        frequencies = [0.5 / (i + 1) for i in range(rotated // 2)]
        (table,) = tape.add("rope_table", widths=[rotated], inv_freq=frequencies, scale=1.1)
        pairs = ["square", "square.bias", "square", None]
        q, k = tape.add("linear", [x], pairs, [WIDTH, WIDTH])
        rope = {"head_dim": HEAD_DIM, "n_rot": rotated, "mode": mode}
        (q,) = tape.add("rope", [q, table], widths=[WIDTH], **rope)
        (k,) = tape.add("rope", [k, table], widths=[WIDTH], **rope)
        heads = {"heads": HEADS, "kv_heads": HEADS, "head_dim": HEAD_DIM, "value_dim": HEAD_DIM}
        scores = {"scale": 0.5, "window": window, "softcap": softcap}
        attrs = {"layer": 0, **heads, **scores}
        return tape.add("attention", [q, k, x], sinks, [WIDTH], **attrs)[0]

    return middle


def added(tape: Tape, x: int) -> int:
    (y,) = tape.add("linear", [x], ["square", "square.bias"], [WIDTH])
    (z,) = tape.add("add", [x, y], widths=[WIDTH], scale=-0.3)
    return tape.add("softcap", [z], widths=[WIDTH], cap=2.0)[0]


CASES: dict[str, Middle] = {
    "rms norm": norm("norm"),
    "rms norm without weight": norm(None),
    "rms norm by groups": norm("group", group=HEAD_DIM),
    "layer norm": norm("norm", "norm.bias"),
    "layer norm without bias": norm("norm", ""),
    "layer norm by groups": norm("group", "", HEAD_DIM),
    "ffn silu": ffn("silu", "gate"),
    "ffn gelu": ffn("gelu", "gate"),
    "ffn gelu_tanh": ffn("gelu_tanh", "gate"),
    "ffn swiglu_oai": ffn("swiglu_oai", "gate"),
    "ffn silu without gate": ffn("silu", None),
    "ffn gelu without gate": ffn("gelu", None),
    "ffn swiglu_oai without gate": ffn("swiglu_oai", None),
    "moe softmax": moe("softmax", False, None),
    "moe softmax normalised": moe("softmax", True, None),
    "moe sigmoid": moe("sigmoid", False, None),
    "moe sigmoid normalised": moe("sigmoid", True, None),
    "moe sigmoid with bias": moe("sigmoid", True, "router.bias"),
    "moe gelu": moe("softmax", True, None, "gelu_tanh"),
    "moe with biases": moe("softmax", True, None, "swiglu_oai", BIASES),
    "moe with a router's bias": moe("softmax", False, None, "silu", ROUTER_ONLY),
    "moe with both biases of the router": moe("sigmoid", True, "router.bias", "silu", BIASES),
    "moe with biases of up": moe("softmax", True, None, "silu", UP_ONLY),
    "sigmoid gate of one": gated("one", 1),
    "sigmoid gate of all": gated("square", WIDTH),
    "attention neox": attention(0, 0.0, 8, "neox"),
    "attention normal": attention(0, 0.0, 8, "normal"),
    "attention partly rotated neox": attention(0, 0.0, 4, "neox"),
    "attention partly rotated normal": attention(0, 0.0, 6, "normal"),
    "attention in a window": attention(5, 0.0, 8, "neox"),
    "attention capped": attention(0, 1.5, 8, "neox"),
    "attention with sinks": attention(0, 0.0, 8, "neox", ["sinks"]),
    "attention with sinks in a window": attention(3, 0.0, 8, "neox", ["sinks"]),
    "attention with sinks, capped": attention(0, 1.5, 8, "neox", ["sinks"]),
    "add and softcap": added,
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_of_the_engine_means_what_it_means_in_numpy(
    name: str, file: _core.GgufFile, tensors: Tensors
) -> None:
    assert difference(CASES[name], file, tensors) <= 2e-6
