"""Training a speculator: corrections of low rank to the guesses of a layer's experts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from zerostall.engine.budget import available_bytes, show_bytes
from zerostall.engine.speculator import TrainedGuess, metadata_of
from zerostall.errors import InvalidRequestError, OutOfBudgetError
from zerostall.lab.gguf_writer import TensorSpec, write_gguf
from zerostall.lab.low_rank import LowRankMap, Moments
from zerostall.lab.states import States, record, windows

if TYPE_CHECKING:
    from zerostall._core import GgufFile
    from zerostall.llm import LLM

RANK = 32
TOKENS = 16384
HELD_OUT = 5  # one sequence in so many is not fitted
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Quality:
    """How many of the experts that held-out tokens used a guess had named, 0 to 1.

    Attributes:
        layer: whose experts are guessed; layers with experts count, from 0.
        late: whether just before the layer, or before the experts of the layer before.
        untrained, trained: without and with the correction, as many named as used.
        rank: of the correction.
    """

    layer: int
    late: bool
    untrained: float
    trained: float
    rank: int


@dataclass(frozen=True)
class Training:
    """Corrections that were found and what they are worth.

    Attributes:
        guesses: those that name more of the held-out tokens' experts than the untrained guess.
        qualities: of every guess, also where nothing was gained.
        fitted, held_out: tokens.
    """

    guesses: list[TrainedGuess]
    qualities: list[Quality]
    fitted: int
    held_out: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields, without the matrices."""
        return {
            "fitted": self.fitted,
            "held_out": self.held_out,
            "guesses": [asdict(quality) for quality in self.qualities],
        }


def train(
    llm: LLM,
    texts: Sequence[str],
    tokens: int = TOKENS,
    rank: int = RANK,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Training:
    """Fit a correction for every guess, and measure it on the last fifth of the tokens.

    Args:
        llm: loaded with `Streaming(record_states=STATE_BYTES)`.
        texts: the likelier the model meets such, the better.
        tokens: to run; about as many of each text.
        rank: of the corrections.
        progress: called with the tokens run so far and in all.

    Raises:
        InvalidRequestError: the model's experts cannot be guessed, or the texts are too short.
        OutOfBudgetError: the sums that are fitted do not fit into memory.
    """
    if rank < 1:
        raise InvalidRequestError(f"rank is {rank}; give at least 1")
    if not llm.loaded.scheduler.engine.expert_layers:
        raise InvalidRequestError(f"{llm.path.name} has no experts: there is nothing to train")
    sequences = windows(llm, texts, tokens)
    split = len(sequences) - max(1, len(sequences) // HELD_OUT)
    total = sum(map(len, sequences))
    done = 0

    def run(part: Sequence[Sequence[int]]) -> Iterator[States]:
        nonlocal done
        for states in record(llm, part):
            done += len(states[0]["logits"])
            progress(done, total)
            yield states

    fits = _fit(run(sequences[:split]), rank)
    fitted = done
    measured = _measure(run(sequences[split:]), fits, _choices(llm))
    qualities = [
        Quality(*key, before, after, len(fits[key].a)) for key, (before, after) in measured.items()
    ]
    guesses = [
        TrainedGuess(q.layer, q.late, fit.a, fit.b, fit.bias)
        for q in qualities
        if q.trained > q.untrained and (fit := fits[q.layer, q.late])
    ]
    return Training(guesses, qualities, fitted, done - fitted)


def write_speculator(path: Path, model: GgufFile, guesses: Sequence[TrainedGuess]) -> None:
    """Write the file of `engine/speculator.py`; under its name only when it is whole.

    Raises:
        StorageError: the folder cannot be written, or the drive is full.
    """
    tensors = [item for guess in guesses for item in guess.tensors().items()]
    write_gguf(
        path,
        metadata_of(model, guesses),
        [TensorSpec(name, values.shape, "F32") for name, values in tensors],
        lambda index: [np.ascontiguousarray(tensors[index][1]).tobytes()],
    )


@dataclass(frozen=True)
class _Choice:
    """How a layer chooses experts by its router's logits."""

    used: int
    sigmoid: bool
    bias: Floats | None

    def chosen(self, logits: Floats) -> npt.NDArray[np.bool_]:
        """Whether each row chooses each expert, [rows, experts]."""
        scores = 1 / (1 + np.exp(-logits)) if self.sigmoid else logits
        if self.sigmoid and self.bias is not None:
            scores = scores + self.bias
        best = np.argpartition(scores, -self.used, axis=1)[:, -self.used :]
        mask = np.zeros(scores.shape, bool)
        np.put_along_axis(mask, best, True, axis=1)
        return mask


def _choices(llm: LLM) -> list[_Choice]:
    choices = []
    for op in llm.architecture.tape.ops:
        if op.kind != "moe":
            continue
        bias = op.weights[1]
        values = None if bias is None else llm.file.tensor_bytes(bias.name).view(np.float32)
        used = cast(int, op.attrs["used"])
        choices.append(_Choice(used, op.attrs["gating"] == "sigmoid", values))
    return choices


def _guesses(states: States) -> Iterator[tuple[tuple[int, bool], Floats, Floats, Floats]]:
    """Of each guess: layer and whether late, inputs, guessed and true logits."""
    for layer, kinds in enumerate(states):
        for stage in ("early", "late"):
            if f"{stage}_input" in kinds:
                x, guess = kinds[f"{stage}_input"], kinds[f"{stage}_guess"]
                yield (layer, stage == "late"), x, guess, kinds["logits"]


def _fit(steps: Iterator[States], rank: int) -> dict[tuple[int, bool], LowRankMap]:
    sums: dict[tuple[int, bool], Moments] = {}
    for states in steps:
        if not sums:
            _check_memory(states)
        for key, x, guess, logits in _guesses(states):
            moments = sums.setdefault(key, Moments(x.shape[1], logits.shape[1]))
            moments.add(x, logits - guess)
    # The fewer rows for each weight, the less a fit is to be trusted beside the untrained guess.
    # On nano, recall after 2,000 tokens is best at 4 to 8 times this, after 50,000 at any up to 20
    # times, but for the guess from embeddings, which likes less.
    return {key: m.fit(rank, m.inputs / m.rows) for key, m in sums.items()}


def _check_memory(states: States) -> None:
    widths = [x.shape[1] for _, x, _, _ in _guesses(states)]
    if not widths:
        raise InvalidRequestError(
            "there is nothing to train: the model's experts cannot be guessed from its routers"
        )
    need, room = sum(4 * width**2 for width in widths), available_bytes()
    if room is not None and need > room:
        raise OutOfBudgetError(
            f"training needs {show_bytes(need)} beside the model, {show_bytes(room)} are left: "
            "give the model a smaller ram"
        )


class Drift:
    """What the engine adds to a guess as it runs: its mean error so far (core/experts/drift.h)."""

    NEW = 0.1  # weight of the latest token

    def __init__(self) -> None:
        self._value: Floats = np.zeros(1, np.float32)
        self._learnt = 0

    def correct(self, guess: Floats, logits: Floats) -> Floats:
        """Guessed logits [rows, experts], corrected by what the routers said of earlier rows."""
        corrected = np.empty_like(guess)
        for row, (guessed, said) in enumerate(zip(guess, logits, strict=True)):
            corrected[row] = guessed + self._value
            self._learnt += 1
            self._value = self._value + max(self.NEW, 1 / self._learnt) * (said - corrected[row])
        return corrected


class _Named:
    """Experts used, and of those the ones that a guess named, before and after training."""

    def __init__(self) -> None:
        self.used = self.untrained = self.trained = 0
        self._untrained, self._trained = Drift(), Drift()

    def count(self, choice: _Choice, guess: Floats, trained: Floats, logits: Floats) -> None:
        """Count rows of tokens that follow each other."""
        used = choice.chosen(logits)
        self.used += int(used.sum())
        untrained = choice.chosen(self._untrained.correct(guess, logits))
        self.untrained += int((used & untrained).sum())
        self.trained += int((used & choice.chosen(self._trained.correct(trained, logits))).sum())


def _measure(
    steps: Iterator[States],
    fits: dict[tuple[int, bool], LowRankMap],
    choices: Sequence[_Choice],
) -> dict[tuple[int, bool], tuple[float, float]]:
    counts = {key: _Named() for key in fits}
    for states in steps:
        for key, x, guess, logits in _guesses(states):
            counts[key].count(choices[key[0]], guess, guess + fits[key](x), logits)
    return {key: (n.untrained / n.used, n.trained / n.used) for key, n in sorted(counts.items())}
