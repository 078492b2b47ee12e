"""Which binary tree over a sentence is worth most, when each of its spans has a value?

A chart gives each span (start, stop) of words a value. A tree is worth the sum over its nodes but
the root, single words among them. Greedy: from the whole sentence down, a span is split where its
two parts are worth most by themselves. CKY: where the best trees over the two parts, with all that
is in them, are worth most; no tree is worth more than that one. Of equal splits the first is taken.

Charts of many sentences are worked on together, length by length, shorter sentences filled up to
the longest. Tables hold them with the sentence last, `[start, stop, sentence]`, so that whatever is
done to a span is done to a row of memory.

Source: the greedy rule is that of Murty et al. 2023 (arXiv:2305.18741). Exact trees, centred charts
and expected values are not theirs.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analyses.statistics import SIZE_FLOOR

Charts = Float[Tensor, "sentence start stop"]
Lengths = Int[Tensor, " sentence"]
Nodes = Bool[Tensor, "sentence start stop"]
Parts = Float[Tensor, "start split sentence"]
# From what the two parts of each split are worth, to the span's value and what is kept of it.
Choice = Callable[[Parts], tuple[Float[Tensor, "start sentence"], Tensor]]


def greedy_trees(charts: Charts, lengths: Lengths) -> Nodes:
    """Trees whose nodes are split where the two parts are worth most.

    Args:
        charts: Values of spans.
        lengths: Words of each sentence.

    Returns:
        The nodes of each sentence's tree, its root and its single words among them.
    """
    return _trees(charts, lengths, nested=False)


def cky_trees(charts: Charts, lengths: Lengths) -> Nodes:
    """Trees that are worth most, as `greedy_trees` gives them. Cubic in the longest length."""
    return _trees(charts, lengths, nested=True)


def centred_cky_trees(charts: Charts, lengths: Lengths) -> Nodes:
    """The same on centred charts."""
    return cky_trees(centred(charts, lengths), lengths)


def tree_values(charts: Charts, nodes: Nodes, lengths: Lengths) -> Float[Tensor, " sentence"]:
    """What each sentence's tree is worth; 0 for a single word, which is its own root."""
    roots = charts[torch.arange(len(charts), device=charts.device), 0, lengths]
    return torch.where(nodes, charts, 0).sum((1, 2)) - roots


def undecided(
    charts: Charts, nodes: Nodes, lengths: Lengths, method: str
) -> Float[Tensor, " sentence"]:
    """Share of each tree's nodes of three words or more that the chart does not decide.

    Those are the nodes all of whose splits are worth the same, up to rounding beside the sentence's
    largest value: the first is taken, whatever the chart. NaN where the tree has no such node.

    Args:
        charts: Values of spans.
        nodes: The nodes of each sentence's tree.
        lengths: Words of each sentence.
        method: The rule they were found by: greedy, cky or cky_centred.
    """
    values = centred(charts, lengths) if method == "cky_centred" else charts
    spreads = _as_charts(_by_length(values, _spread, nested=method != "greedy"), charts)
    places = torch.arange(charts.shape[1], device=charts.device)
    choices = nodes & (places - places[:, None] > 2)
    floor = SIZE_FLOOR * charts.abs().amax((1, 2), keepdim=True)
    return (choices & (spreads <= floor)).sum((1, 2)).double() / choices.sum((1, 2))


def mean_split_values(charts: Charts) -> Charts:
    """By span, the mean over its splits of what the two parts are worth; 0 for single words."""
    return _as_charts(_by_length(charts, _mean, nested=False), charts)


def drawn_split_values(charts: Charts, generator: torch.Generator) -> Charts:
    """By span, what the two parts of one split are worth, drawn among all with equal chances."""

    def draw(parts: Parts) -> tuple[Tensor, Tensor]:
        n_starts, n_splits, n_sentences = parts.shape
        split = torch.randint(n_splits, (n_starts, 1, n_sentences), generator=generator)
        return (value := parts.gather(1, split.to(parts.device))[:, 0]), value

    return _as_charts(_by_length(charts, draw, nested=False), charts)


def random_tree_values(charts: Charts) -> Charts:
    """By span, what a tree is worth on average when each node's splits are equally likely."""
    return _as_charts(_by_length(charts, _mean, nested=True), charts)


def centred(charts: Charts, lengths: Lengths) -> Charts:
    """Charts less the mean over all spans that begin with the same word.

    In a causal model spans that begin with the first word have the highest value of all, whatever
    the model does; centred, they are like all others.
    """
    places = torch.arange(charts.shape[1], device=charts.device)
    is_span = (places[:, None] < places) & (places <= lengths[:, None, None])
    counts = is_span.sum(2, keepdim=True).clamp(min=1)
    return charts - torch.where(is_span, charts, 0).sum(2, keepdim=True) / counts


def _by_length(charts: Charts, choose: Choice, *, nested: bool) -> list[Tensor]:
    """What is kept of a choice among the splits of every span, by length from 2, [start, sentence].

    Args:
        charts: Values of spans.
        choose: The choice.
        nested: Whether the value of a span's choice counts towards spans that hold it.
    """
    table = charts.permute(1, 2, 0).clone(memory_format=torch.contiguous_format)
    size, count = table.shape[1:]
    kept = []
    for length in range(2, size):
        # From span (i, i + 1) on, a longer first part lies one row on, a shorter second `size`.
        shape, next_start = (size - length, length - 1, count), (size + 1) * count
        firsts = table.as_strided(shape, (next_start, count, 1), count)
        seconds = table.as_strided(shape, (next_start, size * count, 1), (size + length) * count)
        value, keep = choose(firsts + seconds)
        kept.append(keep)
        if nested:
            table.diagonal(length).add_(value.T)
    return kept


def _trees(charts: Charts, lengths: Lengths, *, nested: bool) -> Nodes:
    """The nodes of each sentence's tree, whose spans are split at the first of the best splits."""
    splits = _by_length(charts, lambda parts: parts.max(1), nested=nested)
    size, device = len(splits) + 2, lengths.device
    nodes = torch.zeros(size, size, len(lengths), dtype=torch.bool, device=device)
    nodes[0, lengths, torch.arange(len(lengths), device=device)] = True
    for length in range(size - 1, 1, -1):
        start, sentence = nodes.diagonal(length).T.nonzero().unbind(1)
        split = start + 1 + splits[length - 2][start, sentence]
        nodes[start, split, sentence] = True
        nodes[split, start + length, sentence] = True
    return nodes.permute(2, 0, 1)


def _spread(parts: Parts) -> tuple[Tensor, Tensor]:
    """The highest value, and how far the lowest is below it."""
    return (best := parts.amax(1)), best - parts.amin(1)


def _mean(parts: Parts) -> tuple[Tensor, Tensor]:
    """The mean value, twice: it counts in wider spans, and it is kept."""
    return (value := parts.mean(1)), value


def _as_charts(by_length: list[Tensor], like: Charts) -> Charts:
    """Values [start, sentence] by length from 2 as charts, 0 for single words."""
    charts = torch.zeros_like(like)
    for length, values in enumerate(by_length, start=2):
        charts.diagonal(length, 1, 2).copy_(values.T)
    return charts
