"""Requests that share the steps of a streamed model share what those take."""

from __future__ import annotations

from dataclasses import fields

from tests.experts.test_budgets import smallest
from zerostall import LLM, SamplingParams
from zerostall.engine.completion import GAUGES, StreamTimings
from zerostall.engine.streaming import Streaming

PARAMS = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)
PROMPTS = ("def parse(text):", "import os\nimport sys\n\n\nclass Reader:\n    def __init__(self")


def test_the_shares_of_two_requests_are_together_what_the_model_did():
    # Nothing is read ahead, so that nothing is counted after the last step.
    streaming = Streaming(io="pread", speculate=False)
    options = {"threads": 1, "streaming": streaming, "ctx": 256}
    with LLM("nano", ram=smallest(ctx=256), **options) as llm:
        meter = llm.meter()
        streams = [llm.stream(prompt, PARAMS) for prompt in PROMPTS]
        lasts = [None, None]
        # One is at most 16 tokens ahead of this, and both run meanwhile.
        while chunks := [next(stream, None) for stream in streams]:
            if chunks == [None, None]:
                break
            lasts = [chunk or last for chunk, last in zip(chunks, lasts, strict=True)]
        whole = meter.read()
    shares = [last.timings.streaming for last in lasts]
    assert all(share.demanded > 0 and share.bytes_read > 0 for share in shares)
    for field in fields(StreamTimings):
        # Faults are the whole process's, at any time, and milliseconds are rounded.
        if field.type == "int" and field.name not in ("major_faults", *GAUGES):
            counted = sum(getattr(share, field.name) for share in shares)
            assert counted == getattr(whole, field.name), field.name
    for share in shares:
        assert share.hits + share.shadow_hits + share.misses == share.demanded
