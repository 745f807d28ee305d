"""Running the golden models: by the engine in any chunking, and by the interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.arch.interpreter import Interpreter
from zerostall import _core, arch

FOLDER = Path(__file__).parent.parent / "golden" / "arch"
NAMES = sorted(path.stem for path in FOLDER.glob("*.gguf"))
Logits = npt.NDArray[np.float32]


class Case:
    """A golden model's file and, per prompt, its tokens, context and reference logits."""

    def __init__(self, name: str, folder: Path = FOLDER) -> None:
        self.name = name
        self.path = folder / f"{name}.gguf"
        self.file = _core.GgufFile(str(self.path))
        with np.load(folder / f"{name}.npz") as arrays:
            self.prompts = [
                (arrays[f"tokens{i}"], int(arrays[f"context{i}"]), arrays[f"logits{i}"])
                for i in range(len(arrays.files) // 3)
            ]


def engine(case: Case, context: int, **options: Any) -> _core.Engine:
    """An engine with an F32 cache; options override threads, isa, max_batch and so on."""
    tape = arch.load(case.file, context).tape
    settings: dict[str, Any] = {"threads": 1, "max_batch": 128, "kv_type": "f32"}
    return _core.Engine(case.file, tape, context=context, **(settings | options))


def run(model: _core.Engine, tokens: npt.NDArray[np.int32], chunk: int = 0) -> Logits:
    """Logits of every token [tokens, vocab], fed in chunks of `chunk` (0: as many as allowed)."""
    most = min(model.max_batch, model.max_logits)
    size = min(chunk or most, most)
    sequence = model.open_sequence()
    out = [step(model, sequence, tokens[i : i + size]) for i in range(0, len(tokens), size)]
    model.close_sequence(sequence)
    return np.concatenate(out)


def step(model: _core.Engine, sequence: int, tokens: npt.NDArray[np.int32]) -> Logits:
    """Append tokens to a sequence; logits of each."""
    count = len(tokens)
    sequences = np.full(count, sequence, dtype=np.int32)
    return model.step(np.ascontiguousarray(tokens), sequences, np.arange(count, dtype=np.int32))


def interpreter(case: Case, context: int) -> Interpreter:
    """The numpy interpreter over the same file and tape."""
    shapes = {tensor.name: tensor.shape for tensor in case.file.tensors()}

    def tensor(name: str) -> npt.NDArray[np.float32]:
        return case.file.tensor_bytes(name).view(np.float32).reshape(shapes[name])

    return Interpreter(arch.load(case.file, context).tape, tensor)


def relative_difference(got: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    """Largest absolute difference over the largest absolute expected value."""
    return float(np.abs(got - expected).max() / np.abs(expected).max())
