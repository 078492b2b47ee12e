"""Which trees does a model project onto sentences, and what are they worth?

The SCI chart of a sentence says how similar each of its spans is in context and cut off from it
(`hooks.spans`). Trees are read off it by three methods (`analyses.trees.cky`). Of each method's
tree, its value and its number of gold brackets are kept; of one method's tree also its brackets,
and the chance level that its value is compared with.

Source: Murty et al. 2023a (arXiv:2211.01288) for span-contextual invariance and tree projection;
2023b (arXiv:2305.18741) for language models.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.trees.brackets import spans_of
from analyses.trees.cky import (
    Charts,
    Lengths,
    Nodes,
    centred_cky_trees,
    cky_trees,
    drawn_split_values,
    greedy_trees,
    mean_split_values,
    random_tree_values,
    tree_values,
    undecided,
)
from analyses.trees.sentences import first_word, sentences_only
from hooks import Examples, Snapshot
from hooks.spans import Compare, span_batches, span_charts

Method = Literal["greedy", "cky", "cky_centred"]
Similarity = Literal["cosine", "euclidean"]
Against = Literal["mean_split", "random_split", "random_tree"]
Vectors = Float[Tensor, "row span d_model"]

METHODS: tuple[str, ...] = get_args(Method)


@dataclass(frozen=True)
class ProjectionOptions:
    """How trees are projected and scored.

    Attributes:
        thresholds: Layers from which attention is cut.
        method: Whose trees are scored and kept.
        similarity: How the two sums of a span are compared.
        against: The chance level that a tree's value is compared with (`chance_values`).
        seed: Of random splits.
    """

    thresholds: tuple[int, ...] = (0,)
    method: str = "greedy"
    similarity: str = "cosine"
    against: str = "mean_split"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("method", self.method, Method),
            ("similarity", self.similarity, Similarity),
            ("against", self.against, Against),
        ):
            if value not in get_args(known):
                raise ValueError(f"{name} '{value}': take one of {', '.join(get_args(known))}")


def projections(snapshot: Snapshot, options: ProjectionOptions) -> dict[str, Tensor]:
    """The trees projected from all sentences of a snapshot.

    Memory is that of the answer and of one batch of charts, however many sentences there are.

    Args:
        snapshot: A transformer, and examples with gold trees.
        options: How trees are projected and scored.

    Returns:
        `values`, `matches` and `undecided` [method, threshold, sentence], `chance`
        [threshold, sentence], and `spans` [threshold, span, 2] of the trees by `options.method`:
        sentence after sentence, for each sentence one span fewer than it has words.
    """
    generator = torch.Generator().manual_seed(options.seed)
    orders, parts = [], []
    for rows, charts, lengths, gold in _batches(snapshot, options.thresholds, options.similarity):
        by_threshold = [of_charts(chart, lengths, gold, options, generator) for chart in charts]
        parts.append(
            {name: torch.stack([trees[name] for trees in by_threshold]) for name in by_threshold[0]}
        )
        orders.append((rows, lengths))
    order, lengths = map(torch.cat, zip(*orders, strict=True))
    # Batches hold sentences of like lengths: back to the order of the examples.
    sentences, owners = order.argsort(), order.repeat_interleave(lengths - 1)
    return {
        **{
            name: torch.cat([part[name] for part in parts], 2).transpose(0, 1)[..., sentences]
            for name in ("values", "matches", "undecided")
        },
        "chance": torch.cat([part["chance"] for part in parts], 1)[:, sentences],
        "spans": torch.cat([part["spans"] for part in parts], 1)[:, owners.argsort(stable=True)],
    }


def sci_charts(
    snapshot: Snapshot, *, threshold: int = 0, similarity: Similarity = "cosine"
) -> list[Float[np.ndarray, "start stop"]]:
    """The chart of each sentence: how similar its spans are in context and cut off from it.

    Returns:
        Cell (start, stop) is of words start to stop - 1; NaN where that is no span.
    """
    charts: dict[int, np.ndarray] = {}
    for rows, batch, lengths, _ in _batches(snapshot, (threshold,), similarity):
        for row, chart, length in zip(rows.tolist(), batch[0], lengths.tolist(), strict=True):
            is_span = torch.ones(length + 1, length + 1).triu(1).bool()
            charts[row] = chart[: length + 1, : length + 1].where(is_span, torch.nan).numpy()
    return [charts[row] for row in sorted(charts)]


def of_charts(
    charts: Charts,
    lengths: Lengths,
    gold: Nodes,
    options: ProjectionOptions,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The trees read off charts, and what they are worth.

    Args:
        charts: Values of spans.
        lengths: Words of each sentence.
        gold: The gold trees' brackets.
        options: Whose tree is kept, and the chance level of its value.
        generator: For random splits.
    """
    trees = {method: TREES[method](charts, lengths) for method in METHODS}
    chosen = trees[options.method]
    return {
        "values": torch.stack([tree_values(charts, nodes, lengths) for nodes in trees.values()]),
        "matches": torch.stack([(nodes & gold).sum((1, 2)) for nodes in trees.values()]),
        "undecided": torch.stack(
            [undecided(charts, nodes, lengths, method) for method, nodes in trees.items()]
        ),
        "chance": chance_values(charts, lengths, chosen, options.against, generator),
        "spans": brackets(chosen).short(),
    }


def chance_values(
    charts: Charts, lengths: Lengths, nodes: Nodes, against: str, generator: torch.Generator
) -> Float[Tensor, " sentence"]:
    """The chance level that a tree's value is compared with.

    Args:
        charts: Values of spans.
        lengths: Words of each sentence.
        nodes: The nodes of each sentence's tree.
        against: mean_split: at each node of the tree, the mean over its splits of what the two
            parts are worth; random_split: of one split drawn at random, as the released code has
            it; random_tree: the mean over trees whose nodes are split at random, as the paper's
            text has it.
        generator: For random splits.
    """
    if against == "random_tree":
        return random_tree_values(charts)[torch.arange(len(charts)), 0, lengths]
    splits = (
        drawn_split_values(charts, generator)
        if against == "random_split"
        else mean_split_values(charts)
    )
    return torch.where(nodes, splits, 0).sum((1, 2))


def brackets(nodes: Nodes) -> Int[Tensor, "span 2"]:
    """Spans of several words, sentence after sentence, each before those inside it."""
    # Spans of two words or more lie above the second diagonal; flipped, the longest come first.
    _, start, before_last = nodes.triu(2).flip(2).nonzero().unbind(1)
    return torch.stack([start, nodes.shape[1] - 1 - before_last], dim=1)


def span_nodes(examples: Examples, first: int, size: int) -> Nodes:
    """The gold trees' brackets as charts of truths, single words left out."""
    nodes = torch.zeros(len(examples), size, size, dtype=torch.bool)
    for row, tree in enumerate(examples.trees or ()):
        spans = torch.tensor(spans_of(tree), dtype=torch.long).reshape(-1, 2) - first
        nodes[row, spans[:, 0], spans[:, 1]] = True
    return nodes


def cosine(one: Vectors, other: Vectors) -> Float[Tensor, "row span"]:
    """Cosine of the angle between vectors; 0 where one of the two is zero."""
    norms = one.norm(dim=-1) * other.norm(dim=-1)
    return torch.where(norms > 0, (one * other).sum(-1) / norms, 0.0)


def nearness(one: Vectors, other: Vectors) -> Float[Tensor, "row span"]:
    """Minus the Euclidean distance of vectors."""
    return -(one - other).norm(dim=-1)


# Each with its value for a vector and itself.
SIMILARITIES: Mapping[str, tuple[Compare, float]] = {
    "cosine": (cosine, 1.0),
    "euclidean": (nearness, 0.0),
}
TREES: Mapping[str, Callable[[Charts, Lengths], Nodes]] = {
    "greedy": greedy_trees,
    "cky": cky_trees,
    "cky_centred": centred_cky_trees,
}


def _batches(
    snapshot: Snapshot, thresholds: Sequence[int], similarity: str
) -> Iterator[tuple[Int[Tensor, " sentence"], Tensor, Lengths, Nodes]]:
    """By batch: rows of the examples, charts by threshold, numbers of words, gold brackets."""
    first = first_word(snapshot.examples)
    snapshot = snapshot.on(sentences_only(snapshot.examples))
    compare, uncut = SIMILARITIES[similarity]
    for rows in span_batches(snapshot):
        batch = snapshot.on(snapshot.examples.at(rows))
        charts = span_charts(batch, compare, first=first, thresholds=thresholds, uncut=uncut).cpu()
        lengths = batch.examples.visible.sum(1).cpu() - first
        yield rows, charts, lengths, span_nodes(batch.examples, first, charts.shape[2])
