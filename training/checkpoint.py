"""Atomic checkpoints: model, optimizers, data order and random state of a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .batches import Mixture
from .config import MODELS
from .model import Decoder


def save(
    path: Path,
    model: Decoder,
    optimizers: list[torch.optim.Optimizer],
    data: Mixture,
    progress: dict[str, Any],
) -> None:
    """Replaces ``path`` by the run's state; a crash leaves the old or the new file."""
    state = {
        "name": model.config.name,
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "data": data,
        "progress": progress,
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def restore(
    path: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer]
) -> tuple[Mixture, dict[str, Any]]:
    """Loads weights and optimizer states in place; returns the data order and the progress."""
    state = torch.load(path, weights_only=False)
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return state["data"], state["progress"]


def load_model(path: Path) -> Decoder:
    """The decoder of a checkpoint, in evaluation mode."""
    state = torch.load(path, weights_only=False)
    model = Decoder(MODELS[state["name"]])
    model.load_state_dict(state["model"])
    return model.eval()
