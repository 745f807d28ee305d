"""Warmup-stable-decay learning rate, with a decay that can be placed while the run goes on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Schedule:
    """Linear warmup, a constant phase, then a linear decay to zero that ends at ``total``."""

    warmup: int
    decay_start: int
    total: int

    def factor(self, step: int) -> float:
        """Learning-rate factor of ``step`` (0-based)."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        if step < self.decay_start:
            return 1.0
        return max(0.0, (self.total - step) / (self.total - self.decay_start))

    def decaying(self, step: int) -> bool:
        """Whether ``step`` lies in the decay phase."""
        return step >= self.decay_start

    def save(self, path: Path) -> None:
        """Writes the three numbers as JSON."""
        path.write_text(json.dumps(asdict(self)) + "\n")

    @classmethod
    def load(cls, path: Path) -> Schedule:
        """Reads what ``save`` wrote; editing that file moves the decay of a running run."""
        return cls(**json.loads(path.read_text()))
