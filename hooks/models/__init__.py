"""One file a kind of model, each with its frozen config, its builder and its weight views."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from hooks.models.base import HookedModel, Sizes, move, parameters_of
from hooks.models.token import VIEWS as TOKEN_VIEWS
from hooks.models.token import TokenConfig, build_token, token_config_of

ModelConfig = TokenConfig  # becomes a union, discriminated by `kind`, with the second kind

BUILDERS: dict[str, Callable[[Any, Sizes, torch.dtype], HookedModel]] = {"token": build_token}
VIEWS: dict[str, Mapping[str, Callable[[Any, Mapping[str, Tensor]], Tensor]]] = {
    "token": TOKEN_VIEWS
}

__all__ = [
    "HookedModel",
    "ModelConfig",
    "Sizes",
    "build",
    "config_of",
    "move",
    "parameters_of",
    "restore",
]


def build(
    config: ModelConfig,
    sizes: Sizes,
    *,
    seed: int,
    dtype: Literal["float32", "float64"] = "float32",
) -> HookedModel:
    """A freshly initialised model on the CPU.

    The same seed gives the same weights, and the process' own random state is left as it was.

    Args:
        config: Kind and shape of the model.
        sizes: What the task decides: vocabulary, classes, positions.
        seed: Seed of the initial weights.
        dtype: Type of the parameters.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return BUILDERS[config.kind](config, sizes, getattr(torch, dtype))


def restore(config: ModelConfig, sizes: Sizes, parameters: Mapping[str, Tensor]) -> HookedModel:
    """A model that holds a copy of the given parameters, in their dtype.

    Raises:
        ValueError: A parameter is missing, unknown or of another shape than the config's.
    """
    dtype = str(next(iter(parameters.values())).dtype).removeprefix("torch.")
    model = build(config, sizes, seed=0, dtype=dtype)  # pyright: ignore[reportArgumentType]  # checkpoints hold float32 or float64
    own = dict(model.named_parameters())
    for name in sorted(own.keys() | parameters.keys()):
        wanted = tuple(own[name].shape) if name in own else None
        came = tuple(parameters[name].shape) if name in parameters else None
        if wanted != came:
            raise ValueError(
                f"parameter {name}: the config wants {_shape(wanted)}, the checkpoint has "
                f"{_shape(came)}; is this the checkpoint of another experiment?"
            )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(parameters[name])
    return model


def config_of(model: HookedModel) -> ModelConfig:
    """The config of a live model that came without one (a HookedTransformer from a notebook)."""
    return token_config_of(model.cfg)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else f"shape {list(shape)}"
