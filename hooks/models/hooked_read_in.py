"""The module behind kind "read_in": imported only where one is built.

TransformerLens looks token ids up and takes the number of positions from the last axis of what it
is fed, which for real inputs would be d_in: so the step from inputs to the residual stream is
written here.
"""

import math
from typing import Any, NoReturn

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens import HookedTransformer

from hooks.models.token import TokenConfig

PROCESSING = (
    "a model of kind read_in takes no weight processing: folding knows nothing of its read-in, and "
    "centring the unembedding makes a single output constant; use it as it is"
)


class ReadIn(nn.Module):
    """A linear layer from inputs to the residual stream, in the place of the embedding."""

    def __init__(self, d_in: int, d_model: int, dtype: torch.dtype) -> None:
        super().__init__()
        bound = 1 / math.sqrt(d_in)  # as torch draws a linear layer
        self.W_E = nn.Parameter(torch.empty(d_in, d_model, dtype=dtype).uniform_(-bound, bound))
        self.b_E = nn.Parameter(torch.empty(d_model, dtype=dtype).uniform_(-bound, bound))

    def forward(self, inputs: Float[Tensor, "batch pos d_in"]) -> Float[Tensor, "batch pos d"]:
        """What each position's input adds to the residual stream."""
        return inputs.to(self.W_E.dtype) @ self.W_E + self.b_E


class HookedReadIn(HookedTransformer):
    """A HookedTransformer that is fed real numbers `[batch, pos, d_in]`."""

    def __init__(self, cfg: Any, *, config: TokenConfig, d_in: int) -> None:
        super().__init__(cfg)
        for name, fact in {"config": config, "d_in": d_in}.items():
            setattr(self.cfg, name, fact)  # beside TransformerLens' own fields
        self.embed = ReadIn(d_in, cfg.d_model, cfg.dtype)
        self.setup()

    def forward(self, input: Any, return_type: str | None = "logits", **options: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  # fewer options
        """Outputs `[batch, pos, d_vocab_out]`.

        Args:
            input: Real numbers `[batch, pos, d_in]`; the residual stream with `start_at_layer`.
            return_type: logits, or None for none.
            options: `start_at_layer` and `stop_at_layer`, as HookedTransformer takes them.

        Raises:
            ValueError: The inputs are of another shape or type, or a loss is asked for.
        """
        if return_type not in ("logits", None):
            raise ValueError(
                f"return_type '{return_type}': the loss of real inputs is the task's; take logits"
            )
        return super().forward(input, return_type=return_type, **options)

    def input_to_embed(self, input: Any, *_: Any, **options: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  # fewer options
        """The residual stream before the first block; there are no tokens and no mask.

        Raises:
            ValueError: The inputs are of another shape or type.
        """
        self._check(input, options)
        device = next(iter(self.parameters())).device
        embed = self.hook_embed(self.embed(input.to(device)))
        residual, shortformer = self.get_residual(embed, 0)
        return residual, None, shortformer, None

    def process_weights_(self, *_: Any, **__: Any) -> NoReturn:
        """Refused, as is every other change of weights that is meant to leave outputs alone."""
        raise ValueError(PROCESSING)

    load_and_process_state_dict = process_weights_
    fold_layer_norm = process_weights_
    fold_value_biases = process_weights_
    center_unembed = process_weights_
    center_writing_weights = process_weights_
    refactor_factored_attn_matrices = process_weights_

    def _check(self, input: Any, options: dict[str, Any]) -> None:
        d_in, n_ctx = self.embed.W_E.shape[0], self.cfg.n_ctx
        given = [
            name for name in ("attention_mask", "past_kv_cache") if options.get(name) is not None
        ]
        if given:
            raise ValueError(f"{given[0]}: a model of kind read_in takes none")
        if not (isinstance(input, Tensor) and input.is_floating_point() and input.ndim == 3):
            came = (
                f"{input.dtype} {list(input.shape)}" if isinstance(input, Tensor) else type(input)
            )
            raise ValueError(f"input: real numbers [batch, pos, {d_in}] are wanted, got {came}")
        if input.shape[2] != d_in or not 1 <= input.shape[1] <= n_ctx:
            raise ValueError(
                f"input: 1 to {n_ctx} positions of {d_in} numbers are wanted, got "
                f"{input.shape[1]} of {input.shape[2]}"
            )
