"""The module behind kind "post_norm": imported only where one is built, since it is slow to import.

Names and hook points are HookedTransformer's. Of a block's residual stream,

    hook_resid_pre    what the block is given: normalised already, but before the first block
    hook_resid_mid    LN1(resid_pre + attn_out), what the MLP reads
    hook_resid_post   LN2(resid_mid + mlp_out), the next block's resid_pre and what W_U reads

`hook_embed` is the embedding times sqrt(d_model), so that it and `hook_pos_embed` add up to the
first resid_pre. Dropout, which evaluation mode has none of, comes after `hook_pattern`,
`hook_attn_out`, `mlp.hook_post` and `hook_mlp_out`. A residual stream that is normalised after each
addition is no sum of what parts write: `decompose_resid` and what builds on it are refused.
"""

import math
import warnings
from typing import Any, NoReturn

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear
from transformer_lens import ActivationCache, HookedTransformer, HookedTransformerConfig
from transformer_lens.components.attention import Attention
from transformer_lens.components.embed import Embed
from transformer_lens.components.mlps.mlp import MLP
from transformer_lens.components.pos_embed import PosEmbed
from transformer_lens.components.transformer_block import TransformerBlock

from hooks.models.base import Sizes
from hooks.models.post_norm import PostNormConfig

BASE = 10_000  # the sinusoid's largest wavelength over 2 pi


def refuse(*args: Any, **kwargs: Any) -> NoReturn:
    """Refuses what takes the residual stream for a sum.

    Raises:
        ValueError: Always.
    """
    raise ValueError(
        "this model normalises the residual stream after each addition, so that it is no sum of "
        "what parts write, and no layer norm can be folded: take a model of kind token for that"
    )


class PostNormCache(ActivationCache):
    """Activations by name, without what holds for a sum of parts only."""

    decompose_resid = refuse
    get_full_resid_decomposition = refuse
    apply_ln_to_stack = refuse
    logit_attrs = refuse


class ScaledEmbed(Embed):
    """The embedding times sqrt(d_model)."""

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        """Rows of W_E, scaled."""
        return super().forward(tokens) * math.sqrt(self.cfg.d_model)


class SinusoidalPositions(PosEmbed):
    """Positions as waves: no parameter, so neither trained nor kept in checkpoints."""

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__(cfg)
        del self.W_pos
        self.register_buffer("W_pos", sinusoid(cfg.n_ctx, cfg.d_model).to(cfg.dtype), False)


class BiaslessAttention(Attention):
    """Attention whose biases are zeros and no parameters, with dropout on its weights."""

    def __init__(self, cfg: HookedTransformerConfig, layer: int, dropout: float) -> None:
        super().__init__(cfg, "global", layer)
        for name in ("b_Q", "b_K", "b_V", "b_O"):
            zeros = getattr(self, name).detach()
            delattr(self, name)
            self.register_buffer(name, zeros, persistent=False)
        # A NumPy scalar here breaks torch.compile and vmap together.
        self.attn_scale = float(self.attn_scale)
        self.dropout = dropping(dropout)

    def calculate_z_scores(self, v: Tensor, pattern: Tensor) -> Tensor:
        """Values weighted by what dropout leaves of the attention weights."""
        return super().calculate_z_scores(v, self.dropout(pattern))


class DroppingMLP(MLP):
    """An MLP with ReLU, and dropout on its neurons."""

    def __init__(self, cfg: HookedTransformerConfig, dropout: float) -> None:
        super().__init__(cfg)
        self.dropout = dropping(dropout)

    def forward(self, x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """What the neurons write."""
        pre = self.hook_pre(linear(x, self.W_in.T, self.b_in))
        post = self.hook_post(torch.relu(pre))
        return linear(self.dropout(post), self.W_out.T, self.b_out)


class PostNormBlock(TransformerBlock):
    """A block that normalises after each residual addition."""

    def __init__(self, cfg: HookedTransformerConfig, layer: int, dropout: float) -> None:
        super().__init__(cfg, layer)
        self.attn = BiaslessAttention(cfg, layer, dropout)
        self.mlp = DroppingMLP(cfg, dropout)
        self.dropout = dropping(dropout)

    def forward(
        self,
        resid_pre: Float[Tensor, "batch pos d_model"],
        shortformer_pos_embed: Tensor | None = None,
        past_kv_cache_entry: Any = None,
        attention_mask: Any = None,
    ) -> Float[Tensor, "batch pos d_model"]:
        """The residual stream after the block; arguments as TransformerBlock has them."""
        resid_pre = self.hook_resid_pre(resid_pre)
        attn_out = self.hook_attn_out(
            self.attn(
                resid_pre, resid_pre, resid_pre,
                past_kv_cache_entry=past_kv_cache_entry, attention_mask=attention_mask,
            )
        )  # fmt: skip
        resid_mid = self.hook_resid_mid(self.ln1(resid_pre + self.dropout(attn_out)))
        mlp_out = self.hook_mlp_out(self.mlp(resid_mid))
        return self.hook_resid_post(self.ln2(resid_mid + self.dropout(mlp_out)))


class HookedPostNorm(HookedTransformer):
    """A HookedTransformer of such blocks, without a layer norm at the end."""

    fold_layer_norm = refuse
    load_and_process_state_dict = refuse

    def __init__(self, config: PostNormConfig, sizes: Sizes, dtype: torch.dtype) -> None:
        cfg = _transformer_lens_config(config, sizes, dtype)
        with warnings.catch_warnings():
            # HookedTransformer is what this toolkit trains; it is pinned below its removal in 4.0.
            warnings.simplefilter("ignore", DeprecationWarning)
            super().__init__(cfg)
        self.cfg: Any = cfg
        cfg.config = config  # pyright: ignore[reportAttributeAccessIssue]  # read by config_of
        self.embed = ScaledEmbed(cfg)
        self.pos_embed = SinusoidalPositions(cfg)
        self.dropout = dropping(config.dropout)
        blocks = [PostNormBlock(cfg, layer, config.dropout) for layer in range(cfg.n_layers)]
        self.blocks: Any = nn.ModuleList(blocks)
        self.ln_final = nn.Identity()
        self._initialise()
        self.setup()

    def input_to_embed(self, *args: Any, **kwargs: Any) -> Any:
        """Embedding and position with dropout, then what HookedTransformer gives beside them."""
        residual, *others = super().input_to_embed(*args, **kwargs)
        return self.dropout(residual), *others

    def run_with_cache(self, *args: Any, **kwargs: Any) -> Any:
        """As HookedTransformer's; the cache refuses to decompose the residual stream."""
        output, cache = super().run_with_cache(*args, **kwargs)
        if isinstance(cache, ActivationCache):
            cache = PostNormCache(cache.cache_dict, self, has_batch_dim=cache.has_batch_dim)
        return output, cache

    @torch.no_grad()
    def _initialise(self) -> None:
        """Xavier-uniform matrices, each head's W_Q, W_K, W_V and W_O as a slice of one matrix.

        W_in has gain sqrt 2. The biases of MLPs and of the unembedding are uniform within
        1 / sqrt(fan_in), torch's default, which the released code leaves them at.
        """
        d_model, d_mlp, width = self.cfg.d_model, self.cfg.d_mlp, self.cfg.n_heads * self.cfg.d_head
        _xavier(self.embed.W_E, *self.embed.W_E.shape)
        _xavier(self.unembed.W_U, *self.unembed.W_U.shape)
        _within(self.unembed.b_U, 1 / math.sqrt(d_model))
        for block in self.blocks:
            for matrix in (block.attn.W_Q, block.attn.W_K, block.attn.W_V, block.attn.W_O):
                _xavier(matrix, d_model, width)
            _xavier(block.mlp.W_in, d_model, d_mlp, gain=math.sqrt(2))
            _xavier(block.mlp.W_out, d_mlp, d_model)
            _within(block.mlp.b_in, 1 / math.sqrt(d_model))
            _within(block.mlp.b_out, 1 / math.sqrt(d_mlp))


def sinusoid(n_ctx: int, d_model: int) -> Float[Tensor, "n_ctx d_model"]:
    """Sines at even and cosines at odd components, in float64.

    Components 2 i and 2 i + 1 of position t are sin and cos of t / 10000^(2 i / d_model).
    """
    frequencies = BASE ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    angles = torch.arange(n_ctx, dtype=torch.float64)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def dropping(probability: float) -> nn.Module:
    """Dropout, or nothing at all: vmap would take a dropout of 0 for randomness."""
    return nn.Dropout(probability) if probability else nn.Identity()


def _transformer_lens_config(
    config: PostNormConfig, sizes: Sizes, dtype: torch.dtype
) -> HookedTransformerConfig:
    return HookedTransformerConfig(
        n_layers=config.n_layers,
        d_model=config.d_model,
        n_heads=config.n_heads,
        d_head=config.head_size,
        d_mlp=config.mlp_size,
        act_fn="relu",
        normalization_type="LN",
        **sizes.model_dump(exclude={"d_in"}),
        dtype=dtype,
        device="cpu",
        init_weights=False,
        seed=None,  # a seed here would reseed torch, NumPy and Python for the whole process
    )


def _xavier(matrix: Tensor, fan_in: int, fan_out: int, *, gain: float = 1.0) -> None:
    _within(matrix, gain * math.sqrt(6 / (fan_in + fan_out)))


def _within(weights: Tensor, bound: float) -> None:
    nn.init.uniform_(weights, -bound, bound)
