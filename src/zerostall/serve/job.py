"""One generation of a request: what is asked, what it gives, and how far it is in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zerostall.engine.completion import Chunk, PromptProgress, TokenLogprob

if TYPE_CHECKING:
    from zerostall.sampling import SamplingParams
    from zerostall.serve.gate import Ticket

PromptScores = list[TokenLogprob | None]


@dataclass(frozen=True)
class Job:
    """One generation of a run.

    With `score_prompt` the logprobs of the prompt's tokens come before the first chunk. If it is
    `watched`, so does news of how far the prompt is.
    """

    index: int
    prompt: list[int]
    params: SamplingParams
    score_prompt: bool = False
    watched: bool = False
    priority: int = 0  # a lower one goes first


@dataclass(frozen=True)
class Item:
    """What a job gave: one of the three.

    Attributes:
        index: of the job.
        chunk: a piece of the answer.
        scores: those of the prompt's tokens; of the first there is none.
        progress: how far the prompt is.
    """

    index: int
    chunk: Chunk | None = None
    scores: PromptScores | None = None
    progress: PromptProgress | None = None


@dataclass(frozen=True)
class State:
    """How far a run is with the generation under way in one of its places.

    Attributes:
        slot: the place among those that run.
        request_id: as the logs have it.
        prompt: tokens of the prompt.
        cached: of them, found in the cache.
        computed: of them, computed so far.
        decoded: tokens generated so far.
        most: tokens that will be at most; None if nothing is generated.
    """

    slot: int
    request_id: str | None
    prompt: int
    cached: int
    computed: int
    decoded: int
    most: int | None


@dataclass(eq=False)
class Seat:
    """A place of the gate, and the job under way there.

    Attributes:
        ticket: of the place; None: that of the run, which may not be known yet.
        job: None: there was none left for it.
        progress: of the prompt, once something is known.
        decoded: tokens generated so far.
    """

    ticket: Ticket | None
    job: Job | None
    progress: PromptProgress | None = None
    decoded: int = 0

    def begin(self, job: Job) -> None:
        """The next job has its turn."""
        self.job, self.progress, self.decoded = job, None, 0
