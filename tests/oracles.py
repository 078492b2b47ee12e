"""Slow, obvious re-computations."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from hooks import build
from hooks.models import parameters_of
from interp.experiment import Experiment
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
