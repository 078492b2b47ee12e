"""Three small sentences with gold trees, a small model, and trees projected from it."""

import dataclasses
from typing import Any

import numpy as np
import torch

from analyses import plots
from analyses.trees.projection import TreeProjection
from analyses.trees.sci import METHODS
from hooks import Examples, Sizes, Snapshot, build
from hooks.models import PostNormConfig

SIZES = Sizes(d_vocab=20, d_vocab_out=20, n_ctx=10)
WORDS = (("<s>", "the", "newt", "does", "see", "it", "."), ("<s>", "go", "on", ".", ".", ".", "."),
         ("<s>", "stop", ".", ".", ".", ".", "."))  # fmt: skip
TREES = (((1, 2), (3, (4, 5))), (1, 2), 1)
TOKENS = torch.randint(20, (3, 7), generator=torch.Generator().manual_seed(0))
GOLD = [[(0, 5), (0, 2), (2, 5), (3, 5)], [(0, 2)], []]


def examples_of(rows: tuple[int, ...] = (0, 1, 2), tokens: torch.Tensor = TOKENS) -> Examples:
    nothing = torch.zeros_like(tokens)
    every = Examples(nothing, nothing.bool(), tokens, trees=TREES, words=WORDS)
    return every.at(torch.tensor(rows))


def snapshot_of(examples: Examples | None = None, n_layers: int = 3) -> Snapshot:
    config = PostNormConfig(n_layers=n_layers, d_model=12, n_heads=2)
    return Snapshot.of(build(config, SIZES, seed=0), examples or examples_of())


def drawn_data(figure: Any) -> dict[str, Any]:
    return plots.as_data(figure)


def measured(**options: Any) -> TreeProjection:
    return TreeProjection.measure(snapshot_of(), **options)


def holding(result: TreeProjection, spans: list[list[tuple[int, int]]]) -> TreeProjection:
    """The same with other projected trees."""
    flat = [span for each in spans for span in each]
    matches = [len({*one} & {*other}) for one, other in zip(spans, GOLD, strict=True)]
    return dataclasses.replace(
        result,
        thresholds=(0,),
        values=result.values[:, :1],
        undecided=result.undecided[:, :1],
        chance=result.chance[:1],
        spans=np.array([flat], dtype=np.int16),
        matches=np.array([[matches]] * len(METHODS)),
    )
