"""/metrics waits for the engine's step; whoever asks for anything else does not wait for it."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from types import SimpleNamespace

from tests.serve.scripted import ScriptedLLM, inside
from tests.tasks import HANG_S

BODY = {"messages": [{"role": "user", "content": "x"}]}
SCRAPES = 40  # more than there are threads


class Stepping(ScriptedLLM):
    """In a step, for whose end its statistics wait."""

    def __init__(self, *pieces):
        super().__init__(*pieces)
        self.ended = threading.Event()
        self.ended.set()
        self.collected = 0

    def meter(self):
        return SimpleNamespace(read=lambda: None, cache=self._cache)

    def _cache(self):
        self.collected += 1
        assert self.ended.wait(HANG_S)
        return defaultdict(int)


def test_scrapes_that_wait_for_a_step_hold_nobody_up_and_share_what_they_get():
    async def main():
        llm = Stepping("said")
        async with inside(llm) as (client, _):
            before = llm.collected  # the registry has looked at each collector
            llm.ended.clear()
            scrapes = [asyncio.ensure_future(client.get("/metrics")) for _ in range(SCRAPES)]
            try:
                answer = await asyncio.wait_for(
                    client.post("/v1/chat/completions", json=BODY), HANG_S / 2
                )
                assert answer.json()["choices"][0]["message"]["content"] == "said"
                scrapes[0].cancel()  # takes nothing from the others
            finally:
                llm.ended.set()
            answers = await asyncio.gather(*scrapes[1:])
            assert {answer.status_code for answer in answers} == {200}
            assert len({answer.text for answer in answers}) == 1
            assert llm.collected == before + 1
            later = await client.get("/metrics")
            assert later.text != answers[0].text  # it counts the others
            assert llm.collected == before + 2

    asyncio.run(main())
