"""The transformer that the structural-grokking paper trained: its config and its builder.

Layer norm follows each residual addition instead of preceding each part, positions are a fixed
sinusoid added to sqrt(d_model) times the embedding, attention has no biases, the unembedding is a
matrix of its own with a bias, and dropout stands at five places. In a block, with x before it:

    mid = LN1(x + attn(x))    post = LN2(mid + mlp(mid))

Source: Murty et al. 2023 (arXiv:2305.18741), as their released code builds it: 8 heads (the paper
says 4) and an unembedding that is not tied (the paper says tied). The six decoder layers that the
code builds and never uses are left out.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from hooks.models.base import HookedModel, Sizes


class PostNormConfig(BaseModel):
    """A transformer with layer norm after each residual addition.

    Attributes:
        n_layers: Blocks; the paper has 2, 4, 6, 8 and 10.
        d_model: Width of the residual stream.
        n_heads: Heads a block, each d_model / n_heads wide.
        d_mlp: Neurons a block; left out, 4 d_model.
        dropout: Probability while training, after the embedding, on attention weights, after the
            attention output, on neurons and after the MLP.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Literal["post_norm"] = "post_norm"
    n_layers: int = Field(default=6, ge=1)
    d_model: int = Field(default=512, ge=2)
    n_heads: int = Field(default=8, ge=1)
    d_mlp: int | None = Field(default=None, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _sizes_fit(self) -> "PostNormConfig":
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model {self.d_model} is not a multiple of n_heads {self.n_heads}: change one"
            )
        if self.d_model % 2:
            raise ValueError(
                f"d_model {self.d_model} is odd: positions are a sine and a cosine a frequency"
            )
        return self

    @property
    def attention_dir(self) -> Literal["causal"]:
        """Each position attends to itself and to those before it."""
        return "causal"

    @property
    def normalization_type(self) -> None:
        """None: heads and neurons read the residual stream as it is."""
        return None

    @property
    def head_size(self) -> int:
        """Width of a head."""
        return self.d_model // self.n_heads

    @property
    def mlp_size(self) -> int:
        """`d_mlp`, or 4 d_model where it was left out."""
        return self.d_mlp or 4 * self.d_model


def build_post_norm(config: PostNormConfig, sizes: Sizes, dtype: torch.dtype) -> HookedModel:
    """A model with freshly drawn weights, from torch's global generator, on the CPU.

    Raises:
        ValueError: The task has real inputs instead of tokens.
    """
    if sizes.d_vocab is None:
        raise ValueError(
            "model: kind post_norm reads tokens, this task has real inputs: take kind mlp"
        )
    from hooks.models.hooked_post_norm import HookedPostNorm

    return HookedPostNorm(config, sizes, dtype)


# neuron_out is left out: between a neuron and the logits stands a layer norm.
VIEWS: dict[str, Callable[[PostNormConfig, Mapping[str, Tensor]], Tensor]] = {
    "W_E": lambda config, parameters: parameters["embed.W_E"],
    "W_U": lambda config, parameters: parameters["unembed.W_U"],
}
