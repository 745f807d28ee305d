"""The models that several tests stream."""

from __future__ import annotations

import pytest

from tests.experts.streamed import Model, convert_nano
from zerostall import hub
from zerostall.convert import convert
from zerostall.lab.shapes import Shape
from zerostall.lab.synth import write_model

# In the shape of Qwen3-30B-A3B, but narrow: Q4_K, and Q6_K in the last layer, so that experts
# come in two sizes.
MANY = Shape(
    *("many", "qwen3moe", 2, 256, 4, 2, 64, 0, 256, 512),
    query_key_norm="head",
    experts=128,
    used=8,
    expert_hidden=256,
)
# The same with fewer experts: one of all combinations is quick.
WIDE = Shape(
    *("wide", "qwen3moe", 2, 256, 4, 2, 64, 0, 256, 512),
    query_key_norm="head",
    experts=32,
    used=8,
    expert_hidden=256,
)


@pytest.fixture(scope="session")
def nano() -> Model:
    return Model(hub.resolve("nano"))


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The built-in model with a record for each expert."""
    path = tmp_path_factory.mktemp("converted") / "nano.gguf"
    convert(hub.resolve("nano"), path)
    return Model(path)


@pytest.fixture(scope="session")
def low(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The built-in model with a record and a low copy, in Q2_K, for each expert."""
    return convert_nano(tmp_path_factory.mktemp("low"), "Q2_K")


@pytest.fixture(scope="session", params=["plain", "converted"])
def either(request: pytest.FixtureRequest) -> Model:
    """The built-in model, as it is and converted."""
    return request.getfixturevalue("nano" if request.param == "plain" else "converted")


@pytest.fixture(scope="session", params=["plain", "converted"])
def wide(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """32 experts of two sizes, of which 8 are used."""
    path = tmp_path_factory.mktemp("wide") / "wide.gguf"
    write_model(path, "wide", WIDE)
    if request.param == "converted":
        convert(path, path.with_name("converted.gguf"))
        path = path.with_name("converted.gguf")
    return Model(path)


@pytest.fixture(scope="session", params=["plain", "converted"])
def many(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """128 experts of two sizes, of which 8 are used."""
    path = tmp_path_factory.mktemp("many") / "many.gguf"
    write_model(path, "many", MANY)
    if request.param == "converted":
        convert(path, path.with_name("converted.gguf"))
        path = path.with_name("converted.gguf")
    return Model(path)
