"""Trees projected by passes over suffixes against masked passes over every span."""

import torch

from analyses.trees.brackets import tree_of
from analyses.trees.sci import ProjectionOptions, projections
from hooks import Examples, Sizes, Snapshot, build
from hooks.models import TokenConfig
from tests.analyses.trees.random_trees import random_tree
from tests.bench import Comparison, interleaved
from tests.oracles import greedy_tree, masked_chart

SENTENCES, SHORTEST, LONGEST = 100, 10, 25


def untrained() -> Snapshot:
    """A model of four layers of width 128 on random words, with random gold trees."""
    config = TokenConfig(n_layers=4, d_model=128, n_heads=4, normalization_type="LN")
    sizes = Sizes(d_vocab=100, d_vocab_out=100, n_ctx=LONGEST + 1)
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(SHORTEST, LONGEST + 1, (SENTENCES,), generator=generator)
    tokens = torch.randint(100, (SENTENCES, LONGEST + 1), generator=generator)
    spans = (random_tree(count, generator) for count in counts.tolist())
    trees = tuple(
        tree_of([(i + 1, j + 1) for i, j in each], 1, each[0][1] + 1) for each in spans
    )  # fmt: skip
    nothing = torch.zeros_like(tokens)
    examples = Examples(nothing, nothing.bool(), tokens, lengths=counts + 1, trees=trees)
    return Snapshot.of(build(config, sizes, seed=0), examples)


def plain_trees(snapshot: Snapshot) -> list[list[tuple[int, int]]]:
    """Trees as the released code projects them, a pass a span."""
    examples = snapshot.examples
    assert examples.tokens is not None
    assert examples.lengths is not None
    trees = []
    with snapshot.running() as model:
        for row, length in zip(examples.tokens, examples.lengths.tolist(), strict=True):
            chart = masked_chart(model, row[:length], 1, 0)
            trees.append(greedy_tree(chart, 0, length - 1))
    return trees


def compare() -> Comparison:
    """Both sides in float32; ours also finds trees by two other rules, and scores all."""
    snapshot = untrained()
    plain = [list(span) for tree in plain_trees(snapshot) for span in tree]
    assert projections(snapshot, ProjectionOptions())["spans"][0].tolist() == plain
    times = interleaved(
        lambda: plain_trees(snapshot), lambda: projections(snapshot, ProjectionOptions()), repeats=3
    )
    return Comparison("trees projected from 100 sentences of 10 to 25 words", *times, goal=15)
