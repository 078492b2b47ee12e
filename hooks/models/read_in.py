"""A HookedTransformer for real-valued inputs: its config, its builder and its weight views.

Position i's input, d_in numbers, is mapped into the residual stream by one linear layer:

    hook_embed = x_i W_E + b_E    resid_pre = hook_embed + W_pos[i]

All else is HookedTransformer's own, so that every hook point fires. With one output (a task's
d_vocab_out = 1) the model answers a real number at each position.

Source: Garg et al. 2022 (arXiv:2208.01066), section 2 and code: GPT-2 blocks with the tanh GELU,
one shared read-in. Their linear read-out is W_U and b_U here, drawn as TransformerLens draws them
(theirs as torch draws a linear layer, which is how the read-in is drawn here).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from hooks.models.base import HookedModel, Sizes
from hooks.models.token import VIEWS as TOKEN_VIEWS
from hooks.models.token import TokenConfig, instantiated


class ReadInConfig(TokenConfig):
    """A HookedTransformer whose embedding is a linear layer on real inputs.

    The options are those of kind token; the defaults are GPT-2's nonlinearity (`gelu_new`, the
    tanh GELU), layer norm and first weights.
    """

    kind: Literal["read_in"] = "read_in"  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen: may narrow
    act_fn: Literal["relu", "gelu", "gelu_new", "silu", "gelu_fast"] = "gelu_new"
    normalization_type: Literal["LN", "LNPre"] | None = "LN"
    initializer_range: float = Field(default=0.02, allow_inf_nan=False)


def build_read_in(config: ReadInConfig, sizes: Sizes, dtype: torch.dtype) -> HookedModel:
    """A model with freshly drawn weights, from torch's global generator, on the CPU.

    Raises:
        ValueError: The task has tokens instead of real inputs.
    """
    if sizes.d_in is None:
        raise ValueError("model: kind read_in reads real inputs, this task has tokens: take token")
    from hooks.models.hooked_read_in import HookedReadIn

    # Ids are never read; 1 is the least that TransformerLens allows.
    counts = {"d_vocab": 1, "d_vocab_out": sizes.d_vocab_out, "n_ctx": sizes.n_ctx}
    return instantiated(
        partial(HookedReadIn, config=config, d_in=sizes.d_in), config, counts, dtype
    )


VIEWS: dict[str, Callable[[Any, Mapping[str, Tensor]], Tensor]] = dict(TOKEN_VIEWS)
