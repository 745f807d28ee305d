"""Variations of the built-in model, made by changing a few bytes of its file."""

from __future__ import annotations

import struct

from zerostall import hub

TEMPLATE = (
    "{% for m in messages %}# {{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}# assistant:{% endif %}"
)
CONTROL = 3  # the type of a token
BLOCK = 4096  # a multiple of every alignment in use


def nano() -> bytes:
    """The built-in model's file."""
    return hub.resolve("nano").read_bytes()


def with_template(model: bytes, template: str = TEMPLATE) -> bytes:
    """The model with a chat template; a comment in it keeps the tensors aligned."""
    key = b"tokenizer.chat_template"
    fixed = 8 + len(key) + 4 + 8 + len(template) + len("{##}")
    text = template + "{#" + " " * (-fixed % BLOCK) + "#}"
    entry = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(text)) + text.encode()
    (entries,) = struct.unpack_from("<Q", model, 16)
    return model[:16] + struct.pack("<Q", entries + 1) + entry + model[24:]


def with_number(model: bytes, key: str, number: int) -> bytes:
    """The model with one more unsigned number in its metadata, and a text that fills a block."""
    entry = struct.pack("<Q", len(key)) + key.encode() + struct.pack("<II", 4, number)
    name = b"test.filling"
    entry += struct.pack("<Q", len(name)) + name
    filling = -(len(entry) + 4 + 8) % BLOCK
    entry += struct.pack("<IQ", 8, filling) + b" " * filling
    (entries,) = struct.unpack_from("<Q", model, 16)
    return model[:16] + struct.pack("<Q", entries + 2) + entry + model[24:]


def with_token_type(model: bytes, token: int, kind: int) -> bytes:
    """The model with another type of a token."""
    key = b"tokenizer.ggml.token_type"
    assert model.count(key) == 1
    place = model.index(key) + len(key) + 4 + 4 + 8 + 4 * token
    return model[:place] + struct.pack("<i", kind) + model[place + 4 :]


def without_vocabulary(model: bytes) -> bytes:
    """The model saying that it has no tokenizer."""
    old = b"tokenizer.ggml.model" + struct.pack("<IQ", 8, 4) + b"gpt2"
    assert model.count(old) == 1
    return model.replace(old, old[:-4] + b"none")
