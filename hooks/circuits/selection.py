"""Orders in which edges are kept in a circuit: the most important first.

- top: by the size of their scores.
- greedy: from the logits up: an edge may be kept once the part that reads it is in the circuit.
- acdc: readers from the last one back; an edge of a reader is dropped if the prediction moves by
  less than a threshold for it. Edges that stay come first.

Source: EAP-IG's released code (hannamw/EAP-IG) for top and greedy; Conmy et al. 2023
(arXiv:2304.14997) for ACDC. Its outcome depends on the order in which readers are visited: here
that of `Graph.readers`, backwards, and for each reader its writers from the last one back.
"""

import heapq

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooks.circuits.graph import LOGITS, EdgeRuns, Graph


def top_order(scores: Float[Tensor, " edge"]) -> Int[Tensor, " edge"]:
    """Edges by the size of their scores; of equal ones the first comes first."""
    return scores.abs().argsort(descending=True, stable=True)


def greedy_order(graph: Graph, scores: Float[Tensor, " edge"]) -> Int[Tensor, " edge"]:
    """Edges such that the reader of each is kept before it: its output reaches the logits.

    Of all edges that may be kept, the one with the largest score is next.
    """
    sizes = scores.abs().tolist()
    by_part: dict[str, list[int]] = {}
    for place, edge in enumerate(graph.edges):
        reader = edge.split("->")[1]
        by_part.setdefault(reader.rsplit(".", 1)[0] if reader[-1] in "qkv" else reader, []).append(
            place
        )
    order: list[int] = []
    candidates = [(-sizes[place], place) for place in by_part.pop(LOGITS)]
    heapq.heapify(candidates)
    while candidates:
        _, place = heapq.heappop(candidates)
        order.append(place)
        for reached in by_part.pop(graph.edges[place].split("->")[0], ()):
            heapq.heappush(candidates, (-sizes[reached], reached))
    return torch.tensor(order)


def acdc(runs: EdgeRuns, threshold: float) -> Bool[Tensor, " edge"]:
    """The edges that stay if each is dropped that the prediction does not need: one pass an edge.

    Args:
        runs: Runs on pairs; their metric does not matter.
        threshold: Largest rise of KL(clean run || circuit), in nats, at which an edge is dropped.

    Raises:
        ValueError: The threshold is not positive.
    """
    if not threshold > 0:
        raise ValueError(f"threshold = {threshold}: give the nats that an edge must be worth")
    kept = torch.ones(len(runs.graph.edges), dtype=torch.bool)
    divergence = 0.0
    for place in reversed(range(len(kept))):
        kept[place] = False
        (of_circuit,) = runs.with_corrupted(~kept[None], "kl")
        without = -float(of_circuit.mean())
        if without - divergence < threshold:
            divergence = without
        else:
            kept[place] = True
    return kept
