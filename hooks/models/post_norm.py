"""The transformer that the structural-grokking paper trained.

Layer norm follows each residual addition instead of preceding each part, positions are a fixed
sinusoid added to sqrt(d_model) times the embedding, attention has no biases, the unembedding is a
matrix of its own with a bias, and dropout stands at five places. In a block, with x before it:

    mid = LN1(x + attn(x))    post = LN2(mid + mlp(mid))

Of the residual stream, `hook_resid_pre` is what a block is given (normalised already, but before
the first block), `hook_resid_mid` what the MLP reads, `hook_resid_post` what the next block or W_U
reads. A stream that is normalised after each addition is no sum of what parts write.

Source: Murty et al. 2023 (arXiv:2305.18741), as their released code builds it: 8 heads (the paper
says 4) and an unembedding that is not tied (the paper says tied). The six decoder layers that the
code builds and never uses are left out.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator

from hooks.models.base import Sizes
from hooks.models.transformer import TransformerConfig
from hooks.transformer import HookedTransformerConfig


class PostNormConfig(TransformerConfig):
    """A transformer with layer norm after each residual addition.

    Attributes:
        n_layers: Blocks; the paper has 2, 4, 6, 8 and 10.
        d_model: Width of the residual stream.
        n_heads: Heads a block, each d_model / n_heads wide.
        d_mlp: Neurons a block; left out, 4 d_model.
        dropout: Probability while training, after the embedding, on attention weights, after the
            attention output, on neurons and after the MLP.
    """

    # VIEWS lacks neuron_out: between a neuron and the logits stands a layer norm.
    FIXED: ClassVar[Mapping[str, Any]] = {
        "act_fn": "relu",
        "normalization_type": "LN",
        "norm_position": "post",
        "positional_embedding_type": "sinusoidal",
        "scale_embeddings": True,
        "attention_biases": False,
        "init_mode": "xavier_uniform",
    }

    kind: Literal["post_norm"] = "post_norm"
    n_layers: int = Field(default=6, ge=1)
    d_model: int = Field(default=512, ge=2)
    n_heads: int = Field(default=8, ge=1)
    d_mlp: int | None = Field(default=None, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _waves_fit(self) -> "PostNormConfig":
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

    def shape(
        self, sizes: Sizes, dtype: torch.dtype = torch.float32, **options: Any
    ) -> HookedTransformerConfig:
        """The shape of the model for a task; neurons are dropped as all else is."""
        return super().shape(sizes, dtype, neuron_dropout=self.dropout, **options)
