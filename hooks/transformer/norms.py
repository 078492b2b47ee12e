"""Layer norm and RMS norm, with their hook points.

    normalized = (x - mean(x)) / scale      scale = sqrt(mean((x - mean(x))^2) + eps)

RMS norm leaves the mean in. `hook_scale` sees the scale and `hook_normalized` the quotient, before
learned weights. While training, where neither has a function on it, torch's fused operation is
used; in evaluation mode all is written out, so that a run is bit for bit the same whoever looks.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import layer_norm, rms_norm

from hooks.hook_points import HookPoint
from hooks.transformer.config import HookedTransformerConfig


class LayerNorm(nn.Module):
    """Layer norm over the last axis, of which the weights may be left out."""

    w: Tensor | None
    b: Tensor | None

    def __init__(self, cfg: HookedTransformerConfig, is_learned: bool = True) -> None:
        super().__init__()
        self.shape, self.eps = (cfg.d_model,), cfg.eps
        self.register_parameter("w", _filled(cfg, 1.0) if is_learned else None)
        self.register_parameter("b", _filled(cfg, 0.0) if is_learned else None)
        self.hook_scale, self.hook_normalized = HookPoint(), HookPoint()

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The normalised stream, times its weights where there are any."""
        if self.training and not (self.hook_scale.is_hooked or self.hook_normalized.is_hooked):
            return self._fused(x)
        x = self._centred(x)
        scale = self.hook_scale((x.square().mean(-1, keepdim=True) + self.eps).sqrt())
        normalized = self.hook_normalized(x / scale)
        if self.w is not None:
            normalized = normalized * self.w
        return normalized if self.b is None else normalized + self.b

    def _centred(self, x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True)

    def _fused(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.shape, self.w, self.b, self.eps)


class RMSNorm(LayerNorm):
    """The same without the mean taken off, and without a bias."""

    def __init__(self, cfg: HookedTransformerConfig, is_learned: bool = True) -> None:
        super().__init__(cfg, is_learned)
        self.register_parameter("b", None)

    def _centred(self, x: Tensor) -> Tensor:
        return x

    def _fused(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.shape, self.w, self.eps)


NORMS: dict[str | None, Callable[[HookedTransformerConfig], nn.Module]] = {
    "LN": LayerNorm,
    "LNPre": lambda cfg: LayerNorm(cfg, is_learned=False),
    "RMS": RMSNorm,
    "RMSPre": lambda cfg: RMSNorm(cfg, is_learned=False),
    None: lambda cfg: nn.Identity(),
}


def _filled(cfg: HookedTransformerConfig, value: float) -> nn.Parameter:
    return nn.Parameter(torch.full((cfg.d_model,), value, dtype=cfg.dtype))
