"""What tests send: the least that each kind of request needs, and texts cut anywhere."""

from __future__ import annotations

import random

HELLO = [{"role": "user", "content": "x"}]
BODIES = {
    "/v1/completions": {"prompt": [1, 2], "max_tokens": 2},
    "/v1/chat/completions": {"messages": HELLO, "max_tokens": 2},
    "/v1/responses": {"input": "x", "max_output_tokens": 2},
    "/v1/messages": {"messages": HELLO, "max_tokens": 2},
}


def cut_anywhere(text: str, chance: random.Random) -> list[str]:
    """The text in pieces of at least one character."""
    pieces = []
    while text:
        cut = chance.randint(1, len(text))
        pieces.append(text[:cut])
        text = text[cut:]
    return pieces
