"""What tells positions apart: learned vectors, fixed waves, or queries and keys that turn.

`places` says which rows of a table belong to the positions of a pass: a slice where all examples
have the same ones, or numbers `[batch, pos]` where padding moves them.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hooks.transformer.config import HookedTransformerConfig

WAVE_BASE = 10_000  # the sinusoid's largest wavelength over 2 pi
Places = slice | Int[Tensor, "batch pos"]


class LearnedPositions(nn.Module):
    """A vector for each position, learned."""

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.W_pos: Tensor = nn.Parameter(torch.empty(cfg.n_ctx, cfg.d_model, dtype=cfg.dtype))

    def forward(self, places: Places) -> Float[Tensor, "*batch pos d_model"]:
        """The vectors of some positions."""
        return self.W_pos[places]


class SinusoidalPositions(LearnedPositions):
    """Positions as waves: no parameter, so neither trained nor kept in checkpoints."""

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__(cfg)
        del self.W_pos
        waves = sinusoid(cfg.n_ctx, cfg.d_model).to(cfg.dtype)
        self.register_buffer("W_pos", waves, persistent=False)


class Rotation(nn.Module):
    """Turns pairs of components of queries and keys by angles that grow with the position.

    Source:
        Su et al. 2021 (arXiv:2104.09864), section 3.2.2, whose pairs are adjacent components;
        GPT-NeoX pairs i with i + rotary_dim / 2.
    """

    sin: Tensor
    cos: Tensor

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.width = cfg.rotary_dim or cfg.d_head
        self.is_adjacent = cfg.rotary_adjacent_pairs
        half = self.width // 2
        # As transformer-lens rounds them: float32 throughout unless the model is float64.
        precision = torch.float64 if cfg.dtype == torch.float64 else torch.float32
        wavelengths = cfg.rotary_base ** (torch.arange(half, dtype=precision) / half)
        angles = torch.arange(cfg.n_ctx, dtype=precision)[:, None] / wavelengths
        repeats = (angles.repeat_interleave(2, 1)) if self.is_adjacent else angles.repeat(1, 2)
        self.register_buffer("sin", repeats.sin().to(cfg.dtype), persistent=False)
        self.register_buffer("cos", repeats.cos().to(cfg.dtype), persistent=False)

    def forward(
        self, x: Float[Tensor, "batch pos head d_head"], places: Places
    ) -> Float[Tensor, "batch pos head d_head"]:
        """Queries or keys, turned; components beyond `rotary_dim` stay."""
        turned, rest = x[..., : self.width], x[..., self.width :]
        if self.is_adjacent:
            quarter = torch.stack([-turned[..., 1::2], turned[..., ::2]], dim=-1).flatten(-2)
        else:
            first, second = turned.chunk(2, dim=-1)
            quarter = torch.cat([-second, first], dim=-1)
        cos, sin = self.cos[places].unsqueeze(-2), self.sin[places].unsqueeze(-2)
        return torch.cat([turned * cos + quarter * sin, rest], dim=-1)


def sinusoid(n_ctx: int, d_model: int) -> Float[Tensor, "n_ctx d_model"]:
    """Sines at even and cosines at odd components, in float64.

    Components 2 i and 2 i + 1 of position t are sin and cos of t / 10000^(2 i / d_model).
    """
    frequencies = WAVE_BASE ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    angles = torch.arange(n_ctx, dtype=torch.float64)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def places_of(n_pos: int, offset: int, attention_mask: Int[Tensor, "batch pos"] | None) -> Places:
    """Rows of the table of positions; padding counts for none.

    Args:
        n_pos: Positions of this pass.
        offset: Positions that were read before.
        attention_mask: 1 where a token is real, if there is padding.
    """
    if attention_mask is None:
        return slice(offset, offset + n_pos)
    return (attention_mask.cumsum(1) - 1).clamp(min=0)
