"""What the configs of all HookedTransformers share: sizes that follow from others, and building."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import model_validator
from torch import Tensor

from hooks.models.base import HookedModel, KindConfig, Sizes, View
from hooks.transformer import HookedTransformer, HookedTransformerConfig


def unembedding(config: Any, parameters: Mapping[str, Tensor]) -> Tensor:
    """W_U, which is W_E transposed where the two are tied."""
    if getattr(config, "tie_word_embeddings", False):
        return parameters["embed.W_E"].transpose(-1, -2)
    return parameters["unembed.W_U"]


def by_head(parameters: Mapping[str, Tensor], name: str, n_heads: int) -> Tensor:
    """A weight of attention for each head, also where several heads share it.

    Args:
        parameters: By name, with any leading axes. What heads share is called `attn._W_K`, ...
        name: `blocks.<layer>.attn.<W or b>_<Q, K, V or O>`.
        n_heads: Heads a block.
    """
    if name in parameters:
        return parameters[name]
    shared = parameters[name.replace(".attn.", ".attn._")]
    axis = -3 if ".W_" in name else -2  # of [head, d_model, d_head] or [head, d_head]
    return shared.repeat_interleave(n_heads // shared.shape[axis], dim=axis)


class TransformerConfig(KindConfig):
    """A config that a HookedTransformer is built of.

    Attributes:
        READS: What the model reads, tokens or real inputs.
        FIXED: Options of HookedTransformerConfig that the kind decides.
    """

    READS: ClassVar[str] = "tokens"
    FIXED: ClassVar[Mapping[str, Any]] = {}
    VIEWS: ClassVar[Mapping[str, View]] = {
        "W_E": lambda config, parameters: parameters["embed.W_E"],
        "W_U": unembedding,
    }

    n_layers: int
    d_model: int
    n_heads: int
    d_mlp: int | None

    @model_validator(mode="after")
    def _heads_fit(self) -> "TransformerConfig":
        if getattr(self, "d_head", None) is None and self.d_model % self.n_heads:
            remedy = "change one, or give d_head" if hasattr(self, "d_head") else "change one"
            raise ValueError(
                f"d_model {self.d_model} is not a multiple of n_heads {self.n_heads}: {remedy}"
            )
        return self

    @property
    def head_size(self) -> int:
        """`d_head`, or d_model / n_heads where it was left out."""
        return getattr(self, "d_head", None) or self.d_model // self.n_heads

    @property
    def mlp_size(self) -> int:
        """`d_mlp`, or 4 d_model where it was left out."""
        return self.d_mlp or 4 * self.d_model

    def shape(
        self, sizes: Sizes, dtype: torch.dtype = torch.float32, **options: Any
    ) -> HookedTransformerConfig:
        """The shape of the model for a task.

        Args:
            sizes: What the task decides.
            dtype: Type of the parameters.
            options: Further options of HookedTransformerConfig.

        Raises:
            ValueError: The task's inputs are not what the kind reads, or options contradict sizes.
        """
        has_tokens = sizes.d_in is None
        if has_tokens != (self.READS == "tokens"):
            there = "tokens: take token" if has_tokens else "real inputs: take kind mlp or read_in"
            kind = type(self).model_fields["kind"].default
            raise ValueError(f"model: kind {kind} reads {self.READS}, this task has {there}")
        stated = self.model_dump(exclude={"kind", "d_head", "d_mlp"}) | dict(self.FIXED)
        return HookedTransformerConfig(
            **stated,
            **sizes.model_dump(exclude_none=True),
            d_head=self.head_size,
            d_mlp=None if stated.get("attn_only") else self.mlp_size,
            dtype=dtype,
            config=self,
            **options,
        )

    def build(self, sizes: Sizes, dtype: torch.dtype) -> HookedModel:
        """A model with freshly drawn weights, from torch's global generator, on the CPU.

        Raises:
            ValueError: As `shape`.
        """
        return HookedTransformer(self.shape(sizes, dtype))
