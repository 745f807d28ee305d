"""Metadata and tensors read back as they were written, by the gguf package and by hand."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from tests.gguf import builder as b
from zerostall.gguf import open_model

VALUES = {
    "t.u8": (b.U8, 255), "t.i8": (b.I8, -128), "t.u16": (b.U16, 65535), "t.i16": (b.I16, -32768),
    "t.u32": (b.U32, 2**32 - 1), "t.i32": (b.I32, -(2**31)), "t.u64": (b.U64, 2**64 - 1),
    "t.i64": (b.I64, -(2**63)), "t.f32": (b.F32, 0.5), "t.f64": (b.F64, 0.1),
    "t.true": (b.BOOL, True), "t.false": (b.BOOL, False), "t.str": (b.STRING, "zero · stall 🧵"),
    "t.empty": (b.STRING, ""),
}  # fmt: skip
ARRAYS = {
    b.U8: np.uint8, b.I8: np.int8, b.U16: np.uint16, b.I16: np.int16, b.U32: np.uint32,
    b.I32: np.int32, b.U64: np.uint64, b.I64: np.int64, b.F32: np.float32, b.F64: np.float64,
    b.BOOL: np.bool_,
}  # fmt: skip


def save(folder: Path, file: b.Builder, name: str = "model.gguf") -> Path:
    path = folder / name
    path.write_bytes(file.build())
    return path


def test_every_value_type_reads_back_with_its_python_type(tmp_path: Path) -> None:
    file = b.Builder()
    for key, (kind, value) in VALUES.items():
        file.add(key, kind, value)
    model = open_model(save(tmp_path, file))
    assert model.metadata_keys() == list(VALUES)
    for key, (_, value) in VALUES.items():
        assert model.get(key) == value
        assert type(model.get(key)) is type(value)
        assert key in model
    assert model.get("absent") is None
    assert model.get("absent", 7) == 7
    assert "absent" not in model


@pytest.mark.parametrize("kind", ARRAYS, ids=lambda kind: np.dtype(ARRAYS[kind]).name)
def test_an_array_of_numbers_is_a_numpy_array_of_the_stored_type(kind: int, tmp_path: Path) -> None:
    # The odd string before it leaves the numbers unaligned in the file.
    file = b.Builder().add("s", b.STRING, "abc").add("a", b.ARRAY, (kind, [1, 0, 1]))
    file.add("none", b.ARRAY, (kind, []))
    model = open_model(save(tmp_path, file))
    values = model.get("a")
    assert values.dtype == ARRAYS[kind]
    assert values.tolist() == [1, 0, 1]
    assert model.get("none").shape == (0,)


def test_arrays_of_strings_and_of_arrays_are_lists(tmp_path: Path) -> None:
    nested = (b.ARRAY, [(b.I32, [1, -2]), (b.STRING, ["x", ""]), (b.ARRAY, [(b.U8, [])])])
    file = b.Builder().add("words", b.ARRAY, (b.STRING, ["", "é", "two words"]))
    model = open_model(save(tmp_path, file.add("nested", b.ARRAY, nested)))
    assert model.get("words") == ["", "é", "two words"]
    first, second, third = model.get("nested")
    assert first.tolist() == [1, -2]
    assert second == ["x", ""]
    assert [inner.tolist() for inner in third] == [[]]


def test_a_file_of_the_gguf_package_reads_back_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = {
        "f32": rng.standard_normal((3, 5)).astype(np.float32),
        "f16": rng.standard_normal((2, 3, 4)).astype(np.float16),
        "one": np.ones(1, np.float32),
        "i8": rng.integers(-9, 9, (2, 2, 2, 2)).astype(np.int8),
    }
    writer = gguf.GGUFWriter(tmp_path / "w.gguf", "llama")
    writer.add_context_length(512)
    writer.add_token_list(["a", "b", "<s>"])
    writer.add_token_scores([0.0, -1.0, 2.5])
    writer.add_array("nested", [[1, 2], [3]])
    writer.add_custom_alignment(128)
    for name, array in tensors.items():
        writer.add_tensor(name, array)
    blocks = rng.integers(0, 256, (4, 2 * 18), dtype=np.uint8)
    writer.add_tensor("q4_0", blocks, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    model = open_model(tmp_path / "w.gguf")
    assert (model.version, model.paths) == (3, [str(tmp_path / "w.gguf")])
    assert model.get("general.architecture") == "llama"
    assert model.get("llama.context_length") == 512
    assert model.get("tokenizer.ggml.tokens") == ["a", "b", "<s>"]
    assert model.get("tokenizer.ggml.scores").tolist() == [0.0, -1.0, 2.5]
    assert [inner.tolist() for inner in model.get("nested")] == [[1, 2], [3]]
    infos = {info.name: info for info in model.tensors()}
    assert list(infos) == [*tensors, "q4_0"]
    for name, array in tensors.items():
        assert infos[name].shape == array.shape
        assert infos[name].bytes == array.nbytes
        assert infos[name].offset % 128 == 0
        assert model.tensor_bytes(name).tobytes() == array.tobytes()
    assert infos["q4_0"].shape == (4, 64)
    assert (infos["q4_0"].type_name, infos["q4_0"].type_id) == ("Q4_0", 2)
    assert np.array_equal(model.tensor_bytes("q4_0"), blocks.reshape(-1))


def test_tensor_bytes_are_read_only_and_outlive_the_file_object(tmp_path: Path) -> None:
    data = bytes(range(32))
    model = open_model(save(tmp_path, b.Builder().tensor("w", (8,), 0, data)))
    view = model.tensor_bytes("w")
    del model
    assert view.tobytes() == data
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1


def test_asking_for_bytes_of_an_absent_tensor_is_a_key_error(tmp_path: Path) -> None:
    model = open_model(save(tmp_path, b.Builder()))
    with pytest.raises(KeyError, match="no tensor 'w'"):
        model.tensor_bytes("w")


def test_version_2_reads_like_version_3(tmp_path: Path) -> None:
    file = b.Builder(version=2).add("k", b.U32, 5).tensor("w", (2, 2), 0, bytes(16))
    model = open_model(save(tmp_path, file))
    assert (model.version, model.get("k"), model.tensors()[0].shape) == (2, 5, (2, 2))


def test_a_tensor_without_dimensions_is_one_value(tmp_path: Path) -> None:
    model = open_model(save(tmp_path, b.Builder().tensor("w", (), 0, b"\0\0\x80?")))
    assert model.tensors()[0].shape == ()
    assert model.tensor_bytes("w").view(np.float32).tolist() == [1.0]


@pytest.mark.parametrize("kind", list(gguf.GGMLQuantizationType), ids=lambda kind: kind.name)
def test_every_ggml_type_has_the_name_and_size_of_the_gguf_package(
    kind: gguf.GGMLQuantizationType, tmp_path: Path
) -> None:
    values, size = gguf.GGML_QUANT_SIZES[kind]
    if kind.name == "Q8_1":
        size = 36  # since ggml made its two floats halves; the package still says 40
    file = b.Builder().tensor("w", (2 * values, 3), int(kind), bytes(6 * size))
    info = open_model(save(tmp_path, file)).tensors()[0]
    assert (info.type_name, info.bytes) == (kind.name, 6 * size)


def test_a_vocabulary_of_200000_tokens_reads_back(tmp_path: Path) -> None:
    tokens = [f"token {i}" for i in range(200_000)]
    file = b.Builder().add("tokens", b.ARRAY, (b.STRING, tokens)).add("last", b.U8, 9)
    model = open_model(save(tmp_path, file))
    assert model.get("last") == 9
    assert model.get("tokens") == tokens


def test_a_path_that_is_not_ascii_opens(tmp_path: Path) -> None:
    path = save(tmp_path, b.Builder().add("k", b.U8, 1), "модель \udcff.gguf")
    model = open_model(path)
    assert (model.get("k"), model.paths) == (1, [str(path)])
