"""Forward passes for training that leave out what the loss never reads.

Where the loss of a transformer reads the last position only, the last block needs no queries,
attention output, MLP or unembedding anywhere else. If that block is also the first, its keys and
values depend on token and position alone: they are computed once for each such pair and looked up.
A single hidden layer on tokens runs through products of its matrices, made once a batch instead of
once an example.

All are exact. No hook point of what is replaced fires: this is for training, never for analysis.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from hooks.models import HookedModel, ModelConfig
from hooks.models.mlp import look_up, neurons_read
from hooks.models.token import TokenConfig
from hooks.transformer.attention import of_heads

Positions = Literal["last", "all"]


class FastPass(nn.Module):
    """A forward pass that reads a model's parameters, and leaves the model as it is."""

    def __init__(self, model: HookedModel) -> None:
        super().__init__()
        self.model: Any = model


def training_logits(
    model: HookedModel, config: ModelConfig, positions: Positions
) -> Callable[[Tensor], Tensor]:
    """The cheapest exact forward pass for a loss that reads certain positions.

    Args:
        model: The live model.
        config: Its config; a model that no fast path covers runs as it is.
        positions: The positions the loss reads.

    Returns:
        From inputs to logits `[batch, position, d_vocab_out]` at those positions.
    """
    if config.kind in ("mlp", "constructed"):
        return NeuronTables(model)  # such a model has a single position
    if positions == "all":
        return model
    return LastPosition(model) if _is_plain(config) else LastSlice(model)


def _is_plain(config: ModelConfig) -> bool:
    """Whether attention is what `LastPosition` writes out."""
    if not isinstance(config, TokenConfig) or config.kind != "token":
        return False
    has_others = config.parallel_attn_mlp or config.dropout or config.pattern_coeff != 1
    is_standard = config.positional_embedding_type == "standard"
    return is_standard and config.n_key_value_heads is None and not has_others


class LastSlice(FastPass):
    """The plain model, of whose logits the last position is kept."""

    def forward(
        self, inputs: Shaped[Tensor, "batch pos ..."]
    ) -> Float[Tensor, "batch 1 d_vocab_out"]:
        """Logits at the last position."""
        return self.model(inputs)[:, -1:]


class NeuronTables(FastPass):
    """A hidden layer's logits on tokens, equal to the model's own in value and gradient."""

    def forward(self, inputs: Shaped[Tensor, "batch pos ..."]) -> Float[Tensor, "batch 1 class"]:
        """Logits of tokens `[batch, operand]` or of real inputs `[batch, operand, d_in]`."""
        model, config = self.model, self.model.config
        if model.cfg.d_vocab is None or len(inputs) <= model.cfg.d_vocab:
            return model(inputs)
        tables = neurons_read(config, dict(model.named_parameters()))
        read = look_up(inputs, tables if len(tables) > 1 else tables[0])
        post = model.dropout(model.activates(model.adds(read)))
        if config.collapsed_out or config.d_mlp >= config.d_model:
            return model.writes(post)
        return model.biased(post @ (model.blocks[0].mlp.W_out @ model.last))


class LastPosition(FastPass):
    """A HookedTransformer's logits at the last position, equal to its own in value and gradient."""

    def forward(self, inputs: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch 1 d_vocab_out"]:
        """Logits at the last position."""
        model = self.model
        block, cfg = model.blocks[-1], model.cfg
        is_looked_up = cfg.n_layers == 1 and cfg.d_vocab * inputs.shape[1] < inputs.numel()
        residual, query, keys, values = (self._look_up if is_looked_up else self._compute)(inputs)
        scores = (query[:, None] * keys).sum(-1) / block.attn.attn_scale
        z = (torch.softmax(scores, dim=1)[..., None] * values).sum(1)
        attn = block.attn
        written = linear(z.flatten(1), attn.W_O.flatten(0, 1).T, attn.b_O)
        # Examples take the axis of positions: vmap then multiplies whole matrices.
        residual = (residual + written)[None]
        if not cfg.attn_only:
            residual = residual + block.mlp(block.ln2(residual))
        if cfg.normalization_type is not None:
            residual = model.ln_final(residual)
        return model.unembed(residual).transpose(0, 1)

    def _compute(self, inputs: Int[Tensor, "batch pos"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Residual stream and query of the last position, keys and values of all."""
        block = self.model.blocks[-1]
        residual = self.model(inputs, stop_at_layer=self.model.cfg.n_layers - 1)
        normalized = block.ln1(residual)
        return residual[:, -1], *_projections(block.attn, normalized[:, -1], normalized)

    def _look_up(self, inputs: Int[Tensor, "batch pos"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What `_compute` gives, for a model of one layer, from tables by token and position."""
        model, n_pos = self.model, inputs.shape[1]
        block = model.blocks[0]
        residual = model.embed.W_E[:, None] + model.pos_embed.W_pos[:n_pos]
        normalized = block.ln1(residual)
        query, *tables = _projections(block.attn, normalized[:, -1], normalized)
        last, pairs = inputs[:, -1], inputs * n_pos + torch.arange(n_pos, device=inputs.device)
        keys, values = (_rows(pairs, rearrange(table, "v n h d -> (v n) h d")) for table in tables)
        return _rows(last, residual[:, -1]), _rows(last, query), keys, values


def _projections(
    attn: Any, last: Float[Tensor, "row d"], normalized: Float[Tensor, "row pos d"]
) -> tuple[Tensor, Tensor, Tensor]:
    """The query of the last position, and the keys and values of all positions."""
    rows, shape = normalized.flatten(0, 1), normalized.shape[:2]
    return (
        of_heads(last, attn.W_Q, attn.b_Q),
        of_heads(rows, attn.W_K, attn.b_K).unflatten(0, shape),
        of_heads(rows, attn.W_V, attn.b_V).unflatten(0, shape),
    )


def _rows(indices: Int[Tensor, "..."], table: Tensor) -> Tensor:
    """Rows of a table; embedding's backward pass is far cheaper than plain indexing's."""
    return embedding(indices, table.flatten(1)).unflatten(-1, table.shape[1:])
