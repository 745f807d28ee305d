"""llama.cpp as a peer: small programs linked with its libraries, its tools, and its logits.

LLAMA_CPP names its source folder; LLAMA_CPP_BIN the folder of its programs, by default
LLAMA_CPP/build/bin. Libraries may be static or shared.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

ROOT = Path(os.environ.get("LLAMA_CPP", "llama.cpp"))
BIN = Path(os.environ.get("LLAMA_CPP_BIN", ROOT / "build" / "bin"))
_COMPILER = shlex.split(os.environ.get("CXX", "c++"))
_LIBRARIES = ("llama", "ggml", "ggml-cpu", "ggml-base")  # in the linker's order


def build_program(name: str, folder: Path) -> Path:
    """Compile NAME.cpp of this folder against the build of llama.cpp; a few seconds."""
    program = folder / name
    source = Path(__file__).with_name(f"{name}.cpp")
    # src: for what its tokenizer keeps to itself
    includes = [f"-I{ROOT / place}" for place in ("include", "ggml/include", "src")]
    libraries = [_library(library) for library in _LIBRARIES]
    folders = sorted({f"-Wl,-rpath,{path.parent}" for path in libraries})
    command = [*_COMPILER, "-O1", "-std=c++17", *includes, source, *libraries, *folders]
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
