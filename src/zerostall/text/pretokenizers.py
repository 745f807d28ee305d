r"""The pre-tokenizers that ``tokenizer.ggml.pre`` can name: the only list.

A byte-level BPE vocabulary was trained on words, and a tokenizer must cut the text into the same
words. Each entry gives regular expressions that are applied one after the other: each cuts every
piece that the one before left, and both its matches and what lies between them become pieces.

The expressions are those of the models' published ``tokenizer.json`` files, which Oniguruma (in
HF tokenizers) runs unchanged. Where llama.cpp approximates one, because its engine knows no
case (gpt-4o, tekken), no marks (``\p{M}``), no script (kimi-k2) or no word boundary (tiny_aya), the
published expression decides: the model was trained with it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PreTokenizer:
    """How one family of vocabularies cuts text into words.

    ``splits``: regular expressions, applied in order; ``ignore_merges``: a word that is a token
    is that token, whatever the merges say; ``add_bos``: the default where the file does not say;
    ``bos``: whether the family has a BOS token at all; ``escape``: the tokens hold plain UTF-8
    with U+2581 for spaces and bytes as ``<0xXX>``, not the byte alphabet of GPT-2.
    """

    splits: tuple[str, ...]
    ignore_merges: bool = False
    add_bos: bool = False
    bos: bool = True
    escape: bool = False


_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_DIGIT = r"\p{N}"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LEAD = r"[^\r\n\p{L}\p{N}]?"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_SYMBOLS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"

_LLAMA3 = rf"{_CONTRACTION}|{_LEAD}\p{{L}}+|\p{{N}}{{1,3}}|{_SYMBOLS}|{_SPACES}"
_QWEN2 = rf"{_CONTRACTION}|{_LEAD}\p{{L}}+|\p{{N}}|{_SYMBOLS}|{_SPACES}"
_QWEN35 = (
    rf"{_CONTRACTION}|{_LEAD}[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
)


def _cased(end: str, digits: str, symbols: str, lead: str = _LEAD, but: str = "") -> str:
    """Words that break where a lower-case letter meets an upper-case one (o200k)."""
    upper = rf"[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}{but}]"
    lower = rf"[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}{but}]"
    words = f"{lead}{upper}*{lower}+{end}|{lead}{upper}+{lower}*{end}"
    return f"{words}|{digits}|{symbols}|{_SPACES}"


_O200K_SYMBOLS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_O200K = _cased(f"{_CONTRACTION}?", r"\p{N}{1,3}", _O200K_SYMBOLS)
_TEKKEN = _cased("", _DIGIT, _O200K_SYMBOLS)
_KIMI = r"[\p{Han}]+|" + _cased(f"{_CONTRACTION}?", r"\p{N}{1,3}", _SYMBOLS, but=r"&&[^\p{Han}]")

_DEEPSEEK_CJK = "[一-龥\u0800-一가-\ud7ff]+"
_DEEPSEEK3_CJK = "[一-龥\u3040-ゟ゠-ヿ]+"
_DEEPSEEK_LETTERS = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ"
    "-Ὅὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤ"
    "Ⳬ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
_DEEPSEEK3_LEAD = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
_DEEPSEEK3_WORDS = rf"{_DEEPSEEK3_LEAD}|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+"
_DEEPSEEK3 = (
    r"\p{N}{1,3}",
    _DEEPSEEK3_CJK,
    rf"{_DEEPSEEK3_WORDS}| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}",
)
_AFMOE_CJK = (
    "[一-鿿㐀-䶿\u8c48-\ufaff\u3040-ゟ゠-ヿ･-ﾟ⼀-\u2fdfเ-\u0e7f\u0e80-\u0effក-\u17ffက-႟ꩠ-ꩿꧠ-\ua9ff"
    "가-\ud7afᄀ-ᇿ]+"
)
_BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"

_QWEN2_LIKE = PreTokenizer((_QWEN2,))
_GPT2_LIKE = PreTokenizer((_GPT2,))
_DIGITS_GPT2 = PreTokenizer((_DIGIT, _GPT2))
_LLAMA3_BOS = PreTokenizer((_LLAMA3,), ignore_merges=True, add_bos=True)
_O200K_LIKE = PreTokenizer((_O200K,))
_DEEPSEEK3_LIKE = PreTokenizer(_DEEPSEEK3)
_BAILING = PreTokenizer(
    (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
        r"|\s*[\r\n]|\s+(?!\S)|\s+",
    )
)
_JAIS2_SPACES = "".join(rf"|\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4, "1,2"))

PRETOKENIZERS: dict[str, PreTokenizer] = {
    "default": PreTokenizer(
        (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"),
    ),
    "llama-bpe": _LLAMA3_BOS,
    "llama3": _LLAMA3_BOS,
    "llama-v3": _LLAMA3_BOS,
    "falcon3": _LLAMA3_BOS,
    "falcon-h1": _LLAMA3_BOS,
    "pixtral": _LLAMA3_BOS,
    "midm-2.0": _LLAMA3_BOS,
    "lfm2": _LLAMA3_BOS,
    "dbrx": PreTokenizer((_LLAMA3,)),
    "smaug-bpe": PreTokenizer((_LLAMA3,)),
    "chatglm-bpe": PreTokenizer((_LLAMA3,), bos=False),
    "glm4": PreTokenizer((_LLAMA3,), bos=False, ignore_merges=True),
    "glm5": PreTokenizer((_LLAMA3,), bos=False, ignore_merges=True),
    "minicpm5": PreTokenizer(
        (
            r"\p{N}{1,3}",
            rf"{_CONTRACTION}|{_LEAD}\p{{L}}+|\p{{N}}+|{_SYMBOLS}|{_SPACES}",
        ),
        ignore_merges=True,
    ),
    "jais-2": PreTokenizer(
        (
            rf"{_CONTRACTION}|{_LEAD}\p{{L}}+|\p{{N}}{{1,3}}|{_SYMBOLS}|\s*[\r\n]+"
            + _JAIS2_SPACES
            + r"|\s",
        )
    ),
    "gpt-2": _GPT2_LIKE,
    "phi-2": _GPT2_LIKE,
    "mpt": _GPT2_LIKE,
    "olmo": _GPT2_LIKE,
    "jais": _GPT2_LIKE,
    "gigachat": _GPT2_LIKE,
    "a.x-4.0": _GPT2_LIKE,
    "mellum": _GPT2_LIKE,
    "exaone4": _GPT2_LIKE,
    "trillion": _GPT2_LIKE,
    "granite-docling": _GPT2_LIKE,
    "starcoder": _DIGITS_GPT2,
    "refact": _DIGITS_GPT2,
    "command-r": _DIGITS_GPT2,
    "smollm": _DIGITS_GPT2,
    "codeshell": _DIGITS_GPT2,
    "exaone": _DIGITS_GPT2,
    "minerva-7b": _DIGITS_GPT2,
    "mellum2": _DIGITS_GPT2,
    "falcon": PreTokenizer((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]")),
    "qwen2": _QWEN2_LIKE,
    "deepseek-r1-qwen": _QWEN2_LIKE,
    "kormo": _QWEN2_LIKE,
    "megrez": _QWEN2_LIKE,
    "stablelm2": _QWEN2_LIKE,
    "hunyuan": _QWEN2_LIKE,
    "solar-open": _QWEN2_LIKE,
    "grok-2": _QWEN2_LIKE,
    "laguna": PreTokenizer((r"[^\n]+|[\n]+", _QWEN2)),
    "qwen35": PreTokenizer((_QWEN35,)),
    "ufakzeka": PreTokenizer((rf"{_LEAD}\p{{L}}+|\p{{N}}|{_SYMBOLS}|{_SPACES}",)),
    "seed-coder": PreTokenizer(
        (rf"{_CONTRACTION}|{_LEAD}\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}",)
    ),
    "exaone-moe": PreTokenizer(
        (
            rf"{_CONTRACTION}|{_LEAD}(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
        )
    ),
    "bailingmoe": _BAILING,
    "bailingmoe2": _BAILING,
    "llada-moe": _BAILING,
    "deepseek-llm": PreTokenizer(
        (
            r"[\r\n]",
            rf"\s?[{_DEEPSEEK_LETTERS}]+",
            "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+",
            r"\s+$",
            _DEEPSEEK_CJK,
            _DIGIT,
        )
    ),
    "deepseek-coder": PreTokenizer((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _DEEPSEEK_CJK, _DIGIT)),
    "deepseek-v3": _DEEPSEEK3_LIKE,
    "hunyuan-dense": _DEEPSEEK3_LIKE,
    "hy_v4": _DEEPSEEK3_LIKE,
    "joyai-llm": _DEEPSEEK3_LIKE,
    "spark2_5": PreTokenizer(
        (
            r"\p{N}{1,3}",
            _DEEPSEEK3_CJK,
            rf"{_DEEPSEEK3_WORDS}| ?[\p{{P}}\p{{S}}]+|[\r\n]|\s+(?!\S)|\s+",
            _DIGIT,
        )
    ),
    "youtu": PreTokenizer(
        (
            "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-\u303f︰-﹏]+|[ㄅ-ㄯ]+|[一-龥\u3040-ゟ゠-ヿ]+",
            _cased(f"{_CONTRACTION}?", _DIGIT, _O200K_SYMBOLS),
        ),
        ignore_merges=True,
    ),
    "gpt-4o": _O200K_LIKE,
    "llama4": _O200K_LIKE,
    "kanana2": _O200K_LIKE,
    "talkie": _O200K_LIKE,
    "minimax-m2": _O200K_LIKE,
    "tiny_aya": PreTokenizer((r"\d{1,3}(?=(?:\d{3})*\b)", _O200K)),
    "cohere2moe": PreTokenizer((r"\d{1,3}(?=(?:\d{3})*\b)", _O200K)),
    "tekken": PreTokenizer((_TEKKEN,), ignore_merges=True, add_bos=True),
    "kimi-k2": PreTokenizer((_KIMI,)),
    "superbpe": PreTokenizer((r"\p{N}+", r"(?=(\d{3})+(?!\d))")),
    "afmoe": PreTokenizer(
        (
            # Groups of three digits counted from the right.
            r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))",
            _AFMOE_CJK,
            rf"{_DEEPSEEK3_WORDS}| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}",
        )
    ),
    "bloom": PreTokenizer((_BLOOM,)),
    "gpt3-finnish": PreTokenizer((_BLOOM,)),
    "poro-chat": PreTokenizer((_BLOOM,)),
    "viking": PreTokenizer((_BLOOM, _DIGIT)),
    "chameleon": PreTokenizer(
        (
            "<sentinel:[0-9]+>",
            "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
            r"([\t\n]|    |  )",
            _DIGIT,
            r"[\p{P}!-/:-@\[-`{-~]",
            _GPT2,
        ),
        add_bos=True,
    ),
    # No words at all: merges run over whole lines, so that only newlines are kept apart.
    "gemma4": PreTokenizer((r"[^\n]+|[\n]+",), add_bos=True, escape=True),
    "sarvam-moe": PreTokenizer((r"[^\n]+|[\n]+",), escape=True),
}

# The names whose expressions llama.cpp only approximates. It also leaves U+3000 with the word that
# follows in the two DeepSeek ones, where Oniguruma takes it for one of their CJK ranges.
APPROXIMATED = frozenset(
    (
        "afmoe",
        "cohere2moe",
        "deepseek-coder",
        "deepseek-llm",
        "gpt-4o",
        "kanana2",
        "kimi-k2",
        "llama4",
        "minimax-m2",
        "talkie",
        "tekken",
        "tiny_aya",
        "youtu",
    )
)
