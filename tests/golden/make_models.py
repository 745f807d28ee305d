"""Write the golden models of tests/golden/arch: NAME.gguf (F32) and NAME.npz (reference logits).

    LLAMA_CPP=/path/to/llama.cpp python -m tests.golden.make_models [NAME ...]

Needs torch, transformers, tokenizers and gguf. Deterministic for given versions of them. Each npz
holds, for prompt i, `tokens{i}` (int32), `context{i}` and `logits{i}` (float32 [tokens, vocab]).
"""

from __future__ import annotations

import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

from tests.golden.convert import make_model, prompt_ids, reference_logits, save_gguf
from tests.golden.specs import SPECS

FOLDER = Path(__file__).parent / "arch"


def write(name: str, folder: Path) -> None:
    """Write NAME.gguf and NAME.npz into `folder`."""
    spec = SPECS[name]
    seed = zlib.crc32(name.encode())
    model = make_model(spec, seed)
    arrays: dict[str, np.ndarray] = {}
    for i, prompt in enumerate(spec.prompts):
        tokens = prompt_ids(spec, prompt, seed + i)
        arrays[f"tokens{i}"] = tokens
        arrays[f"context{i}"] = np.int64(prompt.context)
        arrays[f"logits{i}"] = reference_logits(model, tokens)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    with tempfile.TemporaryDirectory() as temporary:
        save_gguf(model, spec, Path(temporary) / name, folder / f"{name}.gguf")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or SPECS:
        write(wanted, FOLDER)
        size = (FOLDER / f"{wanted}.gguf").stat().st_size
        print(f"{wanted}: {size / 1024:.0f} KiB")
