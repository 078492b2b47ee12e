"""Slow, obvious re-computations."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.spatial import distance
from torch import Tensor

from hooks import build
from hooks.models import parameters_of
from interp.config.experiment import Experiment
from interp.randomness import generator


def plain_training(experiment: Experiment, updates: int) -> dict[str, Tensor]:
    """Weights after full-batch updates of a HookedTransformer as anyone would write them.

    The whole model at every position, float64 cross-entropy at the last, default AdamW.
    """
    training, task = experiment.training, experiment.task
    assert training is not None
    model = build(experiment.model, task.sizes, seed=experiment.seeds.model, dtype=training.dtype)
    data = task.data(None, generator(experiment.seeds.data, 0))
    trained = {name: value for name, value in model.named_parameters() if ".b_" not in name}
    optimizer = torch.optim.AdamW(
        trained.values(), training.lr, training.betas, training.eps, training.weight_decay
    )
    for step in range(updates):
        optimizer.param_groups[0]["lr"] = training.lr * min(step / training.warmup_steps, 1)
        logits = model(data["tokens"])[:, -1].double()
        loss = torch.nn.functional.cross_entropy(logits, data["targets"][:, 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return parameters_of(model)


def progress_measures_logits(state: Mapping[str, Tensor], tokens: Tensor, n_layers: int) -> Tensor:
    """Logits of one row of tokens under the progress-measures code's weights, a vector at a time.

    There every matrix but W_pos and W_U stands on the left of a column vector, a head's score is
    q . k / sqrt(d_head) over positions up to its own, and heads are laid end to end for W_O.
    """
    stream = [
        state["embed.W_E"][:, token] + state["pos_embed.W_pos"][position]
        for position, token in enumerate(tokens.tolist())
    ]
    for block in range(n_layers):
        weights = {
            name.removeprefix(f"blocks.{block}."): value
            for name, value in state.items()
            if name.startswith(f"blocks.{block}.")
        }
        attended = [_attended(weights, stream[: place + 1]) for place in range(len(stream))]
        stream = [x + out for x, out in zip(stream, attended, strict=True)]
        stream = [x + _neurons(weights, x) for x in stream]
    return torch.stack([state["unembed.W_U"].T @ x for x in stream])


def _attended(weights: Mapping[str, Tensor], seen: list[Tensor]) -> Tensor:
    """What the last of some positions receives from them all."""
    laid_out = []
    for W_Q, W_K, W_V in zip(*(weights[f"attn.W_{each}"] for each in "QKV"), strict=True):
        query = W_Q @ seen[-1]
        scores = [float(query @ (W_K @ x)) / math.sqrt(len(query)) for x in seen]
        powers = [math.exp(score) for score in scores]
        values = [power / sum(powers) * (W_V @ x) for power, x in zip(powers, seen, strict=True)]
        laid_out += torch.stack(values).sum(0).tolist()
    return weights["attn.W_O"] @ torch.tensor(laid_out, dtype=seen[0].dtype)


def _neurons(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    pre = weights["mlp.W_in"] @ x + weights["mlp.b_in"]
    return weights["mlp.W_out"] @ torch.where(pre > 0, pre, 0) + weights["mlp.b_out"]


Spans = dict[tuple[int, int], float]


def masked_chart(
    model: Any, tokens: Tensor, first: int, threshold: int, *, cosine: bool = True
) -> Spans:
    """A sentence's chart by n (n + 1) / 2 masked passes over all of it, 256 at a time.

    Vectors are summed over the span's words after the last block, and compared one by one.

    Args:
        model: A HookedTransformer, or one of its kind.
        tokens: The sentence and what precedes it.
        first: The position of its first word.
        threshold: The first layer in which words outside the span are masked.
        cosine: Compare by the cosine; otherwise by minus the Euclidean distance.
    """
    count = len(tokens) - first
    spans = [(i, j) for i in range(count) for j in range(i + 1, count + 1)]
    visible = torch.tensor(
        [[at < first or i <= at - first < j for at in range(len(tokens))] for i, j in spans]
    )
    in_context = _last_states(model, tokens[None], {})[0]
    chart = {}
    for begin in range(0, len(spans), 256):
        seen = visible[begin : begin + 256]
        names = [f"blocks.{i}.attn.hook_attn_scores" for i in range(threshold, model.cfg.n_layers)]
        hooks = dict.fromkeys(names, partial(_masked, seen))
        states = _last_states(model, tokens.repeat(len(seen), 1), hooks)
        for (i, j), cut in zip(spans[begin : begin + 256], states, strict=True):
            a, b = (each[first + i : first + j].sum(0) for each in (in_context, cut))
            chart[i, j] = 1 - distance.cosine(a, b) if cosine else -distance.euclidean(a, b)
    return chart


def _last_states(model: Any, tokens: Tensor, hooks: Mapping[str, Any]) -> np.ndarray:
    with torch.no_grad(), model.hooks(fwd_hooks=list(hooks.items())):
        return model(tokens.contiguous(), stop_at_layer=model.cfg.n_layers).numpy()


def _masked(visible: Tensor, scores: Tensor, hook: Any) -> Tensor:
    return scores.masked_fill(~visible[:, None, None], -torch.inf)


def greedy_tree(chart: Spans, start: int, stop: int) -> list[tuple[int, int]]:
    """Brackets of the tree that splits each span where its two parts are worth most."""
    if stop - start < 2:
        return []
    best = max(range(start + 1, stop), key=lambda k: chart[start, k] + chart[k, stop])
    return [(start, stop), *greedy_tree(chart, start, best), *greedy_tree(chart, best, stop)]


def cky_tree(chart: Spans, count: int) -> tuple[float, list[tuple[int, int]]]:
    """The highest value of a tree over so many words, and the brackets of the first such tree."""
    best: dict[tuple[int, int], float] = {(i, i + 1): chart[i, i + 1] for i in range(count)}
    split: dict[tuple[int, int], int] = {}
    for length in range(2, count + 1):
        for i in range(count - length + 1):
            j, most = i + length, -math.inf
            for k in range(i + 1, j):
                value = best[i, k] + best[k, j]
                if value > most:
                    most, split[i, j] = value, k
            best[i, j] = most + (chart[i, j] if length < count else 0)
    brackets, todo = [], [(0, count)]
    while todo:
        i, j = todo.pop()
        if j - i > 1:
            brackets.append((i, j))
            todo += [(split[i, j], j), (i, split[i, j])]
    return best[0, count] if count > 1 else 0.0, brackets


def every_tree(start: int, stop: int) -> list[tuple[tuple[int, int], ...]]:
    """The nodes, single words among them, of every binary tree over a stretch of words."""
    if stop - start == 1:
        return [((start, stop),)]
    return [
        ((start, stop), *first, *second)
        for k in range(start + 1, stop)
        for first in every_tree(start, k)
        for second in every_tree(k, stop)
    ]


def tree_odds(nodes: Sequence[tuple[int, int]]) -> float:
    """How likely a tree is where each node's splits are alike likely."""
    return math.prod(1 / (stop - start - 1) for start, stop in nodes if stop - start > 1)
