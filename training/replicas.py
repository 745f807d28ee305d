"""Data-parallel replicas: one single-threaded process a core, meeting once a step.

With threads inside the operators every operator is a barrier. On a machine that others use
too, one late thread then stalls all: two threads at 27% of the machine took 28 s a step of
3.6 CPU seconds. Replicas wait for each other only where gradients are averaged.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

Value = TypeVar("Value")


@dataclass(frozen=True)
class Replicas:
    """This process among ``count``; every method must be called by all of them alike."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this replica writes logs and checkpoints."""
        return self.rank == 0

    def own_rows(self, batch: Tensor) -> Tensor:
        """This replica's share of the rows of a batch that all have drawn."""
        return batch.tensor_split(self.count)[self.rank]

    def owns(self, index: int) -> bool:
        """Whether item ``index`` of a list of work is this replica's."""
        return index % self.count == self.rank

    def sum_(self, tensors: Iterable[Tensor], scale: float = 1.0) -> None:
        """Replaces each tensor by ``scale`` times its sum over the replicas."""
        tensors = list(tensors)
        if self.count == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        flat *= scale
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def agree(self, value: Value) -> Value:
        """The first replica's value, so that all see a file's change at the same step."""
        box = [value]
        if self.count > 1:
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor by its mean over the replicas."""
        self.sum_(tensors, 1 / self.count)


def _enter(rank: int, count: int, rendezvous: str, work: Callable[..., None], *args: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=count)
    try:
        work(Replicas(rank, count), *args)
    finally:
        dist.destroy_process_group()


def launch(count: int, work: Callable[..., None], *args: Any) -> None:
    """Calls ``work(replicas, *args)`` in ``count`` processes; the first is this one."""
    with tempfile.TemporaryDirectory() as folder:
        rendezvous = str(Path(folder, "rendezvous"))
        context = mp.get_context("spawn")
        others = [
            context.Process(target=_enter, args=(rank, count, rendezvous, work, *args))
            for rank in range(1, count)
        ]
        for process in others:
            process.start()
        _enter(0, count, rendezvous, work, *args)
        for process in others:
            process.join()
