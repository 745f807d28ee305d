"""Names of models: paths, built-in ones, references, and the choice among quantisations."""

from __future__ import annotations

from pathlib import Path

import pytest

from zerostall import hub
from zerostall.errors import InvalidRequestError, ModelNotFoundError
from zerostall.hub import AmbiguousModelError, Reference

REPO = {
    "README.md": 1,
    "mmproj-model-F16.gguf": 5,
    "model-Q4_K_M.gguf": 40,
    "model-Q8_0.gguf": 80,
    "model-UD-Q4_K_XL.gguf": 44,
    "BF16/model-BF16-00001-of-00003.gguf": 100,
    "BF16/model-BF16-00002-of-00003.gguf": 100,
    "BF16/model-BF16-00003-of-00003.gguf": 60,
    "model-F16-00002-of-00002.gguf": 9,
}


def chosen(text: str, sizes: dict[str, int] = REPO) -> str:
    return hub.choose(hub.parse(text), hub.variants(sizes)).files[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:o/r", Reference("o/r", "main", None)),
        ("hf:o-1/R.x_2:Q4_K_M", Reference("o-1/R.x_2", "main", "Q4_K_M")),
        ("hf:o/r@v1.0:sub/file.gguf", Reference("o/r", "v1.0", "sub/file.gguf")),
    ],
)
def test_a_reference_is_repository_revision_and_quant(text, expected):
    assert hub.parse(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize("text", ["hf:", "hf:repo", "hf:a/b/c", "hf:a/b:", "o/r", "hf:a/b:x y"])
def test_a_malformed_reference_says_what_one_looks_like(text):
    with pytest.raises(InvalidRequestError, match="write hf:owner/repo"):
        hub.parse(text)


def test_variants_group_shards_and_leave_out_what_is_no_language_model():
    found = {(v.quant, v.files[0], len(v.files), v.bytes, v.complete) for v in hub.variants(REPO)}
    assert found == {
        ("Q4_K_M", "model-Q4_K_M.gguf", 1, 40, True),
        ("Q8_0", "model-Q8_0.gguf", 1, 80, True),
        ("UD-Q4_K_XL", "model-UD-Q4_K_XL.gguf", 1, 44, True),
        ("BF16", "BF16/model-BF16-00001-of-00003.gguf", 3, 260, True),
        ("F16", "model-F16-00002-of-00002.gguf", 1, 9, False),
    }


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("hf:o/r", "model-Q4_K_M.gguf"),
        ("hf:o/r:q8_0", "model-Q8_0.gguf"),
        ("hf:o/r:bf16", "BF16/model-BF16-00001-of-00003.gguf"),
        ("hf:o/r:ud-q4_k_xl", "model-UD-Q4_K_XL.gguf"),
        ("hf:o/r:model-Q8_0.gguf", "model-Q8_0.gguf"),
    ],
)
def test_a_quant_is_chosen_by_tag_or_file_and_is_q4_k_m_when_not_given(text, file):
    assert chosen(text) == file


def test_the_only_model_is_chosen_whatever_its_quant():
    assert chosen("hf:o/r", {"tiny.gguf": 1, "config.json": 2}) == "tiny.gguf"


def test_without_q4_k_m_an_open_choice_is_an_error_that_lists_the_choices():
    with pytest.raises(AmbiguousModelError, match=r"after a colon: Q5_K_M, Q8_0$"):
        chosen("hf:o/r", {"m.Q8_0.gguf": 1, "m.Q5_K_M.gguf": 1})


def test_two_models_of_one_quant_are_told_apart_by_file():
    with pytest.raises(AmbiguousModelError, match=r"base-Q4_0.gguf, chat-Q4_0.gguf$"):
        chosen("hf:o/r:Q4_0", {"chat-Q4_0.gguf": 1, "base-Q4_0.gguf": 1})


def test_an_absent_quant_is_an_error_that_lists_what_there_is():
    with pytest.raises(ModelNotFoundError, match=r"there are: BF16, Q4_K_M, Q8_0, UD-Q4_K_XL"):
        chosen("hf:o/r:Q2_K")


def test_an_incomplete_split_model_cannot_be_chosen():
    with pytest.raises(ModelNotFoundError):
        chosen("hf:o/r:F16")


def test_a_repository_without_gguf_files_says_so():
    with pytest.raises(ModelNotFoundError, match="no GGUF model"):
        chosen("hf:o/r", {"model.safetensors": 1})


def test_built_in_names_are_files_of_the_package():
    path = hub.resolve("nano")
    assert path == Path(hub.__file__).parents[1] / "data" / "nano.gguf"
    assert path.is_file()


def test_a_path_is_returned_as_it_is_with_the_home_folder_filled_in(monkeypatch):
    monkeypatch.setenv("HOME", "/some/home")
    assert hub.resolve("~/m.gguf") == Path("/some/home/m.gguf")
    assert hub.resolve(Path("nano.gguf")) == Path("nano.gguf")


def test_a_missing_path_that_looks_like_a_repository_suggests_the_reference():
    with pytest.raises(ModelNotFoundError, match="write hf:Qwen/Qwen3-4B-GGUF"):
        hub.resolve("Qwen/Qwen3-4B-GGUF")
