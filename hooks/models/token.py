"""The ordinary HookedTransformer on tokens: its config, its builder and its weight views.

Options keep HookedTransformerConfig's own names (transformer-lens 3.9). What the task decides
(`d_vocab`, `d_vocab_out`, `n_ctx`) is left out. TransformerLens counts from a zero residual
stream; embeddings, heads and MLPs add to it, `W_U` reads it.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from einops import einsum
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from hooks.models.base import HookedModel, Sizes


class TokenConfig(BaseModel):
    """A HookedTransformer on tokens.

    Left out, `d_head` is d_model / n_heads and `d_mlp` is 4 d_model. A negative
    `initializer_range` stands for TransformerLens' default, 0.8 / sqrt(d_model).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Literal["token"] = "token"
    n_layers: int = Field(default=1, ge=1)
    d_model: int = Field(default=128, ge=1)
    n_heads: int = Field(default=4, ge=1)
    d_head: int | None = Field(default=None, ge=1)
    d_mlp: int | None = Field(default=None, ge=1)
    attn_only: bool = False
    act_fn: Literal["relu", "gelu", "gelu_new", "silu", "gelu_fast"] = "relu"
    normalization_type: Literal["LN", "LNPre"] | None = None
    positional_embedding_type: Literal["standard", "rotary"] = "standard"
    attention_dir: Literal["causal", "bidirectional"] = "causal"
    initializer_range: float = Field(default=-1.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _heads_fit(self) -> "TokenConfig":
        if self.d_head is None and self.d_model % self.n_heads:
            raise ValueError(
                f"d_model {self.d_model} is not a multiple of n_heads {self.n_heads}: "
                "change one, or give d_head"
            )
        return self

    @property
    def head_size(self) -> int:
        """`d_head`, or d_model / n_heads where it was left out."""
        return self.d_head or self.d_model // self.n_heads

    @property
    def mlp_size(self) -> int:
        """`d_mlp`, or 4 d_model where it was left out."""
        return self.d_mlp or 4 * self.d_model


def build_token(config: TokenConfig, sizes: Sizes, dtype: torch.dtype) -> HookedModel:
    """A HookedTransformer with freshly drawn weights, from torch's global generator, on the CPU.

    Raises:
        ValueError: The task has real inputs instead of tokens.
    """
    if sizes.d_vocab is None:
        raise ValueError(
            "model: kind token reads tokens, this task has real inputs: take kind mlp or read_in"
        )
    from transformer_lens import HookedTransformer

    return instantiated(HookedTransformer, config, sizes.model_dump(exclude={"d_in"}), dtype)


def instantiated(
    cls: Callable[[Any], Any], config: TokenConfig, sizes: Mapping[str, Any], dtype: torch.dtype
) -> Any:
    """A model of HookedTransformer's class, or of one that inherits from it, on the CPU.

    Args:
        cls: From a HookedTransformerConfig to a model.
        config: Its shape.
        sizes: `d_vocab`, `d_vocab_out` and `n_ctx`.
        dtype: Type of the parameters.
    """
    from transformer_lens import HookedTransformerConfig

    cfg = HookedTransformerConfig(
        **config.model_dump(exclude={"kind", "d_head", "d_mlp"}),
        **sizes,
        d_head=config.head_size,
        d_mlp=None if config.attn_only else config.mlp_size,
        dtype=dtype,
        device="cpu",
        seed=None,  # a seed here would reseed torch, NumPy and Python for the whole process
    )
    with warnings.catch_warnings():
        # HookedTransformer is what this toolkit trains; it is pinned below its removal in 4.0.
        warnings.simplefilter("ignore", DeprecationWarning)
        model = cls(cfg)
    for block in model.blocks:
        # A NumPy scalar here breaks torch.compile and vmap together.
        block.attn.attn_scale = float(block.attn.attn_scale)
    return model


def token_config_of(cfg: Any) -> TokenConfig:
    """The config of a live HookedTransformer, for models that came without one."""
    fields = set(TokenConfig.model_fields) - {"kind"}
    values = {name: getattr(cfg, name) for name in fields}
    # What does not apply is None there (act_fn without an MLP) and left out here.
    return TokenConfig(**{name: value for name, value in values.items() if value is not None})


def neurons_read(
    config: TokenConfig, parameters: Mapping[str, Tensor]
) -> Float[Tensor, "*series operand input d_mlp"]:
    """What each neuron of the first block receives from each token through each head.

    The weights W_E W_V W_O W_in, one operand a head: a neuron at the last position meets another
    position's token only through a head's OV circuit. Biases and layer norm are left out, and so
    is the direct path W_E W_in of the last position's own token (which is "=" where there is one).
    """
    embedding, values = parameters["embed.W_E"], parameters["blocks.0.attn.W_V"]
    output, reads = parameters["blocks.0.attn.W_O"], parameters["blocks.0.mlp.W_in"]
    moved = einsum(embedding, values, "... token d, ... head d h -> ... head token h")
    written = einsum(moved, output, "... head token h, ... head h d -> ... head token d")
    return einsum(written, reads, "... head token d, ... d neuron -> ... head token neuron")


def neurons_write(
    config: TokenConfig, parameters: Mapping[str, Tensor]
) -> Float[Tensor, "*series d_mlp class"]:
    """W_L = W_out W_U of the last block: what each neuron adds to each class' logit."""
    writes = parameters[f"blocks.{config.n_layers - 1}.mlp.W_out"]
    return writes @ parameters["unembed.W_U"]


VIEWS: dict[str, Callable[[TokenConfig, Mapping[str, Tensor]], Tensor]] = {
    "W_E": lambda config, parameters: parameters["embed.W_E"],
    "W_pos": lambda config, parameters: parameters["pos_embed.W_pos"],
    "W_U": lambda config, parameters: parameters["unembed.W_U"],
    "neuron_in": neurons_read,
    "neuron_out": neurons_write,
}
