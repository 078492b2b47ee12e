"""How large are a network's members: frequencies of the embedding, neurons, inputs, heads?

Sizes that do not change when weights are rescaled across a ReLU: products of what a member reads
with what it writes.
"""

from collections.abc import Callable

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from analyses import fourier
from hooks import Series


def frequency_sizes(series: Series) -> Float[Tensor, "step frequency"]:
    """Norm of each frequency's components of W_E, frequencies 1, 2, ..."""
    order = fourier.orders_of(series.constants)[0]
    return fourier.frequency_power(series.weights("W_E").double()[:, order])[:, 1:].sqrt()


def effective_weights(series: Series) -> Float[Tensor, "step operand input d_mlp"]:
    """w_in |w_out|: what a neuron reads from an input, times the norm of what it writes."""
    writes = series.weights("neuron_out").double().norm(dim=-1)
    return einsum(series.weights("neuron_in").double(), writes, "t o i h, t h -> t o i h")


def head_sizes(series: Series) -> Float[Tensor, "step head"]:
    """Norm of each head's OV matrix W_V W_O, heads of all layers in order.

    Computed from d_head x d_head products: |V O|^2 = tr(V'V O O').
    """
    layers = []
    for layer in range(series.config.n_layers):
        values = series.weights(f"blocks.{layer}.attn.W_V").double()
        output = series.weights(f"blocks.{layer}.attn.W_O").double()
        read = einsum(values, values, "t n d i, t n d j -> t n i j")
        write = einsum(output, output, "t n i d, t n j d -> t n i j")
        layers.append((read * write).sum((-1, -2)).sqrt())
    return torch.cat(layers, dim=1)


SIZES: dict[str, Callable[[Series], Tensor]] = {
    "frequency": frequency_sizes,
    "neuron": lambda series: effective_weights(series).square().sum((1, 2)).sqrt(),
    "input": lambda series: effective_weights(series).square().sum((1, 3)).sqrt(),
    "head": head_sizes,
}


def member_sizes(series: Series, by: str | None) -> tuple[str, Float[Tensor, "step member"]]:
    """The size of each member of a kind at each step.

    Args:
        series: Any run.
        by: frequency, neuron, input or head; None for the first that the model answers to.

    Returns:
        The kind, and the sizes.

    Raises:
        ValueError: No such kind, or the model lacks the weights it needs.
    """
    if by is not None and by not in SIZES:
        raise ValueError(f"by: no kind '{by}'; there are {', '.join(SIZES)}")
    candidates = tuple(SIZES) if by is None else (by,)
    for kind in candidates:
        if kind == "frequency" and "p" not in series.constants:
            continue
        try:
            return kind, SIZES[kind](series)
        except ValueError:
            if by is not None:
                raise
    raise ValueError(f"PruningTrace: this model has no {' or '.join(candidates)} to trace")
