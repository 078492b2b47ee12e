"""How large are a network's members: frequencies of the embedding, neurons, inputs, heads, weights?

Sizes of neurons, inputs and heads do not change when weights are rescaled across a ReLU: they are
products of what a member reads with what it writes. Single weights are taken from the matrix
`effective`, to which the same applies, or as they are from any parameter or view.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from analyses.fourier import frequency_power, orders_of, without_rounding
from hooks import Facts, InputFacts, ModularFacts, Series

EFFECTIVE = "effective"
BY_INPUT = (EFFECTIVE, "neuron_in", "W_E")  # matrices with a row an input


@dataclass(frozen=True, eq=False)
class Members:
    """What a trace follows.

    Attributes:
        by: frequency, neuron, input, head or weight.
        matrix: Whose single weights they are; empty for other kinds.
        at: From a kept step to the members' sizes, read then; single weights keep their sign and
            the axes of their matrix.
    """

    by: str
    matrix: str
    at: Callable[[int], Float[Tensor, "*axis"]]

    @property
    def first(self) -> int:
        """Number of the first member: frequencies are counted from 1, all else from 0."""
        return int(self.by == "frequency")


def frequency_sizes(series: Series) -> Float[Tensor, "step frequency"]:
    """Norm of each frequency's components of W_E, frequencies 1, 2, ...

    0 where W_E varies over residues by rounding alone.
    """
    order = orders_of(series.facts)[0]
    power = frequency_power(series.weights("W_E").double()[:, order])
    return without_rounding(power)[:, 1:].sqrt()


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
KINDS = (*SIZES, "weight")


def members_of(series: Series, by: str | None, matrix: str | None = None) -> Members:
    """What a trace of a run follows.

    Args:
        series: Any run.
        by: frequency, neuron, input, head or weight; None for weight where a matrix is named or
            the task tells which inputs matter, else for the first that the model answers to.
        matrix: Whose weights: a parameter, a view, or `effective`, which stands by default.

    Raises:
        ValueError: No such kind, a matrix named for another kind than weight, or the model lacks
            the weights that are needed.
    """
    if by not in (None, *KINDS):
        raise ValueError(f"by: no kind '{by}'; there are {', '.join(KINDS)}")
    if matrix is not None and by not in (None, "weight"):
        raise ValueError(f"matrix names whose single weights are traced: drop it, or by = '{by}'")
    if not series.steps:
        raise ValueError("this series has no steps: no checkpoint was kept")
    inputs = series.facts.get(InputFacts)
    is_told = by is None and inputs is not None and bool(inputs.relevant)
    if by == "weight" or is_told or matrix is not None:
        matrix = matrix or EFFECTIVE
        return Members("weight", matrix, partial(_weights_at, series, matrix))
    by = by or _first_kind(series)
    return Members(by, "", partial(_sizes_at, series, by))


def told_inputs(members: Members, facts: Facts) -> tuple[int, ...] | None:
    """Inputs that the task says its answer depends on, and a constant one, which biases neurons.

    None where it does not say, or members are neither inputs nor their weights.
    """
    is_of_inputs = members.by == "input" or members.matrix in BY_INPUT
    inputs = facts.get(InputFacts)
    if inputs is None or not inputs.relevant or not is_of_inputs:
        return None
    bias = [] if inputs.bias_input is None else [inputs.bias_input]
    return (*(place for place, matters in enumerate(inputs.relevant) if matters), *bias)


def kind_names(by: str, matrix: str) -> tuple[str, str]:
    """What one member is called, and what several are."""
    if by == "frequency":
        return by, "frequencies"
    if matrix == EFFECTIVE:
        return "effective weight", "effective weights"
    return f"weight of {matrix}" if matrix else by, f"{by}s"


def _sizes_at(series: Series, by: str, step: int) -> Float[Tensor, " member"]:
    return _finite(SIZES[by](_only(series, step))[0], f"the size of a {by}", step)


def _weights_at(series: Series, matrix: str, step: int) -> Float[Tensor, "*axis"]:
    one = _only(series, step)
    found = effective_weights(one) if matrix == EFFECTIVE else one.weights(matrix)
    return _finite(found[0], f"matrix '{matrix}'", step)


def _only(series: Series, step: int) -> Series:
    """One step of a series: what is read of it is let go before the next."""
    return replace(series.series(), steps=(step,))


def _finite(values: Float[Tensor, "*axis"], what: str, step: int) -> Float[Tensor, "*axis"]:
    if not values.isfinite().all():
        raise ValueError(
            f"{what} is NaN or infinite at step {step}: the model has diverged; leave out that "
            "step and those after it"
        )
    return values.double().cpu()


def _first_kind(series: Series) -> str:
    """The first kind whose sizes the model has, but single weights."""
    last = _only(series, series.steps[-1])
    for kind in SIZES:
        if kind == "frequency" and series.facts.get(ModularFacts) is None:
            continue
        try:
            SIZES[kind](last)
        except ValueError:
            continue
        return kind
    raise ValueError(
        f"PruningTrace: this model has no {' or '.join(SIZES)} to trace; name a matrix"
    )
