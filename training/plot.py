"""Draws the loss curve of a run as SVG: ``python -m training.plot RUN OUT.svg``."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 48, 16, 32, 40
LOSS_TOP, LOSS_BOTTOM = 6.0, 1.0
SMOOTHING_STEPS = 20
COLOURS = {"train": "#4878a8", "held-out": "#c44e52"}


def read_log(path: Path) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """Training losses averaged over ``SMOOTHING_STEPS`` and the held-out losses, by step."""
    train: list[tuple[int, float]] = []
    heldout: list[tuple[int, float]] = []
    recent: list[float] = []
    with path.open() as file:
        for row in csv.reader(file):
            step = int(row[0])
            recent.append(float(row[2]))
            if step % SMOOTHING_STEPS == 0:
                train.append((step, sum(recent) / len(recent)))
                recent = []
            if len(row) > 4:
                heldout.append((step, float(row[4])))
    return train, heldout


def project(step: float, loss: float, last: int) -> tuple[float, float]:
    """Pixel position of a point."""
    x = LEFT + (WIDTH - LEFT - RIGHT) * step / last
    share = (LOSS_TOP - min(loss, LOSS_TOP)) / (LOSS_TOP - LOSS_BOTTOM)
    return x, TOP + (HEIGHT - TOP - BOTTOM) * share


def polyline(points: list[tuple[int, float]], last: int, colour: str) -> str:
    """One curve."""
    pairs = (project(step, loss, last) for step, loss in points)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)
    return f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{path}"/>'


def axes(last: int) -> list[str]:
    """Grid lines and labels: nats per token upwards, steps to the right."""
    parts = []
    for tick in range(int(LOSS_BOTTOM), int(LOSS_TOP) + 1):
        _, y = project(0, tick, last)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick}</text>')
    for step in range(0, last + 1, 500):
        x, _ = project(step, LOSS_BOTTOM, last)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 20}" text-anchor="middle">{step}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">step</text>')
    return parts


def draw(path: Path, title: str) -> str:
    """The SVG of a run's ``log.csv``."""
    train, heldout = read_log(path)
    last = max(step for step, _ in train + heldout)
    curves = {"train": train, "held-out": heldout}
    parts = axes(last) + [polyline(p, last, COLOURS[n]) for n, p in curves.items()]
    parts.append(f'<text x="{LEFT}" y="18">{title}: loss, nats per token</text>')
    for index, (name, colour) in enumerate(COLOURS.items()):
        x = WIDTH - RIGHT - 80 * index
        parts.append(f'<text x="{x}" y="18" text-anchor="end" fill="{colour}">{name}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
    head += ' font-family="sans-serif" font-size="12">'
    background = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    return "\n".join([head, background, *parts, "</svg>"]) + "\n"


def main() -> None:
    """Writes the file given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    args.target.write_text(draw(args.run / "log.csv", args.run.name))


if __name__ == "__main__":
    main()
