"""Perplexity of a text under a model, by llama-perplexity's rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zerostall.errors import InvalidRequestError, StorageError

if TYPE_CHECKING:
    from zerostall.llm import LLM


@dataclass(frozen=True)
class Perplexity:
    """exp of the mean negative log-likelihood a token, with its standard error."""

    perplexity: float
    error: float
    tokens: int  # scored
    chunks: int
    ctx: int

    def to_dict(self) -> dict[str, float]:
        """JSON-ready fields."""
        return asdict(self)


def perplexity(
    llm: LLM,
    text: str,
    ctx: int = 512,
    chunks: int | None = None,
    on_chunk: Callable[[int, float], None] | None = None,
) -> Perplexity:
    """Perplexity as llama-perplexity computes it (llama.cpp, tools/perplexity/perplexity.cpp).

    The whole text is tokenized once, cut into chunks of `ctx` tokens (the rest is dropped), and
    each chunk is a sequence of its own whose first token gives way to the beginning-of-text
    token if the model wants one. Tokens ctx/2 + 1 to ctx - 1 of each chunk are scored.

    Args:
        llm: a model with at least `ctx` tokens of context.
        text: at least 2 * ctx tokens of it.
        ctx: tokens a chunk, at least 4.
        chunks: stop after this many; None takes all.
        on_chunk: called after each chunk with its number from 1 and the perplexity so far.

    Raises:
        InvalidRequestError: the text is too short, or ctx is out of range.
    """
    if not 4 <= ctx <= llm.context:
        raise InvalidRequestError(f"ctx is {ctx}; give 4 to {llm.context}, the model's context")
    if chunks is not None and chunks < 1:
        raise InvalidRequestError(f"chunks is {chunks}; give at least 1")
    tokens = llm.tokenize(text, add_special=True)
    if len(tokens) < 2 * ctx:
        raise InvalidRequestError(
            f"the text has {len(tokens)} tokens; {2 * ctx} are needed with ctx={ctx}: "
            "give a longer text or a smaller ctx"
        )
    bos = llm.bos_id
    count = min(len(tokens) // ctx, chunks or len(tokens))
    scores: list[npt.NDArray[np.float64]] = []
    for i in range(count):
        chunk = tokens[i * ctx : (i + 1) * ctx]
        scores.append(score_chunk(llm, chunk, bos))
        if on_chunk is not None:
            on_chunk(i + 1, math.exp(float(np.concatenate(scores).mean())))
    losses = np.concatenate(scores)
    value = math.exp(float(losses.mean()))
    # The uncertainty of the mean, carried through exp to first order.
    error = value * math.sqrt(float(losses.var()) / max(1, losses.size - 1))
    return Perplexity(value, error, losses.size, count, ctx)


def score_chunk(llm: LLM, chunk: Sequence[int], bos: int | None) -> npt.NDArray[np.float64]:
    """Negative log-likelihoods of the tokens after the chunk's middle, float64."""
    first = len(chunk) // 2
    inputs = list(chunk[:-1])  # nothing is scored after the last token
    if bos is not None:
        inputs[0] = bos
    losses = []
    row = first + 1
    for logits in llm.logit_blocks(inputs, start=first):
        targets = np.asarray(chunk[row : row + len(logits)])
        losses.append(negative_log_likelihood(logits, targets))
        row += len(logits)
    return np.concatenate(losses)


def negative_log_likelihood(
    logits: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """-log softmax(logits)[target] for each row.

    Args:
        logits: float32 [rows, vocab].
        targets: token ids [rows].

    Returns:
        float64 [rows]; exponentials in float32, sums in float64, as in llama-perplexity.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    sums = np.exp(shifted).sum(axis=1, dtype=np.float64)
    chosen = shifted[np.arange(len(targets)), targets].astype(np.float64)
    losses: npt.NDArray[np.float64] = np.log(sums) - chosen
    return losses


def read_text(file: Path) -> str:
    """A UTF-8 file's text without one final newline, as llama-perplexity -f reads it.

    Raises:
        StorageError: it cannot be read.
        InvalidRequestError: there is no such file, or it is not UTF-8.
    """
    try:
        return file.read_bytes().decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"{file} is not UTF-8 text: {error}") from error
    except FileNotFoundError as error:
        raise InvalidRequestError(f"{file}: no such file") from error
    except OSError as error:
        raise StorageError(f"{file}: {error.strerror}; give a readable text file") from error
