"""Running texts through a model to see what guesses of experts are made of."""

from __future__ import annotations

import random
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zerostall.errors import InvalidRequestError

if TYPE_CHECKING:
    from zerostall.llm import LLM

Floats = npt.NDArray[np.float32]
States = list[dict[str, Floats]]
WINDOW = 512  # tokens of a sequence
STATE_BYTES = 256 << 20  # that a step may record
TEXTS = 64  # of the standard library
SHORTEST = 4096  # bytes of such a text


def standard_library(most: int, seed: int = 0) -> list[str]:
    """Sources of the Python standard library, a random choice: text that every machine has."""
    folder = Path(sysconfig.get_path("stdlib"))
    paths = sorted([*folder.glob("*.py"), *folder.glob("[a-z]*/*.py")])
    random.Random(seed).shuffle(paths)
    texts: list[str] = []
    for path in paths:
        if len(texts) == most:
            break
        if path.stat().st_size > SHORTEST:
            texts.append(path.read_text("utf-8", errors="replace"))
    return texts


def windows(llm: LLM, texts: Sequence[str], tokens: int) -> list[list[int]]:
    """Sequences of up to `WINDOW` tokens, about as many from each text, `tokens` in all.

    Raises:
        InvalidRequestError: the texts have fewer than five windows to tell apart.
    """
    length = min(WINDOW, llm.context)
    start = [] if llm.bos_id is None else [llm.bos_id]
    body = length - len(start)
    wanted = max(5, tokens // length)
    each = -(-wanted // max(1, len(texts)))
    found: list[list[int]] = []
    for text in texts:
        # A token is seldom longer than eight characters on average.
        ids = llm.tokenize(text[: 8 * each * body], add_special=False)
        cut = [ids[at : at + body] for at in range(0, len(ids), body)]
        found += [start + part for part in cut[:each] if len(part) == body or len(cut) == 1]
    found = found[:wanted]
    if len(found) < 5:
        raise InvalidRequestError(
            f"the texts have {sum(map(len, found))} tokens; {5 * length} are needed: give longer "
            "ones with --text"
        )
    return found


def record(llm: LLM, sequences: Sequence[Sequence[int]]) -> Iterator[States]:
    """The states of each step of running `sequences`; the model was loaded to record them."""
    engine = llm.loaded.scheduler.engine
    width = llm.architecture.width
    row = sum(4 * (2 * width + 3 * layer[0]) for layer in engine.expert_layers)
    batch = max(1, min(engine.max_batch, STATE_BYTES // max(1, row)))
    for ids in sequences:
        sequence = engine.open_sequence()
        try:
            for begin in range(0, len(ids), batch):
                part = np.asarray(ids[begin : begin + batch], np.int32)
                engine.step(part, np.full(len(part), sequence, np.int32), np.empty(0, np.int32))
                yield engine.take_states()
        finally:
            engine.close_sequence(sequence)
