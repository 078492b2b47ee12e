"""How much memory a stack takes, by estimate, and how many models a device holds.

The numbers of a member are known exactly, and its activations from one forward pass that computes
nothing (torch's meta device); what backward passes and libraries take beside them is allowed for.
"""

import math
from typing import Any

import torch
from torch import Tensor

from hooks import build
from hooks.fast.last_position import training_logits
from hooks.models import move
from interp.config.experiment import Experiment
from interp.training.loop import training_of
from interp.training.optimizers import MOMENTS
from interp.training.state import is_trained

TEMPORARIES = 3  # matrices of all parameters that an update holds for a moment
BACKWARD = 1.5  # what a backward pass holds at its highest, in what the forward pass kept
SHARE = 0.8  # of a device's memory, which its context, libraries and gaps between blocks share
META = torch.device("meta")


def stack_bytes(experiment: Experiment, members: int) -> int:
    """Bytes that a stack of so many models takes at its highest, by estimate.

    Parameters and moments count three times: one copy is being written as a checkpoint while the
    next is made. Data count as if every member had its own.

    Raises:
        ValueError: The experiment has no training.
    """
    training, task = training_of(experiment), experiment.task
    model: Any = build(experiment.model, task.sizes, seed=0, dtype=training.dtype)
    sizes = {name: parameter.nbytes for name, parameter in model.named_parameters()}
    trained = sum(size for name, size in sizes.items() if is_trained(name, training))
    frozen = sum(sizes.values()) - trained
    kept = 3 * (1 + len(MOMENTS[training.optimizer])) + 1 + TEMPORARIES  # and the gradient
    rows = training.batch_size or task.train_count or 1
    held = rows * training.chunk * 2 if task.train_count is None else task.train_count
    a_position = 8 * (task.sizes.d_in or 1) + 9  # with target and whether it is scored
    data = held * task.sizes.n_ctx * a_position
    activations = BACKWARD * _activations(experiment, model, rows)
    return members * math.ceil(kept * trained + frozen + data + activations)


def members_that_fit(experiment: Experiment, memory: int) -> int:
    """How many models a stack on a device of so many bytes may have: at least one."""
    return max(1, int(SHARE * memory) // stack_bytes(experiment, 1))


def _activations(experiment: Experiment, model: Any, rows: int) -> int:
    """Bytes that the forward pass of a member keeps for its backward pass, and its loss."""
    sizes, training = experiment.task.sizes, training_of(experiment)
    move(model, META)
    if sizes.d_vocab is None:
        shape = (rows, sizes.n_ctx, sizes.d_in or 1)
        inputs = torch.zeros(shape, dtype=getattr(torch, training.dtype), device=META)
    else:
        inputs = torch.zeros(rows, sizes.n_ctx, dtype=torch.long, device=META)
    own = {id(parameter) for _, parameter in model.named_parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if id(tensor) not in own:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = training_logits(model, experiment.model, experiment.task.positions)(inputs)
    loss = 3 * logits.numel() * getattr(torch, training.loss_dtype).itemsize
    return loss + sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
