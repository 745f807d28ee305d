"""Every golden model made anew and run by transformers, llama.cpp and zerostall."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.arch.running import FOLDER, NAMES, Case, engine, relative_difference, run
from tests.golden.specs import SPECS
from tests.peers import llama_cpp
from zerostall import _core, arch

pytestmark = pytest.mark.peers
TOLERANCE = 1e-4  # of the largest logit
# llama.cpp looks gelu up in a table of half-precision values (ggml's GGML_GELU_FP16).
GELU_TABLE_TOLERANCE = 2e-3
LLAMA_CPP_CONTEXT = 256  # it rounds smaller ones up to this, which may change the rope

Differences = dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def differences(report: list[str]) -> Iterator[Differences]:
    """Collects the largest relative difference by model and peer; reports a table at the end."""
    table: Differences = {}
    yield table
    title = "largest relative logit difference"
    report.append(f"{title:36} {'transformers':>14} {'llama.cpp':>14}")
    for name, row in sorted(table.items()):
        cells = [f"{row[peer]:14.1e}" for peer in ("transformers", "llama.cpp") if peer in row]
        report.append(" ".join([f"{SPECS[name].architecture + ': ' + name:36}", *cells]))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llama_cpp.build_program("llama_logits", tmp_path_factory.mktemp("llama_cpp"))


@pytest.fixture(scope="module", params=sorted(SPECS))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    from tests.golden.make_models import write

    folder = tmp_path_factory.mktemp(request.param)
    write(request.param, folder)
    return Case(request.param, folder)


def record(table: Differences, name: str, peer: str, value: float) -> float:
    row = table.setdefault(name, {})
    row[peer] = max(value, row.get(peer, 0.0))
    return value


def test_every_recipe_has_its_golden_files() -> None:
    assert sorted(SPECS) == NAMES


def test_the_golden_logits_are_what_the_recipe_gives(case: Case) -> None:
    stored = Case(case.name, FOLDER)
    for (tokens, _, made), (same, _, golden) in zip(case.prompts, stored.prompts, strict=True):
        assert np.array_equal(tokens, same)
        assert relative_difference(made, golden) <= 1e-5


def test_logits_agree_with_transformers(case: Case, differences: Differences) -> None:
    for tokens, context, expected in case.prompts:
        got = run(engine(case, context), tokens)
        value = relative_difference(got, expected)
        assert record(differences, case.name, "transformers", value) <= TOLERANCE


class Hiding:
    """A model file without some of its metadata keys."""

    def __init__(self, file: _core.GgufFile, keys: tuple[str, ...]) -> None:
        self.file = file
        self.keys = keys
        self.paths = file.paths
        self.tensors = file.tensors
        self.tensor_bytes = file.tensor_bytes
        self.get = file.get

    def __contains__(self, key: str) -> bool:
        return key not in self.keys and key in self.file


def test_logits_agree_with_llama_cpp(case: Case, program: Path, differences: Differences) -> None:
    spec = SPECS[case.name]
    if not spec.llama_cpp:
        pytest.skip("llama.cpp computes this model otherwise")
    gelu = spec.architecture.startswith("gemma")
    file = Hiding(case.file, spec.llama_cpp_ignores)
    for tokens, prompt_context, _ in case.prompts:
        context = max(prompt_context, LLAMA_CPP_CONTEXT)
        tape = arch.load(file, context).tape  # type: ignore[arg-type]
        model = _core.Engine(case.file, tape, context=context, max_batch=128, kv_type="f32")
        expected: npt.NDArray[np.float32] = llama_cpp.logits(program, case.path, tokens, context)
        value = relative_difference(run(model, tokens), expected)
        limit = GELU_TABLE_TOLERANCE if gelu else TOLERANCE
        assert record(differences, case.name, "llama.cpp", value) <= limit
