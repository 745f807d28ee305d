"""Harmony, the format that gpt-oss answers in: messages on channels, to the user or to a tool.

Source: OpenAI's description, developers.openai.com/cookbook/articles/openai-harmony. A prompt ends
in ``<|start|>assistant``; what follows is ``<|channel|>analysis<|message|>...<|end|>``, then
``<|start|>assistant<|channel|>final<|message|>...``, or on the channel commentary a header with
``to=functions.NAME`` and arguments as the message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

OPENINGS = ("<|channel|>", "<|start|>")
_MESSAGE = "<|message|>"
_CLOSINGS = ("<|end|>", "<|return|>", "<|call|>", *OPENINGS)
_CLOSING = re.compile("|".join(map(re.escape, _CLOSINGS)))
_CHANNEL = re.compile(r"<\|channel\|>(\w+)")
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")


@dataclass(frozen=True)
class Said:
    """A piece of a message.

    Attributes:
        message: the message's number, from 0.
        channel: "analysis" for reasoning, "final" for the answer, "commentary" for what is
            between.
        recipient: "functions.NAME" for a call of a tool, "" for the user.
        text: the piece; "" where a message begins.
    """

    message: int
    channel: str
    recipient: str
    text: str


class HarmonyReader:
    """Tells messages apart in a text that comes in pieces; the cuts change no message.

    Attributes:
        channel: of the message that the text is inside of; "" in a header.
    """

    def __init__(self) -> None:
        self.channel = ""
        self._recipient = ""
        self._message = -1
        self._held = ""

    def push(self, text: str) -> list[Said]:
        """Take in text, return what is certain now."""
        self._held += text
        said: list[Said] = []
        while self._step(said):
            pass
        return said

    def finish(self) -> list[Said]:
        """The text has ended: what was held back. A header without a message says nothing."""
        rest, self._held = self._held, ""
        return [self._piece(rest)] if self.channel and rest else []

    def _step(self, said: list[Said]) -> bool:
        if not self.channel:
            header, found, rest = self._held.partition(_MESSAGE)
            if not found:
                return False
            channel, recipient = _CHANNEL.search(header), _RECIPIENT.search(header)
            self.channel = channel[1] if channel else "final"
            self._recipient = recipient[1] if recipient else ""
            self._message += 1
            self._held = rest
            said.append(self._piece(""))
            return True
        closing = _CLOSING.search(self._held)
        if closing:
            text, self._held = self._held[: closing.start()], self._held[closing.start() :]
            if closing[0] not in OPENINGS:  # which are the next header's own
                self._held = self._held[len(closing[0]) :]
        else:
            keep = len(self._held) - _begun_tag(self._held)
            text, self._held = self._held[:keep], self._held[keep:]
        if text:
            said.append(self._piece(text))
        if closing:
            self.channel = ""
        return closing is not None

    def _piece(self, text: str) -> Said:
        return Said(self._message, self.channel, self._recipient, text)


def is_harmony(text: str) -> bool:
    """Whether an answer begins with a header."""
    return text.startswith(OPENINGS)


def turn(text: str) -> dict[str, str]:
    """A whole answer as a template wants it back: `content`, and `thinking` where there is any."""
    reader = HarmonyReader()
    parts: dict[str, dict[int, str]] = {"content": {}, "thinking": {}}
    for said in reader.push(text) + reader.finish():
        messages = parts["thinking" if said.channel == "analysis" else "content"]
        messages[said.message] = messages.get(said.message, "") + said.text
    content, thinking = ("\n\n".join(filter(None, part.values())) for part in parts.values())
    return {"content": content} | ({"thinking": thinking} if thinking else {})


def _begun_tag(text: str) -> int:
    """The length of the end of `text` that may become a closing tag."""
    at = text.rfind("<")
    end = text[at:] if at >= 0 else ""
    return len(end) if end and any(tag.startswith(end) for tag in _CLOSINGS) else 0
