"""Networks whose weights are written by hand, for any modulus: they add, and none was trained.

circle: d_mlp neurons evenly round a circle, W_E[x] = (cos wx, sin wx), W_in[:, j] = (cos jt,
sin jt), W_out[j] = (cos 2jt, sin 2jt), logits through W_E again; w = 2 pi f / p, t = 2 pi / d_mlp.
The output angle turns twice as fast as the input angle. With x^2 and three or at least five
neurons the logits are d_mlp cos^2((a - b) w / 2) cos((a + b - c) w) exactly. With relu they are
not: of its even harmonics the first one wrongly kept is 2 d_mlp - 2 for odd d_mlp, d_mlp - 2 for
even, so that 5 neurons do as well as 10.

analytic: neuron k reads cos(w_k a + u_k) + cos(w_k b + v_k), squares it, and writes
cos(w_k c + u_k + v_k); phases are random, frequencies k spread over the residues. Unwanted terms
cancel as the width grows.

Source: circle: "Do Machine Learning Models Memorize or Generalize?" (PAIR 2023), five neurons;
analytic: Gromov 2023 (arXiv:2301.02679), whose output is written here so that it peaks at a + b.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from hooks.models.base import HookedModel, Sizes, View, parameters_of
from hooks.models.mlp import Activation, MLPConfig, OneHiddenLayer


def _as_mlp(name: str, config: "ConstructedConfig", parameters: Mapping[str, Tensor]) -> Tensor:
    return MLPConfig.VIEWS[name](config.mlp, parameters)


class ConstructedConfig(OneHiddenLayer):
    """A network that adds modulo the number of tokens, written by hand.

    Attributes:
        network: circle or analytic.
        d_mlp: Neurons.
        act_fn: Their nonlinearity; left out, relu for the circle and square for the analytic one.
        frequency: f of the circle; the analytic network has many.
    """

    VIEWS: ClassVar[Mapping[str, View]] = {name: partial(_as_mlp, name) for name in MLPConfig.VIEWS}

    kind: Literal["constructed"] = "constructed"
    network: Literal["circle", "analytic"] = "circle"
    d_mlp: int = Field(default=5, ge=1)
    act_fn: Activation | None = None
    frequency: int = Field(default=1, ge=1)

    @property
    def mlp(self) -> MLPConfig:
        """The network as one of kind mlp."""
        if self.network == "circle":
            act_fn = self.act_fn or "relu"
            return MLPConfig(d_model=2, d_mlp=self.d_mlp, act_fn=act_fn, tied=True)
        return MLPConfig(
            d_mlp=self.d_mlp,
            act_fn=self.act_fn or "square",
            shared_embedding=False,
            collapsed_in=True,
            collapsed_out=True,
        )

    def build(self, sizes: Sizes, dtype: torch.dtype) -> HookedModel:
        """The network with its weights; random phases come from torch's global generator.

        Raises:
            ValueError: The task is not one of two operands with as many tokens as classes.
        """
        p = sizes.d_vocab or 0
        if sizes.n_ctx != 2 or p != sizes.d_vocab_out or p < 2:
            raise ValueError(
                "model: a constructed network adds two of p > 1 tokens, this task has "
                f"{sizes.n_ctx} positions, {p} tokens and {sizes.d_vocab_out} classes: take "
                "modular_arithmetic with equals = false"
            )
        model = self.mlp.build(sizes, dtype)
        model.cfg.config = self
        if self.network == "circle":
            weights = circle_weights(p, self.d_mlp, self.frequency)
        else:
            weights = analytic_weights(p, *(2 * math.pi * torch.rand(2, self.d_mlp).double()))
        for name, parameter in parameters_of(model).items():
            parameter.copy_(weights[name])
        return model


def circle_weights(p: int, d_mlp: int, frequency: int = 1) -> dict[str, Float[Tensor, "..."]]:
    """The circle's parameters by name, in float64."""
    angles = 2 * math.pi * torch.arange(d_mlp, dtype=torch.float64) / d_mlp
    return {
        "embed.W_E": _on_circle(2 * math.pi * frequency * torch.arange(p).double() / p),
        "blocks.0.mlp.W_in": _on_circle(angles).T,
        "blocks.0.mlp.W_out": _on_circle(2 * angles),
    }


def analytic_weights(
    p: int, first: Float[Tensor, " d_mlp"], second: Float[Tensor, " d_mlp"]
) -> dict[str, Float[Tensor, "..."]]:
    """The analytic network's parameters by name, in float64.

    Neuron k has frequency 1 + k mod p // 2, which names every wave over the residues in turn.

    Args:
        p: The modulus.
        first: Each neuron's phase u for the first operand.
        second: Its phase v for the second.
    """
    frequencies = 1 + torch.arange(len(first)) % (p // 2)
    angles = 2 * math.pi * torch.arange(p).double()[:, None] * frequencies / p
    return {
        "blocks.0.mlp.W_in": torch.stack([(angles + first).cos(), (angles + second).cos()]),
        "blocks.0.mlp.W_out": (angles + first + second).cos().T,
    }


def leads(
    logits: Float[Tensor, "*batch class"], answers: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """How far the right class leads the best other one.

    Some constructions rest on exact ties, which rounding would decide: count an answer as right
    where it leads by 1e-9, in float64.
    """
    right = logits.gather(-1, answers[..., None])
    others = logits.scatter(-1, answers[..., None], -torch.inf)
    return right[..., 0] - others.amax(-1)


def _on_circle(angles: Float[Tensor, " n"]) -> Float[Tensor, "n 2"]:
    return torch.stack([angles.cos(), angles.sin()], dim=1)
