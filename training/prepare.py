"""Writes ``tokenizer.json`` and the token files of a run: ``python -m training.prepare DIR``."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from .bpe import separator_id, train_tokenizer
from .corpus import collect


def encode(tokenizer: Tokenizer, texts: Iterable[str]) -> np.ndarray:
    """Token ids (uint16) of all documents, each preceded by the separator."""
    separator = separator_id(tokenizer)
    ids: list[int] = []
    for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False):
        ids.append(separator)
        ids.extend(encoding.ids)
    return np.asarray(ids, dtype=np.uint16)


def main() -> None:
    """Prepares the folder given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="order of the documents")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)

    corpus = collect()
    tokenizer = train_tokenizer(corpus.library)
    tokenizer.save(str(args.folder / "tokenizer.json"))
    shuffle = random.Random(args.seed).shuffle
    report = {}
    for name in ("library", "tests", "heldout"):
        texts = list(corpus.heldout.values()) if name == "heldout" else getattr(corpus, name)
        if name != "heldout":
            shuffle(texts)
        ids = encode(tokenizer, texts)
        ids.tofile(args.folder / f"{name}.u16")
        size = sum(len(text.encode()) for text in texts)
        report[name] = {"files": len(texts), "bytes": size, "tokens": len(ids)}
    (args.folder / "corpus.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
