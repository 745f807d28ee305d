"""llama.cpp as a peer: its logits through a small program, its tools from the build folder.

LLAMA_CPP names its source folder; LLAMA_CPP_BIN the folder of its programs, by default
LLAMA_CPP/build/bin. Libraries may be static or shared.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

ROOT = Path(os.environ.get("LLAMA_CPP", "llama.cpp"))
BIN = Path(os.environ.get("LLAMA_CPP_BIN", ROOT / "build" / "bin"))
_SOURCE = Path(__file__).parent / "llama_logits.cpp"
_LIBRARIES = ("llama", "ggml", "ggml-cpu", "ggml-base")  # in the linker's order


def build_logits_program(folder: Path) -> Path:
    """Compile llama_logits.cpp against the build; a few seconds."""
    program = folder / "llama_logits"
    includes = [f"-I{ROOT / 'include'}", f"-I{ROOT / 'ggml' / 'include'}"]
    libraries = [_library(name) for name in _LIBRARIES]
    folders = sorted({f"-Wl,-rpath,{path.parent}" for path in libraries})
    command = ["g++", "-O1", "-std=c++17", *includes, _SOURCE, *libraries, *folders]
    subprocess.run([*command, "-fopenmp", "-lpthread", "-ldl", "-o", program], check=True)
    return program


def _library(name: str) -> Path:
    build = BIN.parent.resolve()
    for suffix in ("a", "so", "dylib"):
        found = sorted(build.rglob(f"lib{name}.{suffix}"))
        if found:
            return found[0]
    raise FileNotFoundError(f"no lib{name} under {build}; build llama.cpp there")


def logits(
    program: Path,
    model: Path,
    tokens: Sequence[int],
    context: int,
    kv_type: str = "f32",
    steps: int = 0,
) -> npt.NDArray[np.float32]:
    """float32 [tokens + steps, vocabulary]: of the prompt, then of each greedy step after it."""
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "logits.f32"
        settings = [str(context), kv_type, str(steps)]
        ids = [str(int(token)) for token in tokens]
        subprocess.run([program, model, *settings, out, *ids], check=True)
        return np.fromfile(out, dtype=np.float32).reshape(len(ids) + steps, -1)
