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
from einops import einsum, rearrange
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from hooks.models import HookedModel, ModelConfig
from hooks.models.mlp import look_up, neurons_read
from hooks.models.token import TokenConfig
from hooks.transformer.attention import of_heads

Positions = Literal["last", "all"]
TABLE_ROWS = 4  # products of pairs of tokens are looked up if there are at most so many an example


class FastPass(nn.Module):
    """A forward pass that reads a model's parameters, and leaves the model as it is."""

    def __init__(self, model: HookedModel) -> None:
        super().__init__()
        self.model: Any = model


def training_logits(
    model: HookedModel, config: ModelConfig, positions: Positions, *, is_stacked: bool = False
) -> Callable[[Tensor], Tensor]:
    """The cheapest exact forward pass for a loss that reads certain positions.

    Args:
        model: The live model.
        config: Its config; a model that no fast path covers runs as it is.
        positions: The positions the loss reads.
        is_stacked: Whether it is to run under vmap.

    Returns:
        From inputs to logits `[batch, position, d_vocab_out]` at those positions.
    """
    if config.kind in ("mlp", "constructed"):
        return NeuronTables(model)  # such a model has a single position
    if positions == "all":
        return model
    if not _is_plain(config):
        return LastSlice(model)
    return LastPositionOfMany(model) if is_stacked else LastPosition(model)


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
        residual, products, values = (self._look_up if is_looked_up else self._compute)(inputs)
        pattern = torch.softmax(products / block.attn.attn_scale, dim=1)
        z = (pattern[..., None] * values).sum(1)
        attn = block.attn
        written = linear(z.flatten(1), attn.W_O.flatten(0, 1).T, attn.b_O)
        # Examples take the axis of positions: vmap then multiplies whole matrices.
        residual = (residual + written)[None]
        if not cfg.attn_only:
            residual = residual + block.mlp(block.ln2(residual))
        if cfg.normalization_type is not None:
            residual = model.ln_final(residual)
        return model.unembed(residual).transpose(0, 1)

    def _compute(self, inputs: Int[Tensor, "batch pos"]) -> tuple[Tensor, Tensor, Tensor]:
        """Residual stream of the last position, its query times all keys, and all values."""
        block = self.model.blocks[-1]
        residual = self.model(inputs, stop_at_layer=self.model.cfg.n_layers - 1)
        normalized = block.ln1(residual)
        query, keys, values = _projections(block.attn, normalized[:, -1], normalized)
        return residual[:, -1], (query[:, None] * keys).sum(-1), values

    def _look_up(self, inputs: Int[Tensor, "batch pos"]) -> tuple[Tensor, Tensor, Tensor]:
        """What `_compute` gives, for a model of one layer, from tables by token and position."""
        model, n_pos = self.model, inputs.shape[1]
        block = model.blocks[0]
        residual = model.embed.W_E[:, None] + model.pos_embed.W_pos[:n_pos]
        normalized = block.ln1(residual)
        query, *tables = _projections(block.attn, normalized[:, -1], normalized)
        last, pairs = inputs[:, -1], inputs * n_pos + torch.arange(n_pos, device=inputs.device)
        keys, values = (rearrange(table, "v n h d -> (v n) h d") for table in tables)
        products = self._products(query, keys, last, pairs)
        return _rows(last, residual[:, -1]), products, _rows(pairs, values)

    def _products(
        self,
        query: Float[Tensor, "token head d"],
        keys: Float[Tensor, "pair head d"],
        last: Int[Tensor, " batch"],
        pairs: Int[Tensor, "batch pos"],
    ) -> Float[Tensor, "batch pos head"]:
        """The last token's query times the key of each (token, position)."""
        return (_rows(last, query)[:, None] * _rows(pairs, keys)).sum(-1)


class LastPositionOfMany(LastPosition):
    """The same for stacks of models, in other rounding: products are looked up as well.

    There they cost more than the matrices: each passes over all examples of all models.
    """

    def _products(
        self,
        query: Float[Tensor, "token head d"],
        keys: Float[Tensor, "pair head d"],
        last: Int[Tensor, " batch"],
        pairs: Int[Tensor, "batch pos"],
    ) -> Float[Tensor, "batch pos head"]:
        """The last token's query times the key of each (token, position)."""
        if len(query) ** 2 > TABLE_ROWS * len(last):
            return super()._products(query, keys, last, pairs)
        table = einsum(query, keys, "token head d, pair head d -> token pair head")
        return embedding(last[:, None] * len(keys) + pairs, table.flatten(0, 1))


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
