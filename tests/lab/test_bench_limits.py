"""The measured limits, and the least work that a token takes."""

from __future__ import annotations

from math import prod

import pytest

from tests.arch.running import FOLDER
from zerostall import _core, arch
from zerostall.engine.work import Limits, Work, compute_unit, work_of
from zerostall.errors import InvalidRequestError, StorageError
from zerostall.lab.kernel_table import kernel_table, measure_kernels
from zerostall.lab.limits import buffer_bytes, measure_limits

MIB = 1 << 20


def test_every_unit_of_this_cpu_has_a_peak_in_both_types():
    units = _core.compute_units()
    assert units[0] == "scalar"
    for unit in units:
        for kind in ("int8", "float32"):
            assert 1e8 < _core.compute_peak(unit, kind, 1, 0.0) < 1e15


def test_memory_is_read_at_a_positive_rate_whatever_the_threads():
    for threads in (1, 2, 3):
        assert 1e8 < _core.read_bandwidth(threads, 16 * MIB, 0.0) < 1e13


def test_a_drive_is_read_past_the_page_cache(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(4 * MIB))
    try:
        rate = _core.drive_bandwidth(str(file), 2, MIB, 0.0)
    except StorageError:
        pytest.skip("the folder for temporary files is on a file system without O_DIRECT")
    assert 1e5 < rate < 1e12


def test_a_file_that_cannot_be_measured_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(4 * MIB))
    with pytest.raises(StorageError, match="shorter than one request|O_DIRECT"):
        _core.drive_bandwidth(str(file), 2, 8 * MIB, 0.0)
    with pytest.raises(StorageError, match="No such file"):
        _core.drive_bandwidth(str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _core.compute_peak("abacus", "int8", 1), "compute_units"),
        (lambda: _core.compute_peak("scalar", "int3", 1), "int8 or float32"),
        (lambda: _core.read_bandwidth(0), "threads is 0"),
        (lambda: _core.read_bandwidth(1, 1), "bytes is 1"),
        (lambda: _core.drive_bandwidth("x", 1, 5000), "multiple of 4096"),
        (lambda: _core.time_matmul("Q4_K", 16, 128, 1, "scalar", 1), "multiple of 256"),
        (lambda: _core.time_matmul("Q9_K", 16, 256, 1, "scalar", 1), "Q9_K"),
        (lambda: _core.time_matmul("Q4_K", 16, 256, 0, "scalar", 1), "tokens is 0"),
    ],
)
def test_arguments_out_of_range_are_refused(call, message):
    with pytest.raises(InvalidRequestError, match=message):
        call()


def test_products_are_timed_for_every_format_and_instruction_set():
    for isa in _core.isas():
        for name in _core.format_names():
            for tokens in (1, 5):
                times = _core.time_matmul(name, 40, 256, tokens, isa, 2, 0.0)
                assert len(times) == 1
                assert 0 < times[0] < 60


def test_the_kernel_table_has_a_row_a_format_and_two_columns_an_instruction_set():
    isa = _core.isas()[-1]
    speeds = list(measure_kernels(1, 8, ["Q4_K", "F16"], [isa], 0.0, MIB))
    for speed in speeds:
        assert speed.decode_gb_per_s > 0
        assert speed.prefill_tops > 0
        assert speed.prefill_fraction > 0
    table = kernel_table(speeds)
    assert table[0] == ["format", f"{isa} decode GB/s", f"{isa} prefill TOPS"]
    assert [row[0] for row in table[1:]] == ["Q4_K", "F16"]


def test_the_compiler_is_named_with_its_version():
    assert _core.compiler().split()[0] in ("gcc", "clang")
    assert any(c.isdigit() for c in _core.compiler())


def test_an_instruction_set_is_measured_with_the_unit_its_kernels_may_use():
    assert compute_unit("scalar") == "scalar"
    for isa in _core.isas():
        assert compute_unit(isa) in _core.compute_units()


def test_the_buffer_is_larger_than_the_caches():
    assert buffer_bytes() >= 64 * MIB


def test_limits_are_measured_together():
    limits = measure_limits(_core.isas()[-1], 1, None, 0.01)
    record = limits.to_dict()
    assert set(record) == {"read_bandwidth_gb_per_s", "int8_tops", "float32_tflops"}
    assert record["read_bandwidth_gb_per_s"] == limits.read_bandwidth / 1e9 > 0
    assert record["int8_tops"] == limits.int8 / 1e12 > 0


def test_the_longer_of_reading_and_computing_bounds_the_time():
    limits = Limits(read_bandwidth=100.0, int8=1000.0, float32=10.0)
    assert Work(200, 100, 1).seconds(limits) == 2.0  # reading; computing takes 0.2
    assert Work(20, 3000, 10).seconds(limits) == 4.0  # 3000 / 1000 + 10 / 10


def load(name):
    file = _core.GgufFile(str(FOLDER / f"{name}.gguf"))
    return arch.load(file, 64), file


def test_a_dense_models_token_reads_all_but_the_embedding_and_its_share_of_the_cache():
    model, file = load("llama-llama3")
    tensors = file.tensors()
    names = {tensor.name for tensor in tensors}
    kept = [
        t
        for t in tensors
        if t.name != "rope_freqs.weight"
        and (t.name != "token_embd.weight" or "output.weight" not in names)
    ]
    attention = [op.attrs for op in model.tape.ops if op.kind == "attention"]
    a_position = sum(2 * a["kv_heads"] * (a["head_dim"] + a["value_dim"]) for a in attention)
    work = work_of(model.tape, tensors, 1, depth=10.5)
    assert work.bytes == pytest.approx(sum(t.bytes for t in kept) + 10.5 * a_position)
    assert work.operations == 2 * sum(prod(t.shape) for t in kept if len(t.shape) == 2)
    assert work.int8 == 0  # the golden files are F32
    int8_position = a_position / 2 + sum(2 * 4 * a["kv_heads"] for a in attention)  # scales
    int8_cache = work_of(model.tape, tensors, 1, depth=10.5, kv_type="int8")
    assert int8_cache.bytes - work.bytes == pytest.approx(10.5 * (int8_position - a_position))


def test_of_experts_only_the_used_ones_count():
    model, file = load("llama-mixtral")
    experts = {t.name: t for t in file.tensors() if t.name.endswith("_exps.weight")}
    (used,) = {op.attrs["used"] / op.attrs["experts"] for op in model.tape.ops if op.kind == "moe"}
    one, eight = (work_of(model.tape, file.tensors(), batch, 0) for batch in (1, 8))
    size, values = (sum(f(t) for t in experts.values()) for f in (lambda t: t.bytes, weights))
    assert eight.bytes - one.bytes == pytest.approx(size * (1 - used - (1 - used) ** 8))
    logits = 2 * prod(next(t.shape for t in file.tensors() if t.name == "output.weight"))
    assert eight.operations == pytest.approx(8 * (one.operations - logits) + logits)
    rest = sum(prod(t.shape) for t in file.tensors() if len(t.shape) == 2) * 2
    embedding = 2 * prod(next(t.shape for t in file.tensors() if t.name == "token_embd.weight"))
    assert one.operations == pytest.approx(2 * values * used + rest - embedding)


def weights(tensor):
    return prod(tensor.shape)
