"""How many threads a forward pass uses, and which CPU each of them stays on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from zerostall.errors import InvalidRequestError

if TYPE_CHECKING:
    from zerostall._core import Placement, Topology

PIN = "ZEROSTALL_PIN"
ROOT = Path("/")


def read_topology() -> Topology:
    """The cores this process may use now; the affinity mask is that of the calling thread."""
    from zerostall import _core

    return _core.read_topology()


def default_threads() -> int:
    """Performance cores allowed by the affinity mask, capped by the cgroup's CPU quota."""
    return read_topology().place().threads


def all_threads() -> int:
    """As default_threads(), with the efficiency cores."""
    return read_topology().place(efficiency=True).threads


def place_threads(threads: int | None = None, pin: bool | None = None) -> Placement:
    """Choose threads and their CPUs.

    Args:
        threads: None for default_threads().
        pin: whether each thread stays on its CPU; None: as the environment's ZEROSTALL_PIN
            says (0 or 1), else where that helps.

    Raises:
        InvalidRequestError: pinning is asked for and cannot be done, or ZEROSTALL_PIN is
            neither 0 nor 1.
    """
    return read_topology().place(threads, pin=pin if pin is not None else _pin_by_environment())


def cgroup_folders(controller: str, root: Path = ROOT) -> list[Path]:
    """Folders of this process's cgroups that hold `controller`, innermost first."""
    from zerostall import _core

    return [Path(folder) for folder in _core.cgroup_folders(controller, str(root))]


def _pin_by_environment() -> bool | None:
    value = os.environ.get(PIN, "")
    if value not in ("", "0", "1"):
        raise InvalidRequestError(f"{PIN} is {value!r}; set it to 0 or 1, or not at all")
    return None if value == "" else value == "1"
