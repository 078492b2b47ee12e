"""How large are a network's members: frequencies of the embedding, neurons, inputs, heads, weights?

Sizes of neurons, inputs and heads do not change when weights are rescaled across a ReLU: they are
products of what a member reads with what it writes. Single weights are taken from the matrix
`effective`, to which the same applies, or as they are from any parameter or view.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from analyses.fourier import frequency_power, orders_of, without_rounding
from hooks import InputFacts, Series

EFFECTIVE = "effective"
BY_INPUT = (EFFECTIVE, "neuron_in", "W_E")  # matrices with a row an input


def frequency_sizes(series: Series) -> Float[Tensor, "step frequency"]:
    """Norm of each frequency's components of W_E, frequencies 1, 2, ...

    0 where W_E varies over residues by rounding alone.
    """
    W_E = series.weights("W_E").double()[:, orders_of(series.facts)[0]]
    return without_rounding(frequency_power(W_E))[:, 1:].sqrt()


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
        W_V, W_O = (
            series.weights(f"blocks.{layer}.attn.{name}").double() for name in ("W_V", "W_O")
        )
        read = einsum(W_V, W_V, "t n d i, t n d j -> t n i j")
        written = einsum(W_O, W_O, "t n i d, t n j d -> t n i j")
        layers.append((read * written).sum((-1, -2)).sqrt())
    return torch.cat(layers, dim=1)


SIZES: dict[str, Callable[[Series], Tensor]] = {
    "frequency": frequency_sizes,
    "neuron": lambda series: effective_weights(series).square().sum((1, 2)).sqrt(),
    "input": lambda series: effective_weights(series).square().sum((1, 3)).sqrt(),
    "head": head_sizes,
}
KINDS = (*SIZES, "weight")


@dataclass(frozen=True, eq=False)
class WeightGroups:
    """What a trace follows.

    Attributes:
        series: The run.
        by: frequency, neuron, input, head or weight.
        matrix: The matrix whose single weights they are; empty for other kinds.
    """

    series: Series
    by: str
    matrix: str = ""

    def at(self, step: int) -> Float[Tensor, "*axis"]:
        """The members' sizes at a kept step, read now, in float64.

        Single weights keep their sign and the axes of their matrix.

        Raises:
            ValueError: A size is not finite.
        """
        checkpoint = _single_step(self.series, step)
        sizes = effective_weights if self.matrix == EFFECTIVE else SIZES.get(self.by)
        values = (sizes(checkpoint) if sizes else checkpoint.weights(self.matrix))[0]
        if not values.isfinite().all():
            what = f"matrix '{self.matrix}'" if self.matrix else f"the size of a {self.by}"
            raise ValueError(
                f"{what} is NaN or infinite at step {step}: the model has diverged; leave out that "
                "step and those after it"
            )
        return values.double().cpu()

    def relevant(self) -> tuple[int, ...] | None:
        """Inputs that the task says its answer depends on, and a constant one, the neurons' bias.

        None where the task does not say, or members are neither inputs nor their weights.
        """
        inputs = self.series.facts.get(InputFacts)
        is_of_inputs = self.by == "input" or self.matrix in BY_INPUT
        if inputs is None or not inputs.relevant or not is_of_inputs:
            return None
        bias = [] if inputs.bias_input is None else [inputs.bias_input]
        return (*(place for place, matters in enumerate(inputs.relevant) if matters), *bias)


def members_of(series: Series, by: str | None, matrix: str | None = None) -> WeightGroups:
    """What a trace of a run follows.

    Args:
        series: Any run.
        by: frequency, neuron, input, head or weight; None for weight where a matrix is named or
            the task says which inputs matter, else for the first kind whose weights the model has.
        matrix: Whose weights: a parameter, a view, or `effective`, the default.

    Raises:
        ValueError: No such kind, a matrix named for another kind than weight, or the model lacks
            the weights that are needed.
    """
    if by not in (None, *KINDS):
        raise ValueError(f"by: no kind '{by}'; there are {', '.join(KINDS)}")
    if matrix is not None and by not in (None, "weight"):
        raise ValueError(f"matrix names whose single weights are traced: drop it, or by = '{by}'")
    if not series.steps:
        raise ValueError("there are no steps: no checkpoint was kept")
    inputs = series.facts.get(InputFacts)
    has_relevant = by is None and inputs is not None and bool(inputs.relevant)
    if by == "weight" or has_relevant or matrix is not None:
        return WeightGroups(series, "weight", matrix or EFFECTIVE)
    return WeightGroups(series, by or _first_kind(series))


def _single_step(series: Series, step: int) -> Series:
    """One step of a series: what is read of it is let go before the next."""
    return replace(series.series(), steps=(step,))


def _first_kind(series: Series) -> str:
    """The first kind whose sizes the model has, but single weights."""
    last = _single_step(series, series.steps[-1])
    for kind, sizes in SIZES.items():
        with suppress(ValueError):
            sizes(last)
            return kind
    raise ValueError(
        f"PruningTrace: this model has no {' or '.join(SIZES)} to trace; name a matrix"
    )
