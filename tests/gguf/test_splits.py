"""Split models open from their first file, and say which file is wrong or missing."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from tests.gguf import builder as b
from zerostall.errors import InvalidRequestError, ModelFormatError, StorageError
from zerostall.gguf import open_model


def part(folder: Path, number: int, count: int, **keys: int) -> Path:
    """Part `number` (from 1), with one tensor named after it."""
    file = b.Builder()
    values = {"no": number - 1, "total": count, **keys}
    file.add("split.no", b.U16, values["no"]).add("split.count", b.U16, values["total"])
    file.add("split.tensors.count", b.I32, values.get("tensors", count))
    name = f"t{values.get('name', number)}"
    file.tensor(name, (4,), 0, np.full(4, number, np.float32).tobytes())
    path = folder / f"m-{number:05d}-of-{count:05d}.gguf"
    path.write_bytes(file.build())
    return path


def test_the_parts_of_the_gguf_package_open_from_the_first(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama", split_max_tensors=2)
    arrays = {f"t{i}": np.full((2, 3), i, np.float32) for i in range(5)}
    for name, array in arrays.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model = open_model(tmp_path / "m-00001-of-00003.gguf")
    assert model.paths == [str(tmp_path / f"m-0000{i}-of-00003.gguf") for i in (1, 2, 3)]
    assert [(t.name, t.shard) for t in model.tensors()] == [
        ("t0", 0), ("t1", 0), ("t2", 1), ("t3", 1), ("t4", 2),
    ]  # fmt: skip
    for info in model.tensors():
        data = model.tensor_bytes(info.name).tobytes()
        assert data == arrays[info.name].tobytes()
        file = Path(model.paths[info.shard]).read_bytes()
        assert file[info.offset : info.offset + info.bytes] == data


def test_a_later_part_names_the_first(tmp_path: Path) -> None:
    part(tmp_path, 1, 3)
    with pytest.raises(InvalidRequestError, match=r"found part 2 .*expected the first; open") as e:
        open_model(part(tmp_path, 2, 3))
    assert str(e.value).endswith(str(tmp_path / "m-00001-of-00003.gguf"))


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    part(tmp_path, 3, 3)
    with pytest.raises(StorageError, match=r"m-00002-of-00003.gguf: cannot open: No such file"):
        open_model(part(tmp_path, 1, 3))


def test_a_renamed_first_part_says_how_it_must_be_named(tmp_path: Path) -> None:
    path = part(tmp_path, 1, 2).rename(tmp_path / "model.gguf")
    with pytest.raises(ModelFormatError, match=r"a name that ends in -00001-of-00002.gguf"):
        open_model(path)


def test_parts_of_different_models_are_refused(tmp_path: Path) -> None:
    first = part(tmp_path, 1, 2)
    part(tmp_path, 2, 2, no=0)
    with pytest.raises(ModelFormatError, match=r"'split.count': found 0 and 2, expected 1 and 2"):
        open_model(first)
    part(tmp_path, 2, 2, total=3)
    with pytest.raises(ModelFormatError, match="found 1 and 3, expected 1 and 2"):
        open_model(first)
    part(tmp_path, 2, 2)
    part(tmp_path, 1, 2, tensors=5)
    with pytest.raises(ModelFormatError, match="found 2 tensors in all parts, expected 5"):
        open_model(first)


def test_a_tensor_in_two_parts_is_refused(tmp_path: Path) -> None:
    part(tmp_path, 2, 2, name=1)
    with pytest.raises(ModelFormatError, match=r"m-00002-.*tensor 't1', name: found it twice"):
        open_model(part(tmp_path, 1, 2))


def test_a_truncated_part_is_named(tmp_path: Path) -> None:
    second = part(tmp_path, 2, 2)
    second.write_bytes(second.read_bytes()[:-1])
    with pytest.raises(ModelFormatError, match=r"m-00002-of-00002.gguf: tensor 't2', data"):
        open_model(part(tmp_path, 1, 2))


def test_split_keys_of_the_wrong_type_or_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="found 5 and 3"):
        open_model(part(tmp_path, 1, 3, no=5))
    path = tmp_path / "m.gguf"
    path.write_bytes(b.Builder().add("split.count", b.STRING, "2").build())
    with pytest.raises(ModelFormatError, match=r"'split.count': found a value of type string"):
        open_model(path)


def test_a_split_of_one_file_is_a_plain_file(tmp_path: Path) -> None:
    assert len(open_model(part(tmp_path, 1, 1)).tensors()) == 1
