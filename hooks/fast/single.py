"""Forward passes for training that leave out what the loss never reads, and fuse what it does.

Where the loss of a transformer reads the last position only, the last block needs no queries,
attention output, MLP or unembedding anywhere else. If that block is also the first, its keys and
values depend on token and position alone: they are computed once for each such pair and looked up.
Where the loss reads every position, layer norm, tanh GELU and the three projections of all heads
are one operation each; TransformerLens writes them out to give every intermediate a hook point,
which on models as small as these is most of an update's time. A single hidden layer on tokens runs
through products of its matrices, made once a batch instead of once an example.

All are exact. TransformerLens' attention refuses fewer queries than keys, so the last block's
attention is written out here; all else is the model's own modules. No hook point of what is
replaced fires: this is for training, never for analysis.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu, layer_norm, linear, silu

from hooks.models import HookedModel, ModelConfig
from hooks.models.mlp import look_up, neurons_read
from hooks.models.token import TokenConfig

TANH_GELU = partial(gelu, approximate="tanh")
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "gelu": gelu,
    "silu": silu,
    "gelu_new": TANH_GELU,
    "gelu_fast": TANH_GELU,
}
Positions = Literal["last", "all"]


class FastPass(nn.Module):
    """A forward pass that reads a model's parameters, and leaves the model as it is."""

    def __init__(self, model: HookedModel) -> None:
        super().__init__()
        self.model: Any = model


class EveryPosition(FastPass):
    """A HookedTransformer's logits, equal to its own in value and gradient up to rounding."""

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
                post = ACTIVATIONS[model.cfg.act_fn](linear(read, block.mlp.W_in.T, block.mlp.b_in))
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
    is_standard = getattr(config, "positional_embedding_type", "") == "standard"
    if positions == "all":
        return EveryPosition(model) if isinstance(config, TokenConfig) and is_standard else model
    return LastPosition(model) if config.kind == "token" and is_standard else LastSlice(model)


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
        written = einsum(z, block.attn.W_O, "batch head h, head h d -> batch d") + block.attn.b_O
        residual = (residual + written)[:, None]
        if not cfg.attn_only:
            residual = residual + block.mlp(block.ln2(residual))
        if cfg.normalization_type is not None:
            residual = model.ln_final(residual)
        return model.unembed(residual)

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
    query = einsum(last, attn.W_Q, "row d, head d h -> row head h") + attn.b_Q
    keys = einsum(normalized, attn.W_K, "row pos d, head d h -> row pos head h") + attn.b_K
    values = einsum(normalized, attn.W_V, "row pos d, head d h -> row pos head h") + attn.b_V
    return query, keys, values


def _rows(indices: Int[Tensor, "..."], table: Tensor) -> Tensor:
    """Rows of a table; embedding's backward pass is far cheaper than plain indexing's."""
    return embedding(indices, table.flatten(1)).unflatten(-1, table.shape[1:])
