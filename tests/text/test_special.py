"""Which special tokens take their place when several fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zerostall.text.special import SpecialTokens


def split(tokens, text, rstrip=()):
    special = SpecialTokens(((token, id) for id, token in enumerate(tokens)), frozenset(rstrip))
    return special.split(text)


def test_the_longest_token_wins_wherever_it_stands():
    assert split(["<a>", "<a><b>"], "x<a><b>y<a>") == ["x", 1, "y", 0]
    assert split(["abc", "cdef"], "abcdef") == ["ab", 1]


def test_length_counts_bytes():
    assert split(["abc", "cé\U0001f680"], "abcé\U0001f680") == ["ab", 1]


def test_equal_tokens_do_not_overlap():
    assert split(["aa"], "aaaaa") == [0, 0, "a"]


def test_whitespace_is_swallowed_up_to_the_next_token():
    assert split(["<a>", " "], "<a> \n\tx", {0}) == [0, "x"]
    assert split(["<a>", "\n\n\n\n"], "<a> \n\n\n\n", {0}) == [0, 1]


def test_without_tokens_the_text_stays_whole():
    assert split([], "abc") == ["abc"]
    assert split(["<a>"], "") == []


def one_by_one(tokens, text):
    """llama.cpp's way: each token in turn cuts what the longer ones left."""
    pieces = [text] if text else []
    order = sorted(range(len(tokens)), key=lambda id: (-len(tokens[id].encode()), id))
    for id in order:
        cut = []
        for piece in pieces:
            if isinstance(piece, int):
                cut.append(piece)
                continue
            first, *others = piece.split(tokens[id])
            cut += [first] if first else []
            for other in others:
                cut += [id, other] if other else [id]
        pieces = cut
    return pieces


@given(
    st.lists(st.text("ab", min_size=1, max_size=4), unique=True, max_size=6),
    st.text("abc", max_size=20),
)
def test_the_result_is_that_of_cutting_by_one_token_after_the_other(tokens, text):
    assert split(tokens, text) == one_by_one(tokens, text)
