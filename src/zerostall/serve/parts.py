"""What the text of a model is made of, once it is told apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["reasoning_content", "content"]


@dataclass(frozen=True)
class Text:
    """A piece of the answer, or of the reasoning before it."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Call:
    """A call of a tool begins."""

    name: str


@dataclass(frozen=True)
class Arguments:
    """The next piece of the call's arguments; all together are JSON, if the model wrote JSON."""

    text: str


@dataclass(frozen=True)
class CallEnd:
    """The call is complete. One that the end of the text cuts off has none."""


Part = Text | Call | Arguments | CallEnd
