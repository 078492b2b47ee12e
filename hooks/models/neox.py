"""GPT-NeoX's shape as a HookedTransformer, for models that are trained here.

Rotary positions on a share of each head, attention and MLP side by side on the same stream, layer
norms of their own, no sharing of embedding and unembedding.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from hooks.models.transformer import TransformerConfig
from hooks.transformer.config import Activation


class NeoXConfig(TransformerConfig):
    """A HookedTransformer of GPT-NeoX's shape.

    Attributes:
        n_layers: Blocks.
        d_model: Width of the residual stream.
        n_heads: Heads a block, each d_model / n_heads wide.
        d_mlp: Neurons a block; left out, 4 d_model.
        act_fn: The MLP's nonlinearity.
        rotary_dim: Components of each head's queries and keys that positions turn, an even number.
        parallel_attn_mlp: Whether the MLP reads the stream before attention has written.
        eps: Added to variances in layer norms.
        rotary_base: The largest wavelength of the rotation over 2 pi.
    """

    # VIEWS lacks neuron_in and neuron_out: layer norms stand on both sides of a neuron.
    FIXED: ClassVar[Mapping[str, Any]] = {
        "positional_embedding_type": "rotary",
        "normalization_type": "LN",
    }

    kind: Literal["neox"] = "neox"
    n_layers: int = Field(default=6, ge=1)
    d_model: int = Field(default=512, ge=2)
    n_heads: int = Field(default=8, ge=1)
    d_mlp: int | None = Field(default=None, ge=1)
    act_fn: Activation = "gelu"
    rotary_dim: int = Field(default=16, ge=2, multiple_of=2)
    parallel_attn_mlp: bool = True
    eps: float = Field(default=1e-5, gt=0, allow_inf_nan=False)
    rotary_base: float = Field(default=10_000.0, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _rotation_fits(self) -> "NeoXConfig":
        if self.rotary_dim > self.head_size:
            raise ValueError(
                f"rotary_dim {self.rotary_dim} is more than a head's {self.head_size}: lower it"
            )
        return self

    @property
    def attention_dir(self) -> Literal["causal"]:
        """Each position attends to itself and to those before it."""
        return "causal"

    @property
    def normalization_type(self) -> Literal["LN"]:
        """Layer norm before attention, before the MLP and before the unembedding."""
        return "LN"
