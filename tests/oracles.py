"""Slow, obvious re-computations."""

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
