"""The best trees of many charts at once against a chart at a time."""

import torch

from analyses.trees.cky import cky_trees
from analyses.trees.sci import brackets
from tests.bench import Comparison, interleaved
from tests.oracles import cky_tree

CHARTS, WORDS = 1000, 20


def compare() -> Comparison:
    """Both sides in float64, from charts as each side holds them to brackets."""
    generator = torch.Generator().manual_seed(0)
    size = (CHARTS, WORDS + 1, WORDS + 1)
    charts = torch.rand(size, generator=generator, dtype=torch.float64)
    lengths = torch.full((CHARTS,), WORDS)
    values = charts.tolist()
    spans = [(i, j) for i in range(WORDS) for j in range(i + 1, WORDS + 1)]
    plain_charts = [{(i, j): chart[i][j] for i, j in spans} for chart in values]

    def plain() -> list[list[tuple[int, int]]]:
        return [cky_tree(chart, WORDS)[1] for chart in plain_charts]

    def ours() -> torch.Tensor:
        return brackets(cky_trees(charts, lengths))

    assert ours().tolist() == [list(span) for tree in plain() for span in tree]
    times = interleaved(plain, ours, repeats=5)
    return Comparison("CKY over 1,000 charts of 20 words", *times, goal=30)
