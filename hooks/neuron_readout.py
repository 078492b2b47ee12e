"""Answers with some of the last layer's neurons silenced, without running the layers before again.

Everything up to the last neurons is cached once; each choice of neurons then costs one product
with W_out and the unembedding. Exact; tested against the same model with an edit.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hooks.snapshot import Snapshot

Readout = Callable[[Bool[Tensor, " d_mlp"]], Float[Tensor, "answer d_vocab_out"]]


def neuron_readout(snapshot: Snapshot) -> Readout:
    """A function from the neurons of the last layer that are kept to the logits of all answers.

    Args:
        snapshot: A HookedTransformer with MLPs, or a network with one hidden layer.

    Returns:
        A function of a mask, True where a neuron is kept; answers are in the order of
        `examples.scored`, row by row.

    Raises:
        ValueError: The last block adds its neurons to no residual stream of its own, or an edit
            changes what comes after them.
    """
    n_layers, scored = snapshot.config.n_layers, snapshot.examples.scored
    last = f"blocks.{n_layers - 1}"
    _check(snapshot, last)
    there, beside = snapshot.live.model.hook_dict, [f"{last}.hook_resid_mid"]
    if beside[0] not in there:  # a parallel block adds its parts to the stream before it
        beside = [f"{last}.hook_resid_pre", f"{last}.hook_attn_out"]
    if beside[0] not in there:
        return _without_residual(snapshot)
    cached = snapshot.cache([*beside, f"{last}.mlp.hook_post"])
    *parts, neurons = (activation[scored] for activation in cached.values())
    residual = sum(parts)
    W_out, b_out = (snapshot.weights(f"{last}.mlp.{name}") for name in ("W_out", "b_out"))

    def logits(is_kept: Bool[Tensor, " d_mlp"]) -> Float[Tensor, "answer d_vocab_out"]:
        written = (neurons * is_kept.to(neurons)) @ W_out + b_out
        stream = (residual + written)[:, None].to(snapshot.live.device)
        with snapshot.running() as model, torch.no_grad():
            return model(stream, start_at_layer=n_layers)[:, 0].cpu()

    return logits


def _check(snapshot: Snapshot, last: str) -> None:
    """Refuses models and edits for which the shortcut would silently be wrong."""
    if snapshot.config.kind == "post_norm":
        raise ValueError(
            "a model of kind post_norm does not read logits off what its last neurons add to the "
            "stream before them: take a model of kind token"
        )
    after = ("ln_final.", "unembed.", "hook_logits", f"{last}.hook_mlp_out", f"{last}.hook_resid_p")
    for edit in snapshot.edits:
        for name in edit.hook_names:
            if name.startswith(after) and not name.endswith("hook_resid_pre"):
                raise ValueError(
                    f"an edit at {name} comes after the last neurons, where this shortcut does not "
                    "run the model: leave it out"
                )


def _without_residual(snapshot: Snapshot) -> Readout:
    """The same for a network with one hidden layer, whose neurons alone make the logits."""
    name = "blocks.0.mlp.hook_post"
    neurons = snapshot.cache([name])[name][snapshot.examples.scored][:, None]

    def logits(is_kept: Bool[Tensor, " d_mlp"]) -> Float[Tensor, "answer d_vocab_out"]:
        post = (neurons * is_kept.to(neurons)).to(snapshot.live.device)
        with snapshot.running() as model, torch.no_grad():
            return cast(Any, model).writes(post)[:, 0].cpu()

    return logits
