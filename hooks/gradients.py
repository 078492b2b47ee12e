"""Gradients of logits with respect to activations.

An activation is made a leaf for the length of one pass, so that the gradient stops there: no
parameter's `.grad` is touched, and edits, evaluation mode and hooks are the snapshot's own.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.edit import check_fired, check_names
from hooks.models import HookedModel, parameters_of
from hooks.snapshot import TOKENS_PER_BATCH, Snapshot


def logit_gradients(
    snapshot: Snapshot,
    rows: Int[Tensor, " n"],
    classes: Int[Tensor, " n"],
    hook_name: str = "hook_embed",
) -> Float[Tensor, "n pos d_model"]:
    """Gradient of one logit of one example with respect to an activation, for each pair given.

    Args:
        snapshot: Any model; the logit is that at an example's last scored position.
        rows: Which example, by its place among the snapshot's; one may come several times.
        classes: Which class' logit of it.
        hook_name: A hook point `[batch, pos, d_model]`; by default the embedded tokens, before
            positions are added.

    Returns:
        One gradient a pair, in the model's dtype, on the CPU.

    Raises:
        ValueError: A hook point does not exist or does not fire, a row or class is out of range,
            or an example is nowhere scored.
    """
    check_names([hook_name], snapshot.live.model.hook_dict, "hook point")
    inputs, positions = snapshot.examples.model_inputs, _last_scored(snapshot)
    _check_range(rows, len(inputs), "rows")
    _check_range(classes, int(snapshot.live.model.cfg.d_vocab_out), "classes")
    size = max(1, TOKENS_PER_BATCH // inputs.shape[1])
    pairs = zip(rows.split(size), classes.split(size), strict=True)
    with snapshot.running() as model, torch.enable_grad():
        parts = []
        for batch_rows, chosen in pairs:
            with snapshot.seeing(batch_rows):
                places = (positions[batch_rows], chosen)
                parts.append(_gradients(model, inputs[batch_rows], places, hook_name))
    return torch.cat(parts)


def _gradients(
    model: HookedModel, batch: Tensor, places: tuple[Tensor, Tensor], hook_name: str
) -> Tensor:
    leaves: list[Tensor] = []

    def cut(activation: Tensor, hook: Any) -> Tensor:
        leaves.append(activation.detach().requires_grad_())
        return leaves[-1]

    with model.hooks(fwd_hooks=[(hook_name, cut)]):
        logits = model(batch.to(next(iter(parameters_of(model).values())).device))
    check_fired([hook_name], [hook_name] if leaves else [])
    positions, classes = (place.to(logits.device) for place in places)
    chosen = logits[torch.arange(len(batch), device=logits.device), positions, classes]
    # Examples do not meet in a model, so that the sum's gradient holds each one's own.
    return torch.autograd.grad(chosen.sum(), leaves[-1])[0].cpu()


def _last_scored(snapshot: Snapshot) -> Int[Tensor, " batch"]:
    scored = snapshot.examples.scored
    if not bool(scored.any(1).all()):
        raise ValueError("scored: an example is scored nowhere, so that none of its logits counts")
    return scored.shape[1] - 1 - scored.flip(1).int().argmax(1)


def _check_range(indices: Tensor, count: int, name: str) -> None:
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < count:
        raise ValueError(f"{name}: indices must be at least 0 and below {count}")
