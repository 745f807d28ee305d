"""The chat templates of a model file, as text."""

from __future__ import annotations

import logging

from zerostall.text.metadata import Metadata, read_text, read_texts

log = logging.getLogger(__name__)

_KEY = "tokenizer.chat_template"

# ChatML, for a file without a template whose vocabulary has the two markers.
_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_CHATML_MARKERS = ("<|im_start|>", "<|im_end|>")


def read_templates(file: Metadata, ids: dict[str, int]) -> dict[str, str]:
    """Return the chat templates by name: "default", and others such as "tool_use".

    A file without any gets ChatML if the vocabulary has its markers, and none otherwise.
    """
    found = {}
    for name in ("default", *(read_texts(file, f"{_KEY}s") or [])):
        template = read_text(file, _KEY if name == "default" else f"{_KEY}.{name}")
        if template is not None:
            found[name] = template
    if not found and all(marker in ids for marker in _CHATML_MARKERS):
        log.info("the file has no chat template: using ChatML, whose markers it knows")
        found["default"] = _CHATML
    return found
