"""How a text goes on once it has filled the context: its beginning stays, half of the rest goes.

What stays is computed again as a text of its own (docs/adr/0012).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zerostall.errors import InvalidRequestError

ALL = -1  # tokens to keep: the whole prompt
LEAST = 4  # places of a context that are not kept, as in llama.cpp


@dataclass(frozen=True)
class ContextShift:
    """Of one text.

    Attributes:
        context: places that there are.
        head: tokens at its beginning that always stay, fewer than the places.
    """

    context: int
    head: int

    @classmethod
    def of(cls, keep: int, context: int, prompt: Sequence[int], bos: int | None) -> ContextShift:
        """What stays of a prompt: `keep` tokens after the one that begins every text, if any.

        Args:
            keep: as for check_keep().
            context: places that there are.
            prompt: token ids.
            bos: the token that the model wants in front of every text.
        """
        head = len(prompt) if keep == ALL else keep + (list(prompt[:1]) == [bos])
        return cls(context, max(0, min(head, len(prompt), context - LEAST)))

    def make_room(self, tokens: list[int]) -> list[int] | None:
        """The tokens of a full context that stay; None while it is not full."""
        if len(tokens) < self.context:
            return None
        dropped = max(1, (len(tokens) - self.head) // 2)
        return tokens[: self.head] + tokens[self.head + dropped :]


def check_keep(keep: int, context: int) -> None:
    """Raise InvalidRequestError unless so many tokens leave room in a context.

    Args:
        keep: tokens at the beginning of a prompt that stay; ALL is as many as there is room for.
        context: places that there are.
    """
    most = max(0, context - LEAST)
    if keep > most:
        raise InvalidRequestError(
            f"keep is {keep}; of a context of {context} tokens at most {most} can stay"
        )
