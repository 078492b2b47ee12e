"""A block: attention and neurons that read the residual stream and write to it.

With layer norm before each part (pre-norm, the usual way), after each addition (post-norm), or with
the MLP reading the stream before attention has written to it (parallel):

    pre        mid = x + attn(ln1(x))      post = mid + mlp(ln2(mid))
    post       mid = ln1(x + attn(x))      post = ln2(mid + mlp(mid))
    parallel   post = x + attn(ln1(x)) + mlp(ln2(x))

Where queries, keys and values are made of one stream, it is normalised once, and hooks of ln1 fire
once. TransformerLens normalises it three times, so that a gradient at `ln1.hook_normalized` is
there that of one of the three.
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from hooks.hook_points import HookPoint
from hooks.transformer.attention import Attention, GroupedAttention
from hooks.transformer.config import HookedTransformerConfig
from hooks.transformer.dropout import dropping
from hooks.transformer.mlp import MLP, GatedMLP
from hooks.transformer.norms import NORMS

Residual = Float[Tensor, "batch pos d_model"]


class Block(nn.Module):
    """A pre-norm block."""

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.ln1 = NORMS[cfg.normalization_type](cfg)
        if not cfg.attn_only:
            self.ln2 = NORMS[cfg.normalization_type](cfg)
        self.attn = (Attention if cfg.n_key_value_heads is None else GroupedAttention)(cfg)
        if not cfg.attn_only:
            self.mlp = (GatedMLP if cfg.gated_mlp else MLP)(cfg)
        self.dropout = dropping(cfg.dropout)
        self.hook_attn_in = HookPoint()
        self.hook_q_input, self.hook_k_input = HookPoint(), HookPoint()
        self.hook_v_input, self.hook_mlp_in = HookPoint(), HookPoint()
        self.hook_attn_out, self.hook_mlp_out = HookPoint(), HookPoint()
        self.hook_resid_pre = HookPoint()
        if not cfg.attn_only and not cfg.parallel_attn_mlp:
            self.hook_resid_mid = HookPoint()
        self.hook_resid_post = HookPoint()

    def forward(
        self, resid_pre: Residual, beside: Residual | None = None, **options: Any
    ) -> Residual:
        """The residual stream after the block.

        Args:
            resid_pre: The stream before it.
            beside: What queries and keys read besides (shortformer's positions).
            options: What attention takes: `hidden`, `places` and `past`.
        """
        resid_pre = self.hook_resid_pre(resid_pre)
        attn_out = self._attended(resid_pre, beside, options)
        resid_mid = self.hook_resid_mid(resid_pre + self.dropout(attn_out))
        mlp_out = self.hook_mlp_out(self.mlp(self.ln2(self._mlp_in(resid_mid))))
        return self.hook_resid_post(resid_mid + self.dropout(mlp_out))

    def _attended(
        self, resid_pre: Residual, beside: Residual | None, options: dict[str, Any]
    ) -> Residual:
        """What attention writes, which reads the normalised stream."""
        inputs = self._attention_inputs(resid_pre)
        q, k, v = [self.ln1(inputs[0])] * 3 if len(inputs) == 1 else map(self.ln1, inputs)
        if beside is not None:
            beside = beside.unsqueeze(-2) if q.ndim == 4 else beside
            q, k = q + beside, k + beside
        return self.hook_attn_out(self.attn(q, k, v, **options))

    def _attention_inputs(self, resid_pre: Residual) -> list[Tensor]:
        """The stream that queries, keys and values are made of, or a copy for each head of each."""
        n_heads, n_shared = self.cfg.n_heads, self.cfg.n_key_value_heads or self.cfg.n_heads
        inputs = [resid_pre]
        if self.cfg.use_attn_in:
            inputs = [self.hook_attn_in(_by_head(resid_pre, n_heads))]
        if self.cfg.use_split_qkv_input:
            inputs = [
                self.hook_q_input(_by_head(resid_pre, n_heads)),
                self.hook_k_input(_by_head(resid_pre, n_shared)),
                self.hook_v_input(_by_head(resid_pre, n_shared)),
            ]
        return inputs

    def _mlp_in(self, residual: Residual) -> Residual:
        return self.hook_mlp_in(residual.clone()) if self.cfg.use_hook_mlp_in else residual


class AttentionBlock(Block):
    """A pre-norm block without neurons."""

    def forward(
        self, resid_pre: Residual, beside: Residual | None = None, **options: Any
    ) -> Residual:
        """The residual stream after the block; arguments as `Block`'s."""
        resid_pre = self.hook_resid_pre(resid_pre)
        attn_out = self._attended(resid_pre, beside, options)
        return self.hook_resid_post(resid_pre + self.dropout(attn_out))


class ParallelBlock(Block):
    """A block whose two parts read the same stream."""

    def forward(
        self, resid_pre: Residual, beside: Residual | None = None, **options: Any
    ) -> Residual:
        """The residual stream after the block; arguments as `Block`'s."""
        resid_pre = self.hook_resid_pre(resid_pre)
        attn_out = self._attended(resid_pre, beside, options)
        mlp_out = self.hook_mlp_out(self.mlp(self.ln2(self._mlp_in(resid_pre))))
        return self.hook_resid_post(resid_pre + self.dropout(attn_out) + self.dropout(mlp_out))


class PostNormBlock(Block):
    """A block that normalises the stream after each addition."""

    def forward(
        self, resid_pre: Residual, beside: Residual | None = None, **options: Any
    ) -> Residual:
        """The residual stream after the block; arguments as `Block`'s."""
        resid_pre = self.hook_resid_pre(resid_pre)
        attn_out = self.hook_attn_out(self.attn(*[resid_pre] * 3, **options))
        resid_mid = self.hook_resid_mid(self.ln1(resid_pre + self.dropout(attn_out)))
        mlp_out = self.hook_mlp_out(self.mlp(self._mlp_in(resid_mid)))
        return self.hook_resid_post(self.ln2(resid_mid + self.dropout(mlp_out)))


def block_class(cfg: HookedTransformerConfig) -> type[Block]:
    """The kind of block that a config asks for."""
    if cfg.norm_position == "post":
        return PostNormBlock
    if cfg.attn_only:
        return AttentionBlock
    return ParallelBlock if cfg.parallel_attn_mlp else Block


def _by_head(residual: Residual, n_heads: int) -> Float[Tensor, "batch pos head d_model"]:
    return residual.unsqueeze(2).repeat(1, 1, n_heads, 1)
