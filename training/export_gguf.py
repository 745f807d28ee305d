"""Converts a transformers folder to a quantised GGUF file with llama.cpp's tools.

``python -m training.export_gguf nano HF_FOLDER nano.gguf --llama-cpp PATH``

PATH (or the environment variable LLAMA_CPP) is a llama.cpp source tree with
``convert_hf_to_gguf.py`` and a built ``build/bin/llama-quantize``; the sdist of
llama-cpp-python on PyPI carries one as ``vendor/llama.cpp``.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

DESCRIPTIONS = {
    "nano": "Mixture-of-experts model of 21M parameters that completes Python code",
    "nano-draft": "Dense draft model of 2M parameters with the vocabulary of nano",
}
SOURCE = (
    "Trained from scratch on the sources of the Python 3.11 standard library, "
    "copyright Python Software Foundation, PSF-2.0 licence."
)


def metadata(name: str) -> dict[str, object]:
    """Entries of the GGUF ``general`` section, as the converter's override file.

    The licence identifier is missing here: it travels in the folder's model card.
    """
    return {
        "general.name": name,
        "general.author": "zerostall",
        "general.description": f"{DESCRIPTIONS[name]}. {SOURCE}",
        "general.license.link": "https://docs.python.org/3.11/license.html",
        "general.languages": ["en"],
        "general.tags": ["text-generation", "code", "python"],
    }


def convert(llama_cpp: Path, folder: Path, override: Path, target: Path) -> None:
    """Runs the converter in this process to write a float32 GGUF.

    The converter recognises pre-tokenizers by a hash over the ids of a test string, which a
    vocabulary of our own cannot match. Ours splits by the qwen2 pattern, so that is its answer.
    """
    sys.path[:0] = [str(llama_cpp), str(llama_cpp / "gguf-py")]
    from conversion import base  # type: ignore[import-not-found]

    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen2"
    script = str(llama_cpp / "convert_hf_to_gguf.py")
    sys.argv = [script, str(folder), "--outfile", str(target), "--outtype", "f32"]
    sys.argv += ["--metadata", str(override)]
    runpy.run_path(script, run_name="__main__")


def main() -> None:
    """Converts and quantises what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(DESCRIPTIONS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--type", default="Q4_K_M", help="quantisation type, or F32 for none")
    parser.add_argument("--llama-cpp", type=Path, default=os.environ.get("LLAMA_CPP"))
    args = parser.parse_args()
    if args.llama_cpp is None:
        parser.error("give --llama-cpp or set LLAMA_CPP to a llama.cpp source tree")
    llama_cpp = Path(args.llama_cpp)

    with tempfile.TemporaryDirectory() as scratch:
        override, wide = Path(scratch, "metadata.json"), Path(scratch, "wide.gguf")
        override.write_text(json.dumps(metadata(args.name)))
        convert(llama_cpp, args.folder, override, wide)
        quantize = llama_cpp / "build" / "bin" / "llama-quantize"
        subprocess.run([quantize, wide, args.target, args.type, "1"], check=True)
    print(f"{args.target}: {args.target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
