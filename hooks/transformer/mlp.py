"""The neurons of a block, plain or gated, with their hook points.

    plain   post = act(x W_in + b_in)               out = post W_out + b_out
    gated   post = act(x W_gate) * (x W_in) + b_in   out = post W_out + b_out

`hook_pre` sees what goes into the nonlinearity, `hook_post` what W_out reads, and, of gated
neurons, `hook_pre_linear` the other factor.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, silu

from hooks.hook_points import HookPoint
from hooks.transformer.config import HookedTransformerConfig
from hooks.transformer.dropout import dropping


def gelu_fast(x: Tensor) -> Tensor:
    """The tanh GELU with sqrt(2 / pi) to ten digits, as it was released."""
    return 0.5 * x * (1 + torch.tanh(0.7978845608 * x * (1 + 0.044715 * x * x)))


TANH_GELU = partial(gelu, approximate="tanh")
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "gelu": gelu,
    "silu": silu,
    "gelu_new": TANH_GELU,
    "gelu_fast": gelu_fast,
}


class MLP(nn.Module):
    """Neurons that read the residual stream and write to it."""

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.act_fn = ACTIVATIONS[cfg.act_fn or "relu"]
        d_mlp = cfg.d_mlp or 4 * cfg.d_model
        self._add_weights(cfg, d_mlp)
        self.hook_pre, self.hook_post = HookPoint(), HookPoint()
        self.dropout = dropping(cfg.neuron_dropout)

    def _add_weights(self, cfg: HookedTransformerConfig, d_mlp: int) -> None:
        self.W_in: Tensor = _empty(cfg, cfg.d_model, d_mlp)
        self.b_in: Tensor = _zeros(cfg, d_mlp)
        self.W_out: Tensor = _empty(cfg, d_mlp, cfg.d_model)
        self.b_out: Tensor = _zeros(cfg, cfg.d_model)

    def forward(self, x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """What the neurons write."""
        post = self.hook_post(self.act_fn(self.hook_pre(linear(x, self.W_in.T, self.b_in))))
        return linear(self.dropout(post), self.W_out.T, self.b_out)


class GatedMLP(MLP):
    """Neurons with a second factor.

    Source:
        Shazeer 2020 (arXiv:2002.05202), section 2; where the bias goes is TransformerLens' choice.
    """

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__(cfg)
        self.hook_pre, self.hook_pre_linear, self.hook_post = HookPoint(), HookPoint(), HookPoint()

    def _add_weights(self, cfg: HookedTransformerConfig, d_mlp: int) -> None:
        self.W_in: Tensor = _empty(cfg, cfg.d_model, d_mlp)
        self.W_out: Tensor = _empty(cfg, d_mlp, cfg.d_model)
        self.W_gate: Tensor = _empty(cfg, cfg.d_model, d_mlp)
        self.b_in: Tensor = _zeros(cfg, d_mlp)
        self.b_out: Tensor = _zeros(cfg, cfg.d_model)

    def forward(self, x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """What the neurons write."""
        gate = self.act_fn(self.hook_pre(linear(x, self.W_gate.T)))
        post = self.hook_post(gate * self.hook_pre_linear(linear(x, self.W_in.T)) + self.b_in)
        return linear(self.dropout(post), self.W_out.T, self.b_out)


def _empty(cfg: HookedTransformerConfig, *shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape, dtype=cfg.dtype))


def _zeros(cfg: HookedTransformerConfig, size: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(size, dtype=cfg.dtype))
