import pytest
import torch
from torch.testing import assert_close

from analyses.trees.cky import (
    centred,
    centred_cky_trees,
    cky_trees,
    drawn_split_values,
    greedy_trees,
    mean_split_values,
    random_tree_values,
    tree_values,
    undecided,
)
from tests.analyses.trees.random_trees import random_tree
from tests.oracles import cky_tree, every_tree, greedy_tree, tree_odds

COUNTS = range(1, 8)


def random_charts(count: int, words: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, words + 1, words + 1, generator=generator, dtype=torch.float64)


def lengths_of(charts: torch.Tensor) -> torch.Tensor:
    return torch.full((len(charts),), charts.shape[1] - 1)


def as_table(chart: torch.Tensor) -> dict[tuple[int, int], float]:
    size = len(chart)
    return {(i, j): float(chart[i, j]) for i in range(size) for j in range(i + 1, size)}


def brackets(nodes: torch.Tensor) -> set[tuple[int, int]]:
    return {(i, j) for i, j in nodes.nonzero().tolist() if j - i > 1}


def values_of_every_tree(chart: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What each tree over a chart is worth, its root left out, and how likely it is."""
    trees = every_tree(0, len(chart) - 1)
    worth = [sum(float(chart[node]) for node in tree[1:]) for tree in trees]
    return torch.tensor(worth).double(), torch.tensor([tree_odds(tree) for tree in trees]).double()


@pytest.mark.parametrize("words", COUNTS)
def test_no_tree_is_worth_more_than_that_of_cky(words):
    charts = random_charts(20, words)
    lengths = lengths_of(charts)
    found = tree_values(charts, cky_trees(charts, lengths), lengths)
    expected = torch.stack([values_of_every_tree(chart)[0].max() for chart in charts])
    assert_close(found, expected)


@pytest.mark.parametrize("words", [2, 5, 13])
def test_cky_is_the_textbooks(words):
    charts = random_charts(20, words)
    for chart, nodes in zip(charts, cky_trees(charts, lengths_of(charts)), strict=True):
        assert brackets(nodes) == set(cky_tree(as_table(chart), words)[1])


@pytest.mark.parametrize("words", [1, 2, 5, 13])
def test_greedy_trees_split_where_the_parts_are_worth_most(words):
    charts = random_charts(20, words)
    for chart, nodes in zip(charts, greedy_trees(charts, lengths_of(charts)), strict=True):
        assert brackets(nodes) == set(greedy_tree(as_table(chart), 0, words))


@pytest.mark.parametrize("words", range(3, 8))
def test_a_greedy_tree_may_be_worth_less(words):
    charts = random_charts(50, words)
    lengths = lengths_of(charts)
    greedy, best = (
        tree_values(charts, trees(charts, lengths), lengths) for trees in (greedy_trees, cky_trees)
    )
    assert (greedy <= best + 1e-12).all()
    assert (greedy < best - 1e-6).any()


@pytest.mark.parametrize("words", COUNTS)
def test_the_mean_over_random_trees_agrees_with_all_trees(words):
    charts = random_charts(10, words)
    for chart, found in zip(charts, random_tree_values(charts)[:, 0, words], strict=True):
        worth, odds = values_of_every_tree(chart)
        assert_close(found, (worth * odds).sum())


def test_the_mean_over_splits_is_of_the_two_parts():
    chart = random_charts(1, 4)
    found = mean_split_values(chart)[0]
    expected = (chart[0, 1, 2] + chart[0, 2, 4] + chart[0, 1, 3] + chart[0, 3, 4]) / 2
    assert_close(found[1, 4], expected)
    assert_close(found[1, 3], chart[0, 1, 2] + chart[0, 2, 3])
    assert (found.diagonal(1) == 0).all()


def test_a_drawn_split_is_one_of_those_there_are():
    charts = random_charts(200, 4)
    found = drawn_split_values(charts, torch.Generator().manual_seed(0))[:, 0, 4]
    splits = torch.stack([charts[:, 0, k] + charts[:, k, 4] for k in (1, 2, 3)], dim=1)
    is_drawn = splits == found[:, None]
    assert (is_drawn.sum(1) == 1).all()
    assert (is_drawn.float().mean(0) - 1 / 3).abs().max() < 4 * (2 / 9 / 200) ** 0.5


def test_drawn_splits_average_to_the_mean():
    chart = random_charts(1, 5).expand(4000, -1, -1)
    drawn = drawn_split_values(chart, torch.Generator().manual_seed(0))[:, 0, 5]
    error = float(drawn.std()) / 4000**0.5
    assert abs(float(drawn.mean() - mean_split_values(chart[:1])[0, 0, 5])) < 4 * error


@pytest.mark.parametrize("trees", [greedy_trees, cky_trees, centred_cky_trees])
def test_shorter_sentences_do_not_see_what_fills_them_up(trees):
    charts = random_charts(3, 9)
    together = trees(charts, torch.tensor([9, 5, 1]))
    for chart, nodes, words in zip(charts, together, (9, 5, 1), strict=True):
        alone = trees(chart[None, : words + 1, : words + 1].clone(), torch.tensor([words]))[0]
        assert nodes.nonzero().tolist() == alone.nonzero().tolist()


@pytest.mark.parametrize("trees", [greedy_trees, cky_trees, centred_cky_trees])
def test_of_equal_splits_the_first_is_taken(trees):
    charts = torch.ones(2, 6, 6, dtype=torch.float64)
    nodes = trees(charts, lengths_of(charts))
    assert brackets(nodes[1]) == {(0, 5), (1, 5), (2, 5), (3, 5)}


@pytest.mark.parametrize("trees", [greedy_trees, cky_trees, centred_cky_trees])
def test_charts_are_left_as_they_were(trees):
    charts = random_charts(1, 6)
    before = charts.clone()
    trees(charts, lengths_of(charts))
    assert torch.equal(charts, before)


def test_a_single_word_is_worth_nothing():
    charts = random_charts(2, 1)
    lengths = lengths_of(charts)
    nodes = cky_trees(charts, lengths)
    assert nodes.nonzero().tolist() == [[0, 0, 1], [1, 0, 1]]
    assert tree_values(charts, nodes, lengths).tolist() == [0, 0]
    assert random_tree_values(charts)[:, 0, 1].tolist() == [0, 0]


def planted(spans: list[tuple[int, int]], words: int) -> torch.Tensor:
    """A chart of ones at a tree's nodes and zeros elsewhere."""
    chart = torch.zeros(words + 1, words + 1, dtype=torch.float64)
    for start, stop in [*spans, *((i, i + 1) for i in range(words))]:
        chart[start, stop] = 1
    return chart


def f1_of_planted_trees(trees, noise: float) -> float:
    """The mean share of 200 random trees' brackets that are found again under noise."""
    generator, words = torch.Generator().manual_seed(0), 10
    golds = [random_tree(words, generator) for _ in range(200)]
    charts = torch.stack([planted(gold, words) for gold in golds])
    charts += noise * torch.randn(charts.shape, generator=generator, dtype=torch.float64)
    found = trees(charts, torch.full((200,), words))
    shares = [len(brackets(n) & set(g)) / len(g) for n, g in zip(found, golds, strict=True)]
    return sum(shares) / len(shares)


@pytest.mark.parametrize("trees", [greedy_trees, cky_trees, centred_cky_trees])
def test_a_planted_tree_is_found_and_noise_hides_it(trees):
    none, some, much = (f1_of_planted_trees(trees, noise) for noise in (0, 0.4, 2))
    assert none == 1
    assert 1 > some > much + 0.1


def test_in_a_chart_whose_first_spans_are_highest_cky_branches_to_the_left():
    charts = random_charts(50, 8).clamp(max=0.99)
    charts[:, 0] = 1
    nodes = cky_trees(charts, lengths_of(charts))
    assert all(brackets(each) == {(0, j) for j in range(2, 9)} for each in nodes)


def test_centred_charts_average_to_nothing_over_spans_of_one_start():
    charts, lengths = random_charts(2, 6), torch.tensor([6, 4])
    found = centred(charts, lengths)
    for chart, words in zip(found, (6, 4), strict=True):
        for start in range(words):
            assert abs(float(chart[start, start + 1 : words + 1].mean())) < 1e-12


def test_centring_frees_cky_from_the_left():
    charts = random_charts(50, 8).clamp(max=0.99)
    charts[:, 0] = 1
    nodes = centred_cky_trees(charts, lengths_of(charts))
    freed = [brackets(each) != {(0, j) for j in range(2, 9)} for each in nodes]
    assert sum(freed) > 0.9 * len(freed)
    shifted = charts + torch.arange(9)[:, None]
    assert torch.equal(centred_cky_trees(shifted, lengths_of(charts)), nodes)


METHODS = {"greedy": greedy_trees, "cky": cky_trees, "cky_centred": centred_cky_trees}


@pytest.mark.parametrize("method", METHODS)
def test_a_chart_whose_spans_are_all_worth_alike_decides_nothing(method):
    charts = torch.full((2, 6, 6), 0.7).double()
    nodes = METHODS[method](charts, lengths_of(charts))
    assert undecided(charts, nodes, lengths_of(charts), method).tolist() == [1, 1]


@pytest.mark.parametrize("method", METHODS)
def test_a_chart_whose_spans_all_differ_decides_everything(method):
    charts = random_charts(5, 6)
    nodes = METHODS[method](charts, lengths_of(charts))
    assert undecided(charts, nodes, lengths_of(charts), method).tolist() == [0] * 5


def test_the_share_is_of_nodes_that_could_be_split_in_several_places():
    # The root goes to (0, 1) and (1, 4), whose two splits are worth alike.
    charts = torch.zeros(1, 5, 5).double()
    charts[0, 1, 4] = 1
    nodes = greedy_trees(charts, lengths_of(charts))
    assert undecided(charts, nodes, lengths_of(charts), "greedy").tolist() == [0.5]


def test_two_words_leave_no_choice():
    charts = torch.zeros(1, 3, 3).double()
    lengths = lengths_of(charts)
    assert undecided(charts, greedy_trees(charts, lengths), lengths, "greedy").isnan().all()
