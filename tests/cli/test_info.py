"""zerostall info, tokenize and eval on the built-in model."""

from __future__ import annotations

import json
import os
from math import prod
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.cli.shell import run, run_json
from tests.cpu.recorded import machine
from zerostall import LLM, _core
from zerostall.cli import app
from zerostall.engine import cpus
from zerostall.engine.cpus import place_threads
from zerostall.engine.work import Limits
from zerostall.lab import hardware
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
    assert model["memory"]["kv_cache"] == 1024 * 6 * 2 * (64 + 64 + 2 * 4)
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
    assert moe["weights"][3]["name"] == "blk.0.ffn_down_exps.weight"
    assert moe["weights"][3]["shape"] == [16, 256, 256]
    assert sum(op["time_us"] for op in operators) > 0
    printed = run("info", "--tape", "-t", "1").stdout
    assert printed.count("blk.5.attn_q.weight") == 1


def test_hardware_is_what_this_process_may_use():
    _, answer = run_json("info", "--hardware")
    assert set(answer) == {"hardware"}
    found = answer["hardware"]
    placement = place_threads()
    assert found["logical_cpus"] == len(os.sched_getaffinity(0))
    assert found["threads"] == placement.threads
    assert (found["cpus"], found["pinned"]) == (placement.cpus, placement.pinned)
    cores = found["performance_cores"] + found["efficiency_cores"]
    assert 1 <= cores == found["physical_cores"] <= found["logical_cpus"]
    assert "scalar" in found["instruction_sets"]
    assert found["available_memory"] > 0
    assert all(found["limits"][rate] > 0 for rate in ("read_bandwidth_gb_per_s", "int8_tops"))


def test_hardware_for_people_names_cores_caches_nodes_and_limits(tmp_path, monkeypatch):
    topology = machine(tmp_path, "i7_12700")
    monkeypatch.setattr(cpus, "read_topology", lambda: topology)
    monkeypatch.delenv("ZEROSTALL_PIN", raising=False)
    measured = {"unit": "avx2"} | Limits(45e9, 1.25e12, 0.75e12).to_dict()
    monkeypatch.setattr(hardware, "describe_limits", lambda threads: measured)
    lines = CliRunner().invoke(app.build(), ["info", "--hardware"]).stdout.splitlines()
    facts = {line[:18].strip(): line[18:] for line in lines}
    assert (facts["performance cores"], facts["efficiency cores"]) == ("8", "4")
    assert "8 L2 of 1.25 MiB for 2 CPUs each, 1 L2 of 2 MiB for 4 CPUs each" in facts["caches"]
    assert facts["numa nodes"] == "0: CPUs 0-19, 31.2 GiB"
    assert facts["cpus"] == "0,2,4,6,8,10,12,14"
    assert facts["pinned"] == "yes: one thread for every core"
    assert facts["limits"] == "45.0 GB/s read, 1.25 TOPS int8 (avx2), 0.75 TFLOPS float32"


def test_hardware_of_a_model_measures_its_drive_by_depth(monkeypatch, llm):
    monkeypatch.setattr(hardware, "describe_limits", lambda threads: {})
    monkeypatch.setattr(_core, "drive_node", lambda path: 1)
    monkeypatch.setattr(_core, "drive_bandwidth", lambda path, depth, size, seconds: depth * 1e9)
    _, answer = run_json("info", "--hardware", "-m", "nano")
    assert set(answer) == {"hardware", "model"}
    assert answer["hardware"]["drive"] == {
        "path": str(llm.path),
        "numa_node": 1,
        "gb_per_s_by_depth": {str(depth): depth for depth in (1, 2, 4, 8, 16, 32)},
    }


@pytest.mark.parametrize(("threads", "code"), [("all", 0), ("2", 0), ("some", 2)])
def test_threads_are_a_number_or_all(threads, code, monkeypatch):
    monkeypatch.setattr(hardware, "describe_limits", lambda threads: {})
    monkeypatch.setattr(cpus, "all_threads", lambda: 3)
    done = CliRunner().invoke(app.build(), ["info", "--hardware", "--json", "-t", threads])
    assert done.exit_code == code
    if code == 0:
        found = json.loads(done.stdout)["hardware"]["threads"]
        assert found == {"all": 3, "2": 2}[threads]


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


def test_eval_ppl_takes_the_precision_of_the_cache_by_either_name(tmp_path):
    file = tmp_path / "held.txt"
    file.write_text(HELDOUT.read_text()[:3000])
    with LLM("nano", kv_type="int8") as int8:
        expected = perplexity(int8, read_text(file), ctx=128, chunks=2).perplexity
    for option in ("--kv-type", "--kv"):
        _, answer = run_json("eval", "ppl", str(file), "-c", "128", "--chunks", "2", option, "int8")
        assert answer["perplexity"] == pytest.approx(expected, rel=1e-12)
