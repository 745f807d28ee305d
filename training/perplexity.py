"""Held-out loss of a checkpoint: ``python -m training.perplexity CORPUS RUN``."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch
from torch.nn import functional as F

from .batches import heldout_batches
from .checkpoint import load_model
from .model import Decoder


@torch.no_grad()
def heldout_loss(model: Decoder, corpus: Path, length: int) -> float:
    """Mean float32 loss (nats per token) over all held-out windows of ``length`` tokens."""
    losses = []
    for inputs, targets in heldout_batches(corpus, length, windows=10**9):
        losses.append(F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()).item())
    return sum(losses) / len(losses)


def main() -> None:
    """Prints loss, perplexity and bits per byte of the run given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--length", type=int, default=1024)
    args = parser.parse_args()
    torch.set_num_threads(1)
    loss = heldout_loss(load_model(args.run / "checkpoint.pt"), args.corpus, args.length)
    counts = json.loads((args.corpus / "corpus.json").read_text())["heldout"]
    bits_per_byte = loss / math.log(2) * counts["tokens"] / counts["bytes"]
    print(f"loss {loss:.4f}  perplexity {math.exp(loss):.2f}  bits/byte {bits_per_byte:.3f}")


if __name__ == "__main__":
    main()
