"""Texts that tokenizers are compared on: ours, of many scripts and corner cases, and random."""

from __future__ import annotations

import random

_WRITTEN = [
    "",
    " ",
    "   ",
    "\t",
    "\n",
    "\n\n",
    "\n\n\n\t\n ",
    "\r\n",
    " \r\n  \r",
    "Hello",
    " Hello",
    "Hello, world! It's the 2nd of 31 tests; we're at 100.0% (or 1,234,567.89?).",
    "don't DON'T We'Ve we'LL I'D it'S 'tis ''s '' 'ſ",
    "The quick brown fox\njumps over\r\n\r\n  the lazy dog.   \n   ",
    "def f(x, *args, **kwargs):\n    if x != 0:\n\treturn x ** 2  # squared\n    return None\n",
    'for (int i = 0; i < 10; ++i) { printf("%d\\n", a[i]); } /* done */ //\n',
    '<p class="a">x &amp; y</p>\n```json\n{"k": [1, 2.5e-3, null]}\n```',
    "https://example.org/a/b_c?d=e&f=%20#g user.name+tag@mail.example",
    "1 12 123 1234 12345 123456 1234567 12345678 0x1F 1_000 3.14 ½ ² Ⅷ ٣٤٥ １２３",
    "camelCase HTTPServer XMLHttpRequest snake_case SCREAMING_CASE iPhone McDonald's",
    "naïve café Ångström Straße ŒUVRE Ĳssel ǅ İstanbul ﬁ ﬂ",
    "cafe\u0301 A\u030angstro\u0308m \u0301alone e\u0301\u0302\u0323",
    "Быстрая коричневая лиса прыгает через ленивую собаку. ЁЖИК МОСКВА Москва-река",
    "Ο γρήγορος σκύλος ΑΘΗΝΑ ὕδωρ ᾳ",
    "שלום עולם. مرحبا بالعالم، كيف الحال؟ ۱۲۳",
    "नमस्ते दुनिया। क्षत्रिय বাংলা தமிழ் తెలుగు ไทยภาษา ລາວ ខ្មែរ မြန်မာ",
    "你好，世界！这是一个测试。2024年3月1日 汉字漢字 𠀀𪜀",
    "こんにちは世界。カタカナ、ﾊﾝｶｸ ー々〆 日本語ABC１２３",
    "안녕하세요 세계! 대한민국 한국어123 ㄱㄴㄷ",
    "🚀🚀 👨\u200d👩\u200d👧 🇨🇭 ✅ ☺️ 🏽",
    "zero\u200bwidth nb\u00a0sp id\u3000eo \u2028line \u0085next \ufeffbom soft\u00adhy",
    "== === ==> <= >= != -> --- ____ .... !!! ??? ~~~ ``` $$$ ^^ || && ++ ** // \\\\",
    "a  b   c    d     e      f        g                h",
    "aaaaaaaaaaaaaaaaaaaaaaaaa bbb      \n\n\n      ccc",
    "tab\tseparated\t\tvalues\t\n\tindented\n\t\ttwice\n        eight",
    "\x00\x01\x1b[0m\x7f",
    "▁ ▁▁ x▁y",
    "\ue000 \uf8ff \U000f0000 \U0010fffd \ufffd \U0001d54f\U0001d556",
    "<s>hi</s><unk> <0x0A> <|endoftext|>x<|im_start|>user\nhi<|im_end|>\n",
    "<|user|> \n hi <|end|>\n<|assistant|>\t<pad><bos><eos><unused1>[INST] [/INST]",
    "<fim_prefix>a<fim_suffix>b<fim_middle><|fim_pad|><|eot_id|><|begin_of_text|>",
    "'''\"\"\"'''......!!!!!!?????? I've been 'told he's there, 'RE you sure? 'M not sure I'll",
]
_PARTS = [
    *("hello", " world", "Hello", " The", "the", "ing", " x", "y", "a", "b", "A", "I"),
    *("'s", "'RE", "'ll", "'", "!", "!!", "...", "=", "==", "__", "-", "(", ")", "/", '"'),
    *(" 123", "4567", "1", "٣", "½", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\u3000"),
    *("\xa0", "\x85", "\u200b", "\u0301", "é", "ß", "ſ", "İ", "ǅ", "Привет", "мир", " МИР", "ё"),
    *("中文字", "日本", "한국어", "हिन्दी", "ไทย", "مرحبا", "🚀", "👨\u200d👩", "\ue000", "ꀀ", "▁"),
    *("<s>", "</s>", "<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|user|>"),
    *(" <|end|> \n x", "def f(x):\n    return x", "aaaa", "----", "    x", "fl", "ﬁ"),
]
_RANGES = [(0x20, 0x7E), (0xA0, 0x2FF), (0x370, 0x52F), (0x900, 0xDFF), (0x3000, 0x30FF)]
_RANGES += [(0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x1F300, 0x1F6FF), (0x1D400, 0x1D7FF)]


def texts(count: int, seed: int = 1) -> list[str]:
    """Return the written texts, and random ones up to ``count`` in all."""
    generator = random.Random(seed)
    return _WRITTEN + [_random_text(generator) for _ in range(count - len(_WRITTEN))]


def _random_text(generator: random.Random) -> str:
    kind = generator.random()
    if kind < 0.7:
        return "".join(generator.choices(_PARTS, k=generator.randint(2, 12)))
    if kind < 0.85:
        spans = generator.choices(_RANGES, k=generator.randint(1, 16))
        return "".join(chr(generator.randint(*span)) for span in spans)
    return "".join(generator.choices("ab \n'1A", k=generator.randint(2, 30)))
