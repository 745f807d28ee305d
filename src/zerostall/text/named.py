"""Tokens that are known by their text, because most files do not say what they are for.

The lists follow llama.cpp (src/llama-vocab.cpp), so that generation ends where its would.
"""

from __future__ import annotations

from zerostall.text.token_type import TokenType

END_OF_GENERATION = (
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
)
# Fill-in-the-middle: control tokens; the last three also end a generation.
FILL_IN = {
    "fim_pre": (
        "<|fim_prefix|>",
        "<fim-prefix>",
        "<fim_prefix>",
        "<｜fim▁begin｜>",
        "<PRE>",
        "▁<PRE>",
        "<|code_prefix|>",
        "<|prefix|>",
    ),
    "fim_suf": (
        "<|fim_suffix|>",
        "<fim-suffix>",
        "<fim_suffix>",
        "<｜fim▁hole｜>",
        "<SUF>",
        "▁<SUF>",
        "<|code_suffix|>",
        "<|suffix|>",
    ),
    "fim_mid": (
        "<|fim_middle|>",
        "<fim-middle>",
        "<fim_middle>",
        "<｜fim▁end｜>",
        "<MID>",
        "▁<MID>",
        "<|code_middle|>",
        "<|middle|>",
    ),
    "fim_pad": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    "fim_rep": ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    "fim_sep": ("<|file_sep|>",),
}
# The channel markers of o200k_harmony are part of the text that the model writes.
ALWAYS_SHOWN = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")


def name_by_text(ids: dict[str, int], types: list[int], named: dict[str, int]) -> None:
    """Add the fill-in-the-middle tokens to ``named``, and give known tokens their true type."""
    for name, texts in FILL_IN.items():
        if name not in named:
            found = next((ids[text] for text in texts if text in ids), None)
            if found is not None:
                named[name] = found
                types[found] = TokenType.CONTROL
    for text in END_OF_GENERATION:
        if text in ids:
            types[ids[text]] = TokenType.CONTROL
    for text in ALWAYS_SHOWN:
        if text in ids:
            types[ids[text]] = TokenType.USER_DEFINED


def end_of_generation(
    ids: dict[str, int], types: list[int], named: dict[str, int]
) -> frozenset[int]:
    """Return the ids that end a generation, and free two that only look like it.

    ``<|end|>`` closes a channel where ``<|return|>`` or ``<|flush|>`` closes the turn (gpt-oss,
    solar-open), and ``</s>`` is an HTML tag in the vocabularies of gemma4 and plamo.
    """
    ends = {ids[text] for text in END_OF_GENERATION if text in ids}
    ends |= {
        named[name]
        for name in ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep")
        if name in named
    }

    def has(text: str) -> bool:
        return ids.get(text) in ends

    called = has("<|call|>") or has("<|calls|>")
    if has("<|end|>") and called and (has("<|return|>") or has("<|flush|>")):
        ends.remove(ids["<|end|>"])
        types[ids["<|end|>"]] = TokenType.USER_DEFINED
    if has("</s>") and (has("<|tool_response>") or has("<|plamo:eos|>")):
        ends.remove(ids["</s>"])
        types[ids["</s>"]] = TokenType.NORMAL
    return frozenset(ends)
