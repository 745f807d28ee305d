"""Converted models give the same bits, and other tools can list them."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
import xxhash

from tests.arch import running
from zerostall import LLM, arch, convert, hub
from zerostall._core import GgufFile, pack
from zerostall.engine.budget import footprint
from zerostall.errors import InvalidRequestError

NANO = hub.resolve("nano")


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("converted") / "nano.gguf"
    assert convert.convert(NANO, path) == path.stat().st_size
    return path


@pytest.mark.parametrize("name", running.NAMES)
def test_every_architecture_has_the_same_bits_converted(name: str, tmp_path: Path) -> None:
    case = running.Case(name)
    tokens, context, _ = case.prompts[0]
    plain = running.run(running.engine(case, context), tokens)
    convert.convert(case.path, tmp_path / "converted.gguf")
    case.file = GgufFile(tmp_path / "converted.gguf")
    assert case.file.container_version == 1
    for threads in (1, 3):
        model = running.engine(case, context, threads=threads)
        assert running.run(model, tokens).tobytes() == plain.tobytes()


def test_quantised_experts_have_the_same_bits_converted(nano: Path) -> None:
    ids = list(range(40, 90))
    with LLM(NANO, threads=2) as plain, LLM(nano, threads=2) as converted:
        assert converted.tokenize("def f(x):") == plain.tokenize("def f(x):")
        assert converted.logits(ids).tobytes() == plain.logits(ids).tobytes()


def test_the_directory_of_a_converted_file_is_that_of_its_model(nano: Path) -> None:
    def listed(file: GgufFile) -> dict[str, tuple[str, tuple[int, ...], int]]:
        return {t.name: (t.type_name, t.shape, t.bytes) for t in file.tensors()}

    file, model = GgufFile(nano), GgufFile(NANO)
    assert listed(file) == listed(model)
    assert {t.name for t in file.tensors() if not t.packed} >= {"token_embd.weight"}
    kept = [key for key in model.metadata_keys() if key != "general.alignment"]
    assert [key for key in file.metadata_keys() if key in kept] == kept
    with pytest.raises(InvalidRequestError, match=r"blk.0.attn_q.weight' is stored packed"):
        file.tensor_bytes("blk.0.attn_q.weight")


def test_the_gguf_package_lists_it_with_pages_as_alignment(nano: Path) -> None:
    reader = gguf.GGUFReader(nano)
    assert reader.alignment == 4096
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert all(tensor.data_offset % 4096 == 0 for tensor in tensors.values())
    query = tensors["blk.0.attn_q.weight.packed"]
    source = next(t for t in gguf.GGUFReader(NANO).tensors if t.name == "blk.0.attn_q.weight")
    rows, columns = int(source.shape[1]), int(source.shape[0])
    expected = pack(source.tensor_type.name, source.data.reshape(-1).view(np.uint8), rows, columns)
    assert query.tensor_type == gguf.GGMLQuantizationType.I8
    assert query.data.view(np.uint8).tobytes() == expected.tobytes()
    assert tensors["blk.0.attn_norm.weight"].tensor_type == gguf.GGMLQuantizationType.F32


def test_a_record_is_a_header_and_the_panels_of_one_expert(nano: Path) -> None:
    records = next(t for t in gguf.GGUFReader(nano).tensors if t.name == "blk.2.ffn_experts.packed")
    model = GgufFile(NANO)
    shapes = {t.name: t for t in model.tensors()}
    expert = 5
    record = records.data.view(np.uint8)[expert].tobytes()
    fields = struct.unpack("<4s4H9I2Q", record[:64])
    gate, down = shapes["blk.2.ffn_gate_exps.weight"], shapes["blk.2.ffn_down_exps.weight"]
    assert fields[:5] == (b"UTH1", 1, 1, gate.type_id, down.type_id)
    _, d_ff, d_model = gate.shape
    assert fields[5:10] == (2, expert, d_model, d_ff, 16)
    up_offset, down_offset, scales, tiles, payload, checksum = fields[10:]
    assert (scales, tiles) == (0, 0)
    assert checksum == xxhash.xxh3_64_intdigest(record[64 : 64 + payload])
    for name, offset in (("gate", 64), ("up", up_offset), ("down", down_offset)):
        tensor = shapes[f"blk.2.ffn_{name}_exps.weight"]
        each = tensor.bytes // tensor.shape[0]
        data = model.tensor_bytes(tensor.name)[expert * each : (expert + 1) * each]
        panels = pack(tensor.type_name, data, *tensor.shape[1:]).tobytes()
        assert record[offset : offset + len(panels)] == panels
    assert record[64 + payload :].strip(b"\0") == b""


def test_memory_counts_what_lies_packed_in_the_file(nano: Path) -> None:
    file = GgufFile(nano)
    tape = arch.load(file, 256).tape
    stored = file.stored_tensors()
    packed = {weight["stored"] for weight in file.packed()}
    need = footprint(file, tape, 256, 64, "f16", 1)
    sizes = {tensor.name: tensor.bytes for tensor in file.tensors()}
    norms = sum(sizes[op.weights[0].name] for op in tape.ops if op.kind == "rms_norm")
    assert need.weights == norms + sum(stored[index].bytes for index in packed)


def test_a_split_model_becomes_one_file(tmp_path: Path) -> None:
    case = running.Case("qwen3moe")
    source = gguf.GGUFReader(case.path)
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "qwen3moe", split_max_tensors=9)
    for key, entry in source.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        sub = entry.types[1] if len(entry.types) > 1 else None
        writer.add_key_value(key, entry.contents(), entry.types[0], sub)
    for tensor in source.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    first = sorted(tmp_path.glob("m-00001-of-*.gguf"))[0]
    convert.convert(first, tmp_path / "whole.gguf")
    convert.convert(case.path, tmp_path / "alone.gguf")
    convert.verify(tmp_path / "whole.gguf", first)
    tokens, context, _ = case.prompts[0]
    plain = running.run(running.engine(case, context), tokens)
    case.file = GgufFile(tmp_path / "whole.gguf")
    assert running.run(running.engine(case, context), tokens).tobytes() == plain.tobytes()


def test_a_converted_model_is_not_converted_again(nano: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="is a converted file already"):
        convert.convert(nano, tmp_path / "again.gguf")


def test_a_model_is_not_overwritten_by_its_own_conversion(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(NANO.read_bytes())
    with pytest.raises(InvalidRequestError, match="is the model itself"):
        convert.convert(model, model)
    assert model.read_bytes() == NANO.read_bytes()
