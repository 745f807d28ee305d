from __future__ import annotations

import importlib
from typing import Any

import pytest

from tests.nn.fake_file import FakeFile, builder, tiny_llama
from zerostall.arch import gemma3, llama, qwen2moe
from zerostall.errors import ModelFormatError
from zerostall.tape import Op, Tape, Weight


def only(tape: Tape, kind: str) -> Op:
    (op,) = [op for op in tape.ops if op.kind == kind]
    return op


def test_a_layer_is_attention_and_ffn_on_normed_residuals() -> None:
    tape = llama.Model(builder(tiny_llama())).build()
    attention = ["rms_norm", "linear", "rope", "rope", "attention", "linear", "add"]
    ffn = ["rms_norm", "ffn", "add"]
    expected = ["embed", "rope_table", *attention, *ffn, "rms_norm", "logits"]
    assert [op.kind for op in tape.ops] == expected


def test_the_tape_names_every_tensor_of_the_file() -> None:
    file = tiny_llama(3)
    tape = llama.Model(builder(file)).build()
    used = {weight.name for op in tape.ops for weight in op.weights if weight}
    assert used == set(file.shapes)


def test_buffers_are_written_once_and_before_they_are_read() -> None:
    tape = llama.Model(builder(tiny_llama(2))).build()
    written: set[int] = set()
    for op in tape.ops:
        assert set(op.inputs) <= written
        assert not written & set(op.outputs)
        written |= set(op.outputs)
    assert written == set(range(len(tape.widths)))


def test_without_an_output_matrix_the_embedding_gives_the_logits() -> None:
    file = tiny_llama()
    assert only(llama.Model(builder(file)).build(), "logits").weights[0] == Weight(
        "token_embd.weight"
    )
    file.shapes["output.weight"] = (10, 8)
    assert only(llama.Model(builder(file)).build(), "logits").weights[0] == Weight("output.weight")


def test_attention_has_the_metadata_s_heads() -> None:
    attention = only(llama.Model(builder(tiny_llama())).build(), "attention")
    assert attention.attrs == {
        "layer": 0,
        "heads": 2,
        "kv_heads": 1,
        "head_dim": 4,
        "value_dim": 4,
        "scale": 0.5,
        "window": 0,
        "softcap": 0.0,
    }


def test_fused_projections_are_used_in_slices() -> None:
    file = tiny_llama()
    for letter in "qkv":
        del file.shapes[f"blk.0.attn_{letter}.weight"]
    del file.shapes["blk.0.ffn_gate.weight"]
    file.shapes["blk.0.attn_qkv.weight"] = (16, 8)
    file.shapes["blk.0.attn_qkv.bias"] = (16,)
    file.shapes["blk.0.ffn_up.weight"] = (24, 8)
    tape = llama.Model(builder(file)).build()
    qkv = next(op for op in tape.ops if op.kind == "linear")
    matrix, bias = "blk.0.attn_qkv.weight", "blk.0.attn_qkv.bias"
    assert qkv.weights == tuple(
        Weight(name, begin, end)
        for begin, end in [(0, 8), (8, 12), (12, 16)]
        for name in (matrix, bias)
    )
    up = "blk.0.ffn_up.weight"
    assert only(tape, "ffn").weights == (
        Weight(up, 0, 12),
        Weight(up, 12, 24),
        Weight("blk.0.ffn_down.weight"),
    )


def test_an_ffn_has_no_gate_where_the_architecture_has_none() -> None:
    class Ungated(llama.Model):
        gated_ffn = False

    file = tiny_llama()
    del file.shapes["blk.0.ffn_gate.weight"]
    assert only(Ungated(builder(file)).build(), "ffn").weights[0] is None


def moe_file() -> FakeFile:
    file = tiny_llama(architecture="qwen2moe")
    file.metadata["qwen2moe.expert_count"] = 5
    file.metadata["qwen2moe.expert_used_count"] = 3
    for part in ("gate", "up", "down"):
        del file.shapes[f"blk.0.ffn_{part}.weight"]
        shape = (8, 6) if part == "down" else (6, 8)
        file.shapes[f"blk.0.ffn_{part}_exps.weight"] = (5, *shape)
        file.shapes[f"blk.0.ffn_{part}_shexp.weight"] = shape
    file.shapes["blk.0.ffn_gate_inp.weight"] = (5, 8)
    file.shapes["blk.0.ffn_gate_inp_shexp.weight"] = (8,)
    return file


@pytest.mark.parametrize("gate_shape", [(8,), (1, 8)])
def test_a_router_selects_experts_and_a_gate_the_shared_one(gate_shape: tuple[int, ...]) -> None:
    file = moe_file()
    file.shapes["blk.0.ffn_gate_inp_shexp.weight"] = gate_shape
    tape = qwen2moe.Model(builder(file, "qwen2moe")).build()
    assert [op.kind for op in tape.ops[11:17]] == [
        "moe", "ffn", "linear", "sigmoid_gate", "add", "add",
    ]  # fmt: skip
    assert only(tape, "moe").attrs == {
        "experts": 5,
        "used": 3,
        "gating": "softmax",
        "normalise": False,
        "scale": 1.0,
        "act": "silu",
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("context_length", 0),
        ("block_count", 1 << 20),
        ("embedding_length", "wide"),
        ("attention.head_count", 0),
        ("attention.head_count_kv", 3),
        ("attention.key_length", 1 << 20),
        ("attention.layer_norm_rms_epsilon", 0.0),
        ("rope.dimension_count", 6),
        ("rope.freq_base", 0.0),
    ],
)
def test_hostile_sizes_are_errors_naming_the_key(key: str, value: Any) -> None:
    file = tiny_llama()
    file.metadata["llama." + key] = value
    with pytest.raises(ModelFormatError, match=rf"'llama\.{key}' is"):
        llama.Model(builder(file)).build()


def test_more_experts_used_than_there_are_is_an_error() -> None:
    file = moe_file()
    file.metadata["qwen2moe.expert_used_count"] = 6
    with pytest.raises(ModelFormatError, match="expert_used_count"):
        qwen2moe.Model(builder(file, "qwen2moe")).build()


def test_heads_that_do_not_divide_are_an_error() -> None:
    file = tiny_llama()
    file.metadata["llama.attention.head_count"] = 3
    file.metadata["llama.attention.head_count_kv"] = 2
    with pytest.raises(ModelFormatError, match="3 query heads do not divide into 2 groups"):
        llama.Model(builder(file))


def gpt_oss_file(layers: int = 3) -> FakeFile:
    file = tiny_llama(layers, "gpt-oss")
    file.metadata |= {"gpt-oss.expert_count": 5, "gpt-oss.expert_used_count": 3}
    file.metadata["gpt-oss.attention.sliding_window"] = 7
    for i in range(layers):
        blk = f"blk.{i}."
        file.shapes[blk + "post_attention_norm.weight"] = file.shapes.pop(blk + "ffn_norm.weight")
        file.shapes[blk + "attn_sinks.weight"] = (2,)
        for part in ("gate", "up", "down"):
            del file.shapes[blk + f"ffn_{part}.weight"]
            shape = (8, 6) if part == "down" else (6, 8)
            file.shapes[blk + f"ffn_{part}_exps.weight"] = (5, *shape)
            file.shapes[blk + f"ffn_{part}_exps.bias"] = (5, shape[0])
        file.shapes[blk + "ffn_gate_inp.weight"] = (5, 8)
        file.shapes[blk + "ffn_gate_inp.bias"] = (5,)
    return file


def gpt_oss(file: FakeFile) -> Tape:
    model = importlib.import_module("zerostall.arch.gpt-oss").Model
    tape: Tape = model(builder(file, "gpt-oss")).build()
    return tape


def test_gpt_oss_has_sinks_and_slides_on_every_other_layer_from_the_first() -> None:
    attention = [op for op in gpt_oss(gpt_oss_file()).ops if op.kind == "attention"]
    assert [op.attrs["window"] for op in attention] == [7, 0, 7]
    names = [(Weight(f"blk.{i}.attn_sinks.weight"),) for i in range(3)]
    assert [op.weights for op in attention] == names


def test_gpt_oss_guesses_with_the_norm_and_the_bias_that_its_routers_have() -> None:
    tape = gpt_oss(gpt_oss_file(2))

    def guess(layer: int) -> list[Weight | None]:
        blk = f"blk.{layer}."
        router = [Weight(blk + "ffn_gate_inp.weight"), None, Weight(blk + "ffn_gate_inp.bias")]
        return [Weight(blk + "post_attention_norm.weight"), *router]

    foreseen = [op for op in tape.ops if op.kind == "foresee"]
    assert [list(op.weights) for op in foreseen] == [guess(0), guess(1)]
    first, last = (op.weights for op in tape.ops if op.kind == "moe")
    parts = ("gate_inp", "gate_exps", "up_exps", "down_exps")
    biases = [f"blk.0.ffn_{part}.bias" for part in parts]
    assert list(first[5:9]) == [Weight(name) for name in biases]
    assert list(first[9:]) == [guess(0)[0], *guess(1)]
    assert len(last) == 9


@pytest.mark.parametrize("name", ["attn_sinks.weight", "post_attention_norm.weight"])
def test_gpt_oss_without_its_sinks_or_its_norm_is_an_error(name: str) -> None:
    file = gpt_oss_file()
    del file.shapes["blk.1." + name]
    with pytest.raises(ModelFormatError, match=f"'blk.1.{name}' is missing"):
        gpt_oss(file)


def gemma_file(layers: int, **metadata: Any) -> FakeFile:
    file = tiny_llama(layers, "gemma3")
    for i in range(layers):
        for name in ("post_attention_norm", "post_ffw_norm"):
            file.shapes[f"blk.{i}.{name}.weight"] = (8,)
        for name in ("attn_q_norm", "attn_k_norm"):
            file.shapes[f"blk.{i}.{name}.weight"] = (4,)
    file.metadata |= {f"gemma3.{key}": value for key, value in metadata.items()}
    return file


def test_gemma3_slides_five_layers_of_six_each_with_the_local_rope() -> None:
    file = gemma_file(7, **{"attention.sliding_window": 9, "rope.freq_base": 1e6})
    tape = gemma3.Model(builder(file, "gemma3")).build()
    attention = [op for op in tape.ops if op.kind == "attention"]
    assert [op.attrs["window"] for op in attention] == [9, 9, 9, 9, 9, 0, 9]
    tables = [op for op in tape.ops if op.kind == "rope_table"]
    assert [op.attrs["inv_freq"][1] for op in tables] == pytest.approx([1e-3, 1e-2])
    full, local = (op.outputs[0] for op in tables)
    ropes = [op.inputs[1] for op in tape.ops if op.kind == "rope"]
    assert ropes == [local] * 10 + [full] * 2 + [local] * 2


def test_gemma3_without_a_window_has_one_rope() -> None:
    tape = gemma3.Model(builder(gemma_file(2), "gemma3")).build()
    assert only(tape, "rope_table").attrs["inv_freq"][1] == pytest.approx(1e-2)
