"""Multi-head attention with its hook points.

    scores = q k^T / attn_scale   pattern = softmax(scores)   z = pattern v   out = z W_O + b_O

While training, where no function is on a point inside, queries, keys and values of all heads are
one product, and scores and pattern are never laid out. In evaluation mode all is written out,
hooked or not, so that a run is bit for bit the same whoever looks at it.
"""

import math

import torch
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from hooks.hook_points import HookPoint
from hooks.transformer.config import HookedTransformerConfig
from hooks.transformer.dropout import dropping
from hooks.transformer.past_keys import PastKeys
from hooks.transformer.positions import Places, Rotation

Queries = Float[Tensor, "batch query head d_head"]
Keys = Float[Tensor, "batch key _ d_head"]  # of shared heads there are fewer
Stream = Float[Tensor, "batch pos *_ d_model"]  # or a copy of it for each head
Hidden = Bool[Tensor, "query key"] | Bool[Tensor, "batch 1 query key"] | None


class Attention(nn.Module):
    """A block's heads."""

    W_K: Tensor
    W_V: Tensor
    b_Q: Tensor
    b_K: Tensor
    b_V: Tensor
    b_O: Tensor
    PREFIX = ""  # of the names of key and value parameters

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.attn_scale = math.sqrt(cfg.d_head) if cfg.attn_scale is None else cfg.attn_scale
        n_shared = cfg.n_key_value_heads or cfg.n_heads
        self.W_Q: Tensor = _weights(cfg, cfg.n_heads, cfg.d_model, cfg.d_head)
        self.W_O: Tensor = _weights(cfg, cfg.n_heads, cfg.d_head, cfg.d_model)
        self._add_bias("b_Q", cfg.n_heads, cfg.d_head)
        self._add_bias("b_O", cfg.d_model)
        for name in ("W_K", "W_V"):
            weights = _weights(cfg, n_shared, cfg.d_model, cfg.d_head)
            self.register_parameter(self.PREFIX + name, weights)
        for name in ("b_K", "b_V"):
            self._add_bias(self.PREFIX + name, n_shared, cfg.d_head)
        self.hook_k, self.hook_q, self.hook_v = HookPoint(), HookPoint(), HookPoint()
        self.hook_z, self.hook_attn_scores = HookPoint(), HookPoint()
        self.hook_pattern, self.hook_result = HookPoint(), HookPoint()
        self.rotation: Rotation | None = None
        if cfg.positional_embedding_type == "rotary":
            self.hook_rot_k, self.hook_rot_q = HookPoint(), HookPoint()
            self.rotation = Rotation(cfg)
        self.dropout = dropping(cfg.dropout)

    def forward(
        self,
        query_input: Stream,
        key_input: Stream,
        value_input: Stream,
        *,
        hidden: Hidden = None,
        places: Places = slice(None),
        past: PastKeys | None = None,
    ) -> Float[Tensor, "batch pos d_model"]:
        """What the heads write together.

        Args:
            query_input: What queries are made of: the stream, or a copy of it for each head.
            key_input: What keys are made of.
            value_input: What values are made of.
            hidden: True where a query does not see a key; None where it sees all.
            places: Which positions these are, for queries and keys that turn.
            past: Keys and values of the positions before.
        """
        q, k, v = self._projected(query_input, key_input, value_input)
        if self.rotation is not None:
            q = self.hook_rot_q(self.rotation(q, places))
            k = self.hook_rot_k(self.rotation(k, places))
        if past is not None:
            k, v = past.append(k, v)
        z = self.hook_z(self._mixed(q, self._spread(k), self._spread(v), hidden))
        if self.cfg.use_attn_result:
            result = einsum(z, self.W_O, "b pos head h, head h d -> b pos head d")
            return self.hook_result(result).sum(2) + self.b_O
        return linear(z.flatten(2), self.W_O.flatten(0, 1).T, self.b_O)

    def _projected(
        self, query_input: Stream, key_input: Stream, value_input: Stream
    ) -> tuple[Queries, Keys, Keys]:
        """Queries, keys and values; one product where all are made of one stream."""
        weights = [self.W_Q, *self._key_value_weights()]
        biases = [self.b_Q, *self._key_value_biases()]
        inputs = [query_input, key_input, value_input]
        points = [self.hook_q, self.hook_k, self.hook_v]
        is_one = query_input is key_input is value_input and query_input.ndim == 3
        if is_one and self.training and not any(point.is_hooked for point in points):
            joined = linear(query_input, _flat(*weights), torch.cat(biases).flatten())
            heads = joined.unflatten(-1, (-1, self.cfg.d_head))
            q, k, v = heads.split([len(bias) for bias in biases], dim=2)
            return q, k, v
        q, k, v = (
            point(of_heads(x, weight, bias))
            for point, x, weight, bias in zip(points, inputs, weights, biases, strict=True)
        )
        return q, k, v

    def _mixed(self, q: Queries, k: Keys, v: Keys, hidden: Hidden) -> Queries:
        """Values weighted by how much each position attends to theirs."""
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if self._is_fused(q, hidden):
            visible = None if hidden is None else ~hidden
            scale = 1 / self.attn_scale
            z = scaled_dot_product_attention(q, k, v, attn_mask=visible, scale=scale)
            return z.transpose(1, 2)
        scores = q @ k.transpose(-1, -2) / self.attn_scale
        if hidden is not None:
            scores = scores.masked_fill(hidden, -torch.inf)
        scores = self.hook_attn_scores(scores)
        pattern = torch.softmax(scores, dim=-1)
        if self.hook_attn_scores.is_hooked or (hidden is not None and hidden.ndim == 4):
            # A query that is padding, or from which a hook hides all keys, has no pattern.
            pattern = pattern.masked_fill((scores == -torch.inf).all(-1, keepdim=True), 0.0)
        if self.cfg.pattern_coeff != 1:
            pattern = self.cfg.pattern_coeff * pattern + (1 - self.cfg.pattern_coeff)
            pattern = pattern.masked_fill(scores == -torch.inf, 0.0)
        return (self.dropout(self.hook_pattern(pattern)) @ v).transpose(1, 2)

    def _is_fused(self, q: Tensor, hidden: Hidden) -> bool:
        """Whether torch's fused attention gives what is wanted.

        On a GPU its backward pass adds up in another order each time, so that a seed would no
        longer decide a training.
        """
        return (
            self.training
            and q.device.type == "cpu"
            and not (self.hook_attn_scores.is_hooked or self.hook_pattern.is_hooked)
            and self.cfg.pattern_coeff == 1
            and not (self.cfg.dropout and self.dropout.training)
            and (hidden is None or hidden.ndim == 2)
        )

    def _key_value_weights(self) -> tuple[Tensor, Tensor]:
        return self.W_K, self.W_V

    def _key_value_biases(self) -> tuple[Tensor, Tensor]:
        return self.b_K, self.b_V

    def _spread(self, shared: Keys) -> Keys:
        """Keys or values by head."""
        return shared

    def _add_bias(self, name: str, *shape: int) -> None:
        """A bias of zeros, which is no parameter where attention has none."""
        zeros = torch.zeros(shape, dtype=self.cfg.dtype)
        if self.cfg.attention_biases:
            self.register_parameter(name, nn.Parameter(zeros))
        else:
            self.register_buffer(name, zeros, persistent=False)


class GroupedAttention(Attention):
    """Heads of which several share keys and values.

    As in TransformerLens, the parameters are called `_W_K`, `_W_V`, `_b_K` and `_b_V`, hook_k and
    hook_v see what is shared, and `W_K`, ... repeat the weights for each head.

    Source:
        Ainslie et al. 2023 (arXiv:2305.13245), section 2.2.
    """

    PREFIX = "_"
    _W_K: Tensor
    _W_V: Tensor
    _b_K: Tensor
    _b_V: Tensor

    @property
    def repeats(self) -> int:
        """Heads that share keys and values."""
        return self.cfg.n_heads // len(self._W_K)

    @property
    def W_K(self) -> Float[Tensor, "head d_model d_head"]:  # pyright: ignore[reportIncompatibleVariableOverride]  # repeats a parameter
        """Key weights by head."""
        return self._W_K.repeat_interleave(self.repeats, dim=0)

    @property
    def W_V(self) -> Float[Tensor, "head d_model d_head"]:  # pyright: ignore[reportIncompatibleVariableOverride]  # repeats a parameter
        """Value weights by head."""
        return self._W_V.repeat_interleave(self.repeats, dim=0)

    @property
    def b_K(self) -> Float[Tensor, "head d_head"]:  # pyright: ignore[reportIncompatibleVariableOverride]  # repeats a parameter
        """Key biases by head."""
        return self._b_K.repeat_interleave(self.repeats, dim=0)

    @property
    def b_V(self) -> Float[Tensor, "head d_head"]:  # pyright: ignore[reportIncompatibleVariableOverride]  # repeats a parameter
        """Value biases by head."""
        return self._b_V.repeat_interleave(self.repeats, dim=0)

    def _key_value_weights(self) -> tuple[Tensor, Tensor]:
        return self._W_K, self._W_V

    def _key_value_biases(self) -> tuple[Tensor, Tensor]:
        return self._b_K, self._b_V

    def _spread(self, shared: Keys) -> Keys:
        return shared.repeat_interleave(self.repeats, dim=2)


def of_heads(
    x: Float[Tensor, "*row d_model"],
    weight: Float[Tensor, "head d_model d_head"],
    bias: Float[Tensor, "head d_head"],
) -> Float[Tensor, "*_ head d_head"]:
    """X W + b for each head; x may be a copy for each head, `[batch, pos, head, d_model]`."""
    if x.ndim == 4:
        return einsum(x, weight, "b pos head d, head d h -> b pos head h") + bias
    return linear(x, _flat(weight), bias.flatten()).unflatten(-1, bias.shape)


def _flat(*weights: Float[Tensor, "_ d_model d_head"]) -> Float[Tensor, "row d_model"]:
    """Weights of all heads as one matrix, laid out once."""
    return torch.cat([weight.transpose(1, 2) for weight in weights]).flatten(0, 1)


def _weights(cfg: HookedTransformerConfig, *shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape, dtype=cfg.dtype))
