"""Models with random weights: what the files hold, that they run, and how experts are chosen."""

from __future__ import annotations

import errno
import math
import shutil
from dataclasses import replace

import gguf
import numpy as np
import pytest

from tests.arch.interpreter import Interpreter
from tests.cli.shell import run, run_json
from zerostall import _core, arch
from zerostall.errors import InvalidRequestError, StorageError
from zerostall.lab import synth
from zerostall.lab.gguf_writer import TensorSpec, header_bytes, write_gguf
from zerostall.lab.random_weights import Pool
from zerostall.lab.shape_tensors import metadata
from zerostall.lab.shapes import SHAPES

# Parameters in billions as the models' authors state them.
PARAMETERS = {
    "tinyllama-1.1b": 1.10,
    "llama-3.2-1b": 1.24,
    "llama-3.2-3b": 3.21,
    "llama-3.1-8b": 8.03,
    "llama-3.1-70b": 70.6,
    "mistral-7b": 7.25,
    "mixtral-8x7b": 46.7,
    "phi-4": 14.7,
    "phi-4-mini": 3.84,
    "qwen2.5-7b": 7.62,
    "qwen3-0.6b": 0.596,
    "qwen3-4b": 4.02,
    "qwen3-8b": 8.19,
    "qwen3-32b": 32.8,
    "qwen3-30b-a3b": 30.5,
    "qwen3-235b-a22b": 235,
    "qwen3-coder-480b-a35b": 480,
    "olmoe-1b-7b": 6.92,
    "gpt-oss-20b": 20.9,
    "gpt-oss-120b": 116.8,
    "deepseek-v3": 671,
    "kimi-k2": 1026,
}
SMALL = replace(
    SHAPES["qwen3-30b-a3b"],
    layers=3,
    width=512,
    heads=4,
    kv_heads=2,
    head_dim=64,
    vocab=600,
    experts=16,
    used=2,
    expert_hidden=256,
)


SMALL_OSS = replace(
    SHAPES["gpt-oss-20b"],
    layers=3,
    width=256,
    heads=6,
    kv_heads=2,
    head_dim=32,
    vocab=600,
    experts=8,
    used=3,
    expert_hidden=192,
)


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_as_many_parameters_as_its_model(name):
    count = sum(math.prod(tensor.shape) for tensor, _ in synth.plan_tensors(SHAPES[name]))
    assert count / 1e9 == pytest.approx(PARAMETERS[name], rel=0.006)


@pytest.mark.parametrize("name", [n for n, s in SHAPES.items() if synth.runs_today(s)])
def test_a_runnable_shape_of_full_size_has_the_tensors_its_architecture_wants(tmp_path, name):
    specs = [spec for _, spec in synth.plan_tensors(SHAPES[name])]
    path = tmp_path / "hollow.gguf"  # no data: the drive keeps only the header
    with path.open("wb") as file:
        header = header_bytes(metadata(SHAPES[name], name), specs)
        file.write(header)
        file.truncate(len(header) + sum(-(-spec.bytes // 32) * 32 for spec in specs))
    model = arch.load(_core.GgufFile(str(path)), 4096)
    assert (model.layers, model.width) == (SHAPES[name].layers, SHAPES[name].width)
    assert model.vocab_size == SHAPES[name].vocab


@pytest.mark.parametrize("name", ["Q4_0", "Q5_0", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"])
def test_random_weights_have_zero_mean_and_the_deviation_asked_for(name):
    v = sample(name, 1 / 64, 1_000_000)
    assert v.std() == pytest.approx(1 / 64, rel=0.01)
    assert abs(v.mean()) < 0.02 / 64


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_random_floats_are_normal(name):
    v = sample(name, 0.02, 300_000)
    assert v.std() == pytest.approx(0.02, rel=0.01)
    assert (np.abs(v) < 0.02).mean() == pytest.approx(0.683, abs=0.01)


def test_mxfp4_has_the_nearest_power_of_two():
    v = sample("MXFP4", 0.02, 1_000_000)
    assert 0.02 / math.sqrt(2) < v.std() < 0.02 * math.sqrt(2)


def sample(name, deviation, values):
    pool = Pool(name, deviation)
    values -= values % pool.block_values
    return _core.decode(name, np.frombuffer(b"".join(pool.take(values)), np.uint8), values)


def test_a_pool_goes_on_where_it_stopped_so_no_two_rows_are_equal():
    pool = Pool("Q4_K", 1.0)
    rows = {b"".join(pool.take(2048)) for _ in range(20000)}
    assert len(rows) == 20000


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("synth") / "small.gguf"
    size = synth.write_model(path, "small", SMALL)
    assert path.stat().st_size == size
    return path


def test_another_reader_finds_the_metadata_and_the_tensors(small):
    reader = gguf.GGUFReader(small)
    assert reader.get_field("general.architecture").contents() == "qwen3moe"
    assert reader.get_field("qwen3moe.expert_count").contents() == 16
    assert reader.get_field("qwen3moe.rope.freq_base").contents() == 1e6
    planned = {spec.name: spec for _, spec in synth.plan_tensors(SMALL)}
    assert {tensor.name for tensor in reader.tensors} == set(planned)
    for tensor in reader.tensors:
        assert tuple(int(n) for n in tensor.shape) == planned[tensor.name].shape[::-1]
        assert tensor.tensor_type.name == planned[tensor.name].format
    formats = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert formats["blk.0.ffn_gate_exps.weight"] == "Q4_K"
    assert formats["blk.2.attn_v.weight"] == formats["output.weight"] == "Q6_K"


def tensors_of(path):
    file = _core.GgufFile(str(path))
    found = {tensor.name: tensor for tensor in file.tensors()}

    def tensor(name):
        t = found[name]
        return _core.decode(t.type_name, file.tensor_bytes(name), math.prod(t.shape)).reshape(
            t.shape
        )

    return file, tensor


def test_the_model_runs_and_gives_the_logits_of_its_weights(small):
    file, tensor = tensors_of(small)
    tape = arch.load(file, 16).tape
    engine = _core.Engine(file, tape, context=16)
    sequence = engine.open_sequence()
    tokens = np.array([5, 77, 599, 0], np.int32)
    got = engine.step(tokens, np.full(4, sequence, np.int32), np.array([3], np.int32))[0]
    expected = Interpreter(tape, tensor).step(tokens)[3]
    assert np.corrcoef(got, expected)[0, 1] > 0.99  # activations are quantised to 8 bits
    assert 0.3 < expected.std() < 3


def test_a_model_in_the_shape_of_gpt_oss_has_its_formats_and_runs(tmp_path):
    path = tmp_path / "oss.gguf"
    synth.write_model(path, "oss", SMALL_OSS)
    file, tensor = tensors_of(path)
    formats = {t.name: t.type_name for t in file.tensors()}
    assert formats["blk.2.ffn_down_exps.weight"] == "MXFP4"
    assert formats["blk.2.ffn_down_exps.bias"] == formats["blk.2.attn_sinks.weight"] == "F32"
    tape = arch.load(file, 256).tape
    engine = _core.Engine(file, tape, context=256, max_batch=200)
    tokens = np.arange(0, 600, 3, dtype=np.int32)  # more than the window
    last = np.array([199], np.int32)
    got = engine.step(tokens, np.full(200, engine.open_sequence(), np.int32), last)[0]
    expected = Interpreter(tape, tensor).step(tokens)[-1]
    assert np.corrcoef(got, expected)[0, 1] > 0.99


class Watching(Interpreter):
    """Notes the expert that each token's router likes best, layer by layer."""

    def moe(self, op, inputs, weights):
        logits = inputs[0] @ weights[0].T
        self.best = [*getattr(self, "best", []), logits.argmax(axis=-1)]
        assert 0.8 < logits[:, 0].std() < 2.5
        return super().moe(op, inputs, weights)


def popularity(path):
    """The share of tokens that chose each expert first, most popular first: [layers, experts]."""
    file, tensor = tensors_of(path)
    watching = Watching(arch.load(file, 1024).tape, tensor)
    watching.step(np.arange(600, dtype=np.int32))
    counts = [np.bincount(best, minlength=16) / 600 for best in watching.best]
    return np.sort(counts, axis=1)[:, ::-1]


def test_without_skew_experts_are_chosen_evenly_at_every_depth(small):
    assert popularity(small)[:, 0].max() < 0.16


def test_a_skew_makes_a_zipf_law_of_the_choices_at_every_depth(tmp_path):
    path = tmp_path / "skewed.gguf"
    synth.write_model(path, "skewed", SMALL, skew=1.0)
    shares = popularity(path)
    law = 1 / np.arange(1, 17)
    law /= law.sum()  # 0.296, 0.148, ...
    assert np.abs(shares[:, 0] - law[0]).max() < 0.08
    assert np.abs(shares[:, :4].sum(axis=1) - law[:4].sum()).max() < 0.12


def test_the_skewed_model_keeps_its_constant_channels_in_every_layer(tmp_path):
    path = tmp_path / "skewed.gguf"
    synth.write_model(path, "skewed", SMALL, skew=2.0)
    _, tensor = tensors_of(path)
    embedding = tensor("token_embd.weight")[:, : synth.CONSTANT]
    assert (embedding == embedding[0]).all()
    assert embedding[0].std() == pytest.approx(1, rel=0.1)
    for layer in range(3):
        assert not tensor(f"blk.{layer}.attn_output.weight")[: synth.CONSTANT].any()
        assert not tensor(f"blk.{layer}.ffn_down_exps.weight")[:, : synth.CONSTANT].any()
        assert tensor(f"blk.{layer}.ffn_down_exps.weight")[:, synth.CONSTANT :].any(axis=2).all()


def test_a_seed_changes_the_routers_and_nothing_else(tmp_path):
    paths = [tmp_path / f"{seed}.gguf" for seed in (0, 0, 1)]
    paths[1] = tmp_path / "again.gguf"
    for path, seed in zip(paths, (0, 0, 1), strict=True):
        synth.write_model(path, "seeded", SMALL, skew=0.5, seed=seed)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    (_, one), (_, other) = tensors_of(paths[0]), tensors_of(paths[2])
    assert (one("output.weight") == other("output.weight")).all()
    assert (one("blk.0.ffn_gate_inp.weight") != other("blk.0.ffn_gate_inp.weight")).any()


@pytest.mark.parametrize("mixture", synth.MIXTURES)
def test_every_mixture_makes_a_model_that_runs(tmp_path, mixture):
    path = tmp_path / "model.gguf"
    synth.write_model(path, "mixed", replace(SMALL, layers=1), mixture=mixture, skew=1.0)
    file = _core.GgufFile(str(path))
    engine = _core.Engine(file, arch.load(file, 4).tape, context=4)
    one = np.zeros(1, np.int32)
    logits = engine.step(one, np.full(1, engine.open_sequence(), np.int32), one)
    assert np.isfinite(logits).all()
    assert logits.std() > 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: synth.find_shape("gpt-7"), "there is no shape 'gpt-7'"),
        (lambda: synth.find_shape("phi-4", layers=41), "1 to 40"),
        (lambda: synth.find_shape("phi-4", vocab=0), "vocab is 0"),
        (lambda: synth.plan_tensors(SMALL, "Q1"), "format is 'Q1'"),
        (lambda: synth.write_model("x", "x", SMALL, skew=-1.0), "router-skew is -1"),
        (lambda: synth.write_model("x", "x", SHAPES["phi-4"], skew=1.0), "no experts"),
        (lambda: synth.write_model("x", "x", replace(SMALL, width=256), skew=1.0), "width"),
    ],
)
def test_requests_out_of_range_are_refused(call, message):
    with pytest.raises(InvalidRequestError, match=message):
        call()


SPECS = [TensorSpec("t", (4, 8), "F32")]


def test_a_drive_too_small_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match="make room"):
        write_gguf(tmp_path / "m.gguf", {}, SPECS, lambda i: [bytes(128)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), StorageError),
        (OSError(errno.EIO, "Input/output error"), StorageError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_fault_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, fault, raised):
    path = tmp_path / "m.gguf"
    path.write_bytes(b"old")

    def data(index):
        yield bytes(64)
        raise fault

    with pytest.raises(raised):
        write_gguf(path, {}, SPECS, data)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        write_gguf(tmp_path / "no" / "m.gguf", {}, SPECS, lambda i: [bytes(128)])


def test_progress_ends_at_the_size_of_the_file(tmp_path):
    seen = []
    path = tmp_path / "m.gguf"
    write_gguf(path, {"a": 1}, SPECS, lambda i: [bytes(128)], lambda d, t: seen.append((d, t)))
    assert seen[-1] == (path.stat().st_size,) * 2


def test_the_command_lists_the_shapes_and_which_run():
    code, answer = run_json("synth")
    assert code == 0
    assert [row["shape"] for row in answer["shapes"]] == list(SHAPES)
    runs = {row["shape"]: row["runs today"] for row in answer["shapes"]}
    assert runs["tinyllama-1.1b"] == "yes"
    assert len(SHAPES) >= 12


def test_the_command_writes_a_cut_model_that_the_engine_runs(tmp_path):
    path = tmp_path / "cut.gguf"
    code, answer = run_json("synth", "TinyLlama-1.1B", str(path), "--layers", "1", "--vocab", "512")
    assert (code, answer["runs"], answer["bytes"]) == (0, True, path.stat().st_size)
    done = run("run", "-m", str(path), "--tokens", "1,2,3", "-n", "2", "--temp", "0")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 2
    code, answer = run_json("synth", "tinyllama-1.1b", str(path))
    assert (code, answer["error"]["type"]) == (2, "InvalidRequestError")
    assert "--force" in answer["error"]["message"]
