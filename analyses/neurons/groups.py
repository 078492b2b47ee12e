"""The logits as a sum over groups of neurons, one group a frequency.

Classes and residues stand in an order in which the operation is addition. What a group adds is
compared with cos w_f(a + b - c), the wave that peaks at the answer.

Source: "Do Machine Learning Models Memorize or Generalize?" (PAIR 2023), which masks the hidden
layer by group and draws the logits of one pair.
"""

from dataclasses import replace

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from analyses.fourier.basis import orders_of
from hooks import Snapshot


def group_logits(
    post: Float[Tensor, "batch neuron"],
    writes: Float[Tensor, "residue neuron"],
    frequency: Int[Tensor, " neuron"],
    groups: tuple[int, ...],
) -> Float[Tensor, "group batch residue"]:
    """Each group's part of the logits, centred over classes.

    Args:
        post: Activations of neurons.
        writes: What each neuron adds to each class' logit.
        frequency: Each neuron's group.
        groups: Frequencies of the groups.
    """
    if not groups:
        return post.new_zeros(0, len(post), len(writes))
    parts = torch.stack([(post * (frequency == group)) @ writes.T for group in groups])
    return parts - parts.mean(-1, keepdim=True)


def explained(
    snapshot: Snapshot,
    writes: Float[Tensor, "residue neuron"],
    frequency: Int[Tensor, " neuron"],
    groups: tuple[int, ...],
) -> dict[str, Float[np.ndarray, " group"]]:
    """How much of each group's part its wave explains, and how large the part is.

    Returns:
        `wave_fve`, NaN for a group that adds nothing, and `logit_share`, NaN where no group adds
        anything: the fields of `NeuronWaves`.
    """
    examples, orders = snapshot.examples, orders_of(snapshot.examples.constants)
    p, n = examples.constants["p"], len(writes)
    places = torch.full((2, p), -1)
    for row, order in zip(places, orders, strict=False):
        row[order] = torch.arange(n)
    a, b = places[0, examples.label("a")], places[1, examples.label("b")]
    known = (a >= 0) & (b >= 0)  # of products, 0 has no logarithm
    parts = group_logits(_post(snapshot)[known], writes, frequency, groups)
    angles = (a + b)[known, None] - torch.arange(n)
    waves = (2 * torch.pi / n * torch.tensor(groups)[:, None, None] * angles.double()).cos()
    inner = einsum(parts, waves, "g batch c, g batch c -> g")
    norms = parts.square().sum((1, 2))
    return {
        "wave_fve": (inner.square() / waves.square().sum((1, 2)) / norms).numpy(),
        "logit_share": (norms / norms.sum()).numpy(),
    }


def pair_logits(
    snapshot: Snapshot,
    pair: tuple[int, int],
    writes: Float[Tensor, "residue neuron"],
    frequency: Int[Tensor, " neuron"],
    groups: tuple[int, ...],
) -> Float[Tensor, "group residue"]:
    """The groups' parts of the logits of one pair, which need not be among the examples."""
    orders = orders_of(snapshot.examples.constants)
    first = snapshot.examples.head(1)
    assert first.tokens is not None  # by its needs
    tokens = first.tokens.clone()
    tokens[0, :2] = torch.stack([order[place] for order, place in zip(orders, pair, strict=False)])
    post = _post(snapshot.on(replace(first, tokens=tokens)))
    return group_logits(post, writes, frequency, groups)[:, 0]


def _post(snapshot: Snapshot) -> Float[Tensor, "batch neuron"]:
    name = f"blocks.{snapshot.config.n_layers - 1}.mlp.hook_post"
    return snapshot.cache([name])[name][:, -1].double().cpu()
