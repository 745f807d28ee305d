"""Trains one of the built-in models: ``python -m training.train nano CORPUS RUN``.

RUN receives ``checkpoint.pt`` (every five minutes; the run resumes from it), ``log.csv``
and ``schedule.json``. Editing the last moves the decay phase while the run goes on.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from torch import Tensor

from . import checkpoint
from .batches import Mixture, heldout_batches
from .config import MODELS, TRAINING, TrainConfig
from .model import Decoder
from .muon import Muon
from .replicas import Replicas, launch
from .schedule import Schedule

CHECKPOINT_SECONDS = 300
EVAL_STEPS = 100
EVAL_WINDOWS = 40


def build_optimizers(
    model: Decoder, train: TrainConfig, replicas: Replicas
) -> list[torch.optim.Optimizer]:
    """Muon for matrices inside the blocks; AdamW for embedding, routers and gains."""
    matrices, embedding, rest = [], [], []
    for name, parameter in model.named_parameters():
        if name.startswith("embed"):
            embedding.append(parameter)
        elif parameter.ndim < 2 or name.endswith("router"):
            rest.append(parameter)
        else:
            matrices.append(parameter)
    adam_groups = [
        {"params": embedding, "weight_decay": train.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        Muon(matrices, replicas, lr=train.muon_lr, weight_decay=train.weight_decay),
        torch.optim.AdamW(adam_groups, lr=train.adam_lr, betas=(0.9, 0.95), fused=True),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def draw_batch(data: Mixture, train: TrainConfig, decaying: bool) -> tuple[Tensor, Tensor]:
    """Inputs and targets of one step in the given phase."""
    length = train.decay_seq_len if decaying else train.seq_len
    test_fraction = train.decay_test_fraction if decaying else train.test_fraction
    return data.draw(train.tokens_per_step, length, test_fraction)


def forward_loss(model: Decoder, inputs: Tensor, targets: Tensor) -> Tensor:
    """Mean next-token cross-entropy (nats), with GEMMs in bfloat16."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return model.loss(inputs, targets)


def train_step(
    model: Decoder,
    optimizers: list[torch.optim.Optimizer],
    batch: tuple[Tensor, Tensor],
    train: TrainConfig,
    replicas: Replicas,
    factor: float,
) -> float:
    """One update at ``factor`` times the peak learning rates; returns the loss."""
    inputs, targets = (replicas.own_rows(part) for part in batch)
    loss = forward_loss(model, inputs, targets)
    total = loss
    for mixture in model.mixtures():
        total = total + train.balance_coef * mixture.balance_loss
        total = total + train.router_z_coef * mixture.z_loss
    total.backward()
    loss = loss.detach()
    replicas.mean_([loss, *(p.grad for p in model.parameters() if p.grad is not None)])
    torch.nn.utils.clip_grad_norm_(model.parameters(), train.grad_clip)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item()


@torch.no_grad()
def evaluate(model: Decoder, batches: list[tuple[Tensor, Tensor]]) -> float:
    """Mean loss over batches of one shape."""
    model.eval()
    loss = sum(forward_loss(model, *batch).item() for batch in batches) / len(batches)
    model.train()
    return loss


def busiest_share(model: Decoder) -> float:
    """Largest share of one expert among the choices of its layer; 1 / E is perfect balance."""
    return max((m.load.max().item() for m in model.mixtures()), default=math.nan)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=sorted(MODELS))
    parser.add_argument("corpus", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--warmup", type=int, default=40)
    parser.add_argument("--decay-start", type=int, default=10**9)
    parser.add_argument("--steps", type=int, default=10**9 + 1)
    parser.add_argument("--replicas", type=int, default=2, help="one core each")
    return parser.parse_args()


def run(replicas: Replicas, args: argparse.Namespace) -> None:
    """Trains, or resumes, as one of the replicas."""
    train = TRAINING[args.model]
    torch.manual_seed(train.seed)
    schedule_path, checkpoint_path = args.run / "schedule.json", args.run / "checkpoint.pt"
    model = Decoder(MODELS[args.model]).train()
    optimizers = build_optimizers(model, train, replicas)
    data = Mixture(args.corpus, train.seed)
    progress = {"step": 0, "seconds": 0.0}
    if checkpoint_path.exists():
        data, progress = checkpoint.restore(checkpoint_path, model, optimizers)
    heldout = heldout_batches(args.corpus, train.seq_len, EVAL_WINDOWS)

    log = (args.run / "log.csv").open("a", buffering=1)
    last_save = time.monotonic()
    while progress["step"] < (schedule := replicas.agree(Schedule.load(schedule_path))).total:
        started = time.monotonic()
        step = int(progress["step"])
        batch = draw_batch(data, train, schedule.decaying(step))
        factor = schedule.factor(step)
        loss = train_step(model, optimizers, batch, train, replicas, factor)
        progress["step"] = step + 1
        progress["seconds"] += time.monotonic() - started
        if not replicas.leads:
            continue
        last = progress["step"] >= schedule.total
        line = f"{step + 1},{progress['seconds']:.1f},{loss:.4f},{busiest_share(model):.3f}"
        if (step + 1) % EVAL_STEPS == 0 or last:
            line += f",{evaluate(model, heldout):.4f}"
        print(line, file=log)
        if last or time.monotonic() - last_save > CHECKPOINT_SECONDS:
            checkpoint.save(checkpoint_path, model, optimizers, data, progress)
            last_save = time.monotonic()


def main() -> None:
    """Starts the replicas that the command line asks for."""
    args = parse_arguments()
    args.run.mkdir(parents=True, exist_ok=True)
    if not (args.run / "checkpoint.pt").exists():
        schedule = Schedule(args.warmup, args.decay_start, args.steps)
        schedule.save(args.run / "schedule.json")
    launch(args.replicas, run, args)


if __name__ == "__main__":
    main()
