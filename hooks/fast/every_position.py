"""A transformer's logits at every position in as few operations as training needs.

TransformerLens writes out layer norm, tanh GELU and each of a head's three projections, so that
every intermediate has a hook point; on models as small as these that is most of an update's time.
Here each is one operation, the projections are one product, and no hook point fires: this is for
training, never for analysis.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu, layer_norm, linear, silu

from hooks.models import HookedModel, ModelConfig
from hooks.models.token import TokenConfig


def _tanh_gelu(x: Tensor) -> Tensor:
    return gelu(x, approximate="tanh")


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu, "gelu": gelu, "silu": silu, "gelu_new": _tanh_gelu, "gelu_fast": _tanh_gelu,
}  # fmt: skip


def covers_positions(config: ModelConfig) -> bool:
    """Whether `EveryPosition` computes such a model exactly."""
    return isinstance(config, TokenConfig) and config.positional_embedding_type == "standard"


class EveryPosition(nn.Module):
    """A HookedTransformer's logits, equal to its own in value and gradient up to rounding."""

    def __init__(self, model: HookedModel) -> None:
        super().__init__()
        self.model: Any = model

    def forward(
        self, inputs: Shaped[Tensor, "batch pos ..."]
    ) -> Float[Tensor, "batch pos d_vocab_out"]:
        """Logits at every position of tokens, or of real inputs."""
        model = self.model
        is_real = inputs.is_floating_point()
        embed = model.embed(inputs) if is_real else embedding(inputs, model.embed.W_E)
        residual = embed + model.pos_embed.W_pos[: inputs.shape[1]]
        for block in model.blocks:
            residual = residual + self._attend(block, self._normalized(residual, block, "ln1"))
            if not model.cfg.attn_only:
                read = self._normalized(residual, block, "ln2")
                pre = linear(read, block.mlp.W_in.T, block.mlp.b_in)
                post = ACTIVATIONS[model.cfg.act_fn](pre)
                residual = residual + linear(post, block.mlp.W_out.T, block.mlp.b_out)
        residual = self._normalized(residual, model, "ln_final")
        return linear(residual, model.unembed.W_U.T, model.unembed.b_U)

    def _normalized(self, residual: Tensor, owner: Any, name: str) -> Tensor:
        cfg = self.model.cfg
        if cfg.normalization_type is None:
            return residual
        norm, shape = getattr(owner, name), (cfg.d_model,)
        if cfg.normalization_type == "LNPre":
            return layer_norm(residual, shape, eps=cfg.eps)
        return layer_norm(residual, shape, norm.w, norm.b, cfg.eps)

    def _attend(
        self, block: Any, read: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos d_model"]:
        """What a block's heads write."""
        attn, cfg = block.attn, self.model.cfg
        # [3, head, d_model, d_head] as one matrix, so that all heads are one product.
        weights = torch.stack([attn.W_Q, attn.W_K, attn.W_V]).permute(0, 1, 3, 2).flatten(0, 2)
        biases = torch.stack([attn.b_Q, attn.b_K, attn.b_V]).flatten()
        projected = linear(read, weights, biases).unflatten(-1, (3, cfg.n_heads, cfg.d_head))
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each [batch, head, pos, d_head]
        scores = query @ key.transpose(-1, -2) / attn.attn_scale
        if cfg.attention_dir == "causal":
            n_pos = read.shape[1]
            hidden = torch.ones(n_pos, n_pos, dtype=torch.bool, device=read.device).triu(1)
            scores = scores.masked_fill(hidden, -torch.inf)
        mixed = (torch.softmax(scores, dim=-1) @ value).transpose(1, 2).flatten(2)
        return linear(mixed, attn.W_O.flatten(0, 1).T, attn.b_O)
