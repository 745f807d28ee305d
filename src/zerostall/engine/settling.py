"""Arranging memory while nothing is computed.

Where huge pages are slow to get, in virtual machines, a load takes small ones
(core/base/backing.h), from which decoding is a tenth slower. Steps join those of weights in a
twentieth of their time; a server or a chat has time for it, and for those of streamed experts,
before the first request, and between requests.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING

from zerostall.errors import ClosedError

if TYPE_CHECKING:
    from zerostall.engine.scheduler import Scheduler

SLICE_S = 0.02  # what a request waits for at most
PAUSE_S = 0.1


def settle_while_idle(scheduler: Scheduler) -> threading.Thread | None:
    """Begin it, in a thread that ends when it is done; None: there is nothing to do."""
    if scheduler.engine.settle(0):
        return None
    thread = threading.Thread(target=_settle, args=(weakref.ref(scheduler),), name="zs-settle")
    thread.start()
    return thread


def _settle(of: weakref.ref[Scheduler]) -> None:
    # Neither the end of the program nor that of the model waits for it.
    while threading.main_thread().is_alive():
        left = _slice(of)
        if left is None:
            return
        time.sleep(left)


def _slice(of: weakref.ref[Scheduler]) -> float | None:
    """Do a part of it if nothing is computed; seconds until the next one, None: it was the last."""
    scheduler = of()
    if scheduler is None:
        return None
    if scheduler.active:
        return PAUSE_S
    try:
        return None if scheduler.engine.settle(SLICE_S) else 0
    except ClosedError:
        return None
