"""zerostall info, tokenize and eval on the built-in model."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path

import pytest

from tests.cli.shell import run, run_json
from zerostall.lab.eval import perplexity, read_text

HELDOUT = Path(__file__).parents[1] / "data" / "nano_heldout.txt"
TEXT = "def f(x):\n    return x\n"


def test_info_tells_what_the_file_says(llm):
    code, answer = run_json("info")
    model = answer["model"]
    tensors = llm.file.tensors()
    assert code == 0
    assert (model["name"], model["architecture"]) == ("nano", "qwen3moe")
    assert (model["layers"], model["width"]) == (6, 256)
    assert (model["experts"], model["experts_used"]) == (16, 2)
    assert (model["model_context"], model["vocabulary"]) == (1024, 4096)
    assert model["parameters"] == sum(prod(tensor.shape) for tensor in tensors)
    assert sum(model["formats"].values()) == sum(tensor.bytes for tensor in tensors)
    assert model["memory"]["kv_cache"] == 1024 * 6 * 2 * (64 + 64) * 2
    assert model["chat_template"] is False


def test_info_for_people_has_the_same_facts():
    lines = run("info").stdout.splitlines()
    facts = dict(line.split(maxsplit=1) for line in lines)
    assert facts["architecture"] == "qwen3moe"
    assert facts["parameters"].endswith("million")


def test_the_tape_has_every_operator_with_its_weights_and_time(llm):
    _, answer = run_json("info", "--tape", "-t", "1")
    operators = answer["tape"]
    assert [op["op"] for op in operators] == [op.kind for op in llm.architecture.tape.ops]
    moe = next(op for op in operators if op["op"] == "moe")
    assert moe["weights"][-1]["name"] == "blk.0.ffn_down_exps.weight"
    assert moe["weights"][-1]["shape"] == [16, 256, 256]
    assert sum(op["time_us"] for op in operators) > 0
    printed = run("info", "--tape", "-t", "1").stdout
    assert printed.count("blk.5.attn_q.weight") == 1


def test_hardware_is_what_this_process_may_use():
    _, answer = run_json("info", "--hardware")
    assert set(answer) == {"hardware"}
    hardware = answer["hardware"]
    assert hardware["logical_cpus"] == len(os.sched_getaffinity(0))
    assert 1 <= hardware["threads"] <= hardware["physical_cores"] <= hardware["logical_cpus"]
    assert "scalar" in hardware["instruction_sets"]
    assert hardware["available_memory"] > 0


def test_tokenize_prints_ids_and_pieces(llm):
    ids = llm.tokenize(TEXT)
    _, answer = run_json("tokenize", TEXT)
    assert (answer["token_ids"], "".join(answer["pieces"])) == (ids, TEXT)
    lines = run("tokenize", TEXT).stdout.splitlines()
    assert [int(line.split()[0]) for line in lines] == ids
    assert run("tokenize", "--ids", TEXT).stdout == ",".join(map(str, ids)) + "\n"
    assert run("tokenize", "--decode", ",".join(map(str, ids))).stdout == TEXT + "\n"


def test_eval_ppl_prints_the_perplexity_on_stdout_and_progress_on_stderr(llm, tmp_path):
    file = tmp_path / "held.txt"
    file.write_text(HELDOUT.read_text()[:6000])
    expected = perplexity(llm, read_text(file), ctx=128, chunks=3)
    args = ("eval", "ppl", str(file), "--ctx", "128", "--chunks", "3")
    code, answer = run_json(*args)
    assert code == 0
    assert answer["perplexity"] == pytest.approx(expected.perplexity, rel=1e-12)
    assert (answer["chunks"], answer["tokens"]) == (3, 3 * 63)
    done = run(*args)
    assert done.stdout == f"perplexity: {expected.perplexity:.4f} +/- {expected.error:.5f}\n"
    assert done.stderr.startswith("[1]")
    assert f"[3]{expected.perplexity:.4f}," in done.stderr
