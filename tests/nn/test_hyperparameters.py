from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.nn.fake_file import FakeFile
from zerostall.errors import ModelFormatError
from zerostall.nn import Hyperparameters


def of(value: Any) -> Hyperparameters:
    return Hyperparameters(FakeFile({"llama.key": value}, {}), "llama")  # type: ignore[arg-type]


def test_a_value_of_the_right_type_is_returned() -> None:
    assert of(7).integer("key") == 7
    assert of(0.5).real("key") == 0.5
    assert of(3).real("key") == 3.0
    assert of(True).flag("key") is True
    assert of("yarn").text("key") == "yarn"
    assert "key" in of(7)


def test_a_missing_key_gives_the_default() -> None:
    assert of(7).integer("other", 9) == 9
    assert of(7).real("other", 0.25) == 0.25
    assert of(7).flag("other", False) is False
    assert of(7).text("other", "none") == "none"
    assert of(7).flags("other", 3) is None
    assert "other" not in of(7)


@pytest.mark.parametrize("getter", ["integer", "real", "flag", "text"])
def test_a_missing_key_without_default_is_an_error_naming_file_and_key(getter: str) -> None:
    with pytest.raises(ModelFormatError, match=r"model\.gguf.*'llama\.other' is missing"):
        getattr(of(7), getter)("other")


@pytest.mark.parametrize(
    ("getter", "value"),
    [
        ("integer", 1.0),
        ("integer", "1"),
        ("integer", True),
        ("integer", [1, 2]),
        ("integer", 0),
        ("integer", -5),
        ("integer", 1 << 40),
        ("real", "0.5"),
        ("real", True),
        ("real", math.nan),
        ("real", math.inf),
        ("real", -0.1),
        ("flag", 1),
        ("text", 1),
    ],
)
def test_a_wrong_value_is_an_error_naming_file_key_and_value(getter: str, value: Any) -> None:
    with pytest.raises(ModelFormatError, match=r"model\.gguf.*'llama\.key' is") as caught:
        getattr(of(value), getter)("key")
    assert repr(value) in str(caught.value)


def test_flags_are_one_boolean_per_layer() -> None:
    assert of(np.array([True, False, True])).flags("key", 2) == [True, False]
    assert of(np.array([1, 0, 0], dtype=np.int32)).flags("key", 3) == [True, False, False]


@pytest.mark.parametrize("value", [np.array([True]), np.array([2, 0]), ["a", "b"]])
def test_flags_that_are_too_few_or_no_booleans_are_an_error(value: Any) -> None:
    with pytest.raises(ModelFormatError, match="2 booleans, one per layer"):
        of(value).flags("key", 2)


def test_a_scalar_in_place_of_flags_is_left_to_the_caller() -> None:
    assert of(6).flags("key", 4) is None
