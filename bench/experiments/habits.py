"""How much of what a layer chooses for a token it chose for that token before, layer by layer.

The built-in model decodes held-out text; beside what a token's last choices foretell, how much a
layer chooses again of what it chose for the token before.

    python bench/experiments/habits.py [TOKENS]
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from speculator import USED, Study, prepare

FADE = 0.75  # what is left of a choice each time that the token comes again


def choices(study: Study) -> list[list[set[int]]]:
    """Of each layer, the experts of each token."""
    engine = study.engine(speculate=False, trace=True)
    study.decode(engine)
    layers: list[list[set[int]]] = [[] for _ in engine.expert_layers]
    for _, layer, experts, _, _ in engine.take_trace():
        layers[layer].append(set(experts))
    return layers


def foretold(ids: list[int], chosen: list[set[int]]) -> tuple[int, int, int]:
    """Of tokens seen before: experts, those chosen most before, those of the token in front."""
    weights: dict[int, Counter[int]] = defaultdict(Counter)
    total = habit = again = 0
    for at, (token, experts) in enumerate(zip(ids, chosen, strict=True)):
        known = weights[token]
        if known:
            total += len(experts)
            habit += len(experts & {expert for expert, _ in known.most_common(USED)})
            again += len(experts & chosen[at - 1])
        for expert in known:
            known[expert] *= FADE
        known.update(experts)
    return total, habit, again


def main() -> None:
    """Print the table."""
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    with tempfile.TemporaryDirectory() as name:
        study = prepare(Path(name), tokens)
        print("| layer | seen before | habit | of the token in front |\n| --- | --- | --- | --- |")
        for layer, chosen in enumerate(choices(study)):
            total, habit, again = foretold(study.ids, chosen)
            seen = total / sum(map(len, chosen))
            print(f"| {layer} | {seen:.0%} | {habit / total:.1%} | {again / total:.1%} |")


if __name__ == "__main__":
    main()
