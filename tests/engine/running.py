"""Tasks for the fake engine."""

from __future__ import annotations

from tests.tasks import eventually
from zerostall.engine.scheduler import Scheduler
from zerostall.engine.session import Session
from zerostall.engine.task import Place, Task


class Greedy(Task):
    """Gives so many of the likeliest tokens."""

    def __init__(
        self, place: Place, prompt: list[int], count: int, priority: int = 0, ahead: int = 1000
    ) -> None:
        super().__init__(place, prompt, len(prompt) - 1, priority, ahead)
        self.left = count

    def receive(self, logits):
        assert len(logits) == 1
        token = int(logits[0].argmax())
        self.left -= 1
        self.put(token)
        if self.left == 0:
            self.put(None)
            return ()
        return (token,)


def answer(session: Session, prompt: list[int], count: int, priority: int = 0) -> list[int]:
    return list(session.run(Greedy(session.place, prompt, count, priority)))


def idle(scheduler: Scheduler) -> None:
    """Wait until nothing more can run."""
    assert eventually(lambda: not scheduler._running)
