"""Gradients of logits with respect to activations.

An activation is made a leaf for the length of one pass, so that the gradient stops there: no
parameter's `.grad` is touched, and edits, evaluation mode and hooks are the snapshot's own.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.edit import check_fired, check_names
from hooks.snapshot import TOKENS_PER_BATCH, Snapshot


def logit_gradients(
    snapshot: Snapshot,
    rows: Int[Tensor, " n"],
    classes: Int[Tensor, " n"],
    hook_name: str = "hook_embed",
) -> Float[Tensor, "n pos d_model"]:
    """For each pair of an example and a class: the gradient of that logit by an activation.

    Args:
        snapshot: Any model; logits are those at an example's last scored position.
        rows: The example of each pair, by its place among the snapshot's; it may come repeatedly.
        classes: The class of each pair.
        hook_name: A hook point `[batch, pos, d_model]`; by default the embedded tokens, before
            positions are added.

    Returns:
        One gradient for each pair, in the model's dtype, on the CPU.

    Raises:
        ValueError: A hook point does not exist or does not fire, a row or class is out of range,
            or an example is nowhere scored.
    """
    check_names([hook_name], snapshot.live.model.hook_dict, "hook point")
    inputs, positions = snapshot.examples.model_inputs, snapshot.examples.last_scored
    if not bool(snapshot.examples.scored.any(1).all()):
        raise ValueError("scored: an example is scored nowhere, so that none of its logits counts")
    _check_range(rows, len(inputs), "rows")
    _check_range(classes, int(snapshot.live.model.cfg.d_vocab_out), "classes")
    size = max(1, TOKENS_PER_BATCH // inputs.shape[1])
    batches = zip(rows.split(size), positions[rows].split(size), classes.split(size), strict=True)
    with snapshot.running(), torch.enable_grad():
        return torch.cat([_gradients(snapshot, *batch, hook_name) for batch in batches])


def _gradients(
    snapshot: Snapshot, rows: Tensor, positions: Tensor, classes: Tensor, hook_name: str
) -> Tensor:
    """The gradients of one batch of pairs, whose logits stand at the given positions."""
    model, device = snapshot.live.model, snapshot.live.device
    leaves: list[Tensor] = []

    def cut(activation: Tensor, hook: Any) -> Tensor:
        leaves.append(activation.detach().requires_grad_())
        return leaves[-1]

    with snapshot.seeing(rows), model.hooks(fwd_hooks=[(hook_name, cut)]):
        logits = model(snapshot.examples.model_inputs[rows].to(device))
    check_fired([hook_name], [hook_name] if leaves else [])
    places = (torch.arange(len(rows)), positions, classes)
    chosen = logits[tuple(place.to(device) for place in places)]
    # Examples do not meet in a model, so that the gradient of the sum has one row for each example.
    return torch.autograd.grad(chosen.sum(), leaves[-1])[0].cpu()


def _check_range(indices: Tensor, count: int, name: str) -> None:
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < count:
        raise ValueError(f"{name}: indices must be at least 0 and below {count}")
