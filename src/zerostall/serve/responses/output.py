"""The items of a response as they grow, and the events that a stream has for each step."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from zerostall.serve.parts import Call, CallEnd, Part, Text

Event = dict[str, Any]
Logprob = dict[str, Any]
_EVENTS = {"output_text": "response.output_text", "reasoning_text": "response.reasoning_text"}
_CALL = "response.function_call_arguments"


class Items:
    """Messages, reasoning and calls in the order in which the model writes them."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self._open: str | None = None  # what grows: a kind of text, or a call
        self._logprobs: list[Logprob] = []  # of tokens whose text is held back

    def note(self, logprobs: Sequence[Logprob]) -> None:
        """Take in the tokens that the next parts are made of: text has their logprobs."""
        self._logprobs += logprobs

    def add(self, part: Part) -> list[Event]:
        """Take in a part."""
        if not isinstance(part, Text):
            self._logprobs = []  # the call's
            if isinstance(part, Call):
                return self.close() + self._call(part)
            if isinstance(part, CallEnd):
                return self.close()
            self.items[-1]["arguments"] += part.text
            return [self._event(f"{_CALL}.delta") | {"delta": part.text}]
        kind = "output_text" if part.kind == "content" else "reasoning_text"
        events = []
        if self._open != kind:
            events = [*self.close(), *self._begin(kind)]
        return [*events, *self._grow(kind, part)]

    def close(self, status: str = "completed") -> list[Event]:
        """End the item that is open."""
        kind, self._open = self._open, None
        if kind is None:
            return []
        item = self.items[-1]
        item["status"] = status
        if kind == "function_call":
            done = {"arguments": item["arguments"], "name": item["name"]}
            return [self._event(f"{_CALL}.done") | done, self._item("done")]
        (part,) = item["content"]
        done = self._text_event(kind, "done") | {"text": part["text"]}
        if kind == "output_text":
            done["logprobs"] = part["logprobs"]
        ended = self._event("response.content_part.done") | {"content_index": 0, "part": part}
        return [done, ended, self._item("done")]

    def _begin(self, kind: str) -> list[Event]:
        self._open = kind
        if kind == "output_text":
            item: Event = {"id": _id("msg"), "type": "message", "role": "assistant"}
        else:
            item = {"id": _id("rs"), "type": "reasoning", "summary": []}
        self.items.append(item | {"status": "in_progress", "content": []})
        added = self._item("added")
        part: dict[str, Any] = {"type": kind, "text": ""}
        if kind == "output_text":
            part |= {"annotations": [], "logprobs": []}
        self.items[-1]["content"].append(part)
        begun = self._event("response.content_part.added")
        return [added, begun | {"content_index": 0, "part": dict(part)}]

    def _grow(self, kind: str, part: Text) -> list[Event]:
        content = self.items[-1]["content"][0]
        content["text"] += part.text
        event = self._text_event(kind, "delta") | {"delta": part.text}
        if kind == "output_text":
            # A new list: events that are on their way have the one before.
            content["logprobs"] = content["logprobs"] + self._logprobs
            event["logprobs"], self._logprobs = self._logprobs, []
        return [event]

    def _call(self, part: Call) -> list[Event]:
        item = {
            "id": _id("fc"),
            "type": "function_call",
            "call_id": _id("call"),
            "name": part.name,
            "arguments": "",
            "status": "in_progress",
        }
        self.items.append(item)
        self._open = "function_call"
        return [self._item("added")]

    def _text_event(self, kind: str, step: str) -> Event:
        return self._event(f"{_EVENTS[kind]}.{step}") | {"content_index": 0}

    def _event(self, kind: str) -> Event:
        return {
            "type": kind,
            "item_id": self.items[-1]["id"],
            "output_index": len(self.items) - 1,
        }

    def _item(self, step: str) -> Event:
        """The news of the last item, as it is now."""
        item = dict(self.items[-1])
        if "content" in item:
            item["content"] = [dict(part) for part in item["content"]]
        kind = f"response.output_item.{step}"
        return {"type": kind, "output_index": len(self.items) - 1, "item": item}


def _id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex[:24]}"
