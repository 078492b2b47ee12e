"""One file a kind of model, each with its frozen config, its builder and its weight views.

`ModelConfig` is any of the configs; a table says which by its `kind`, `token` where it names none.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator
from torch import Tensor

from hooks.models.base import HookedModel, Sizes, move, parameters_of
from hooks.models.constructed import VIEWS as CONSTRUCTED_VIEWS
from hooks.models.constructed import ConstructedConfig, build_constructed
from hooks.models.mlp import VIEWS as MLP_VIEWS
from hooks.models.mlp import MLPConfig, build_mlp
from hooks.models.neox import VIEWS as NEOX_VIEWS
from hooks.models.neox import NeoXConfig, build_neox
from hooks.models.post_norm import VIEWS as POST_NORM_VIEWS
from hooks.models.post_norm import PostNormConfig, build_post_norm
from hooks.models.read_in import VIEWS as READ_IN_VIEWS
from hooks.models.read_in import ReadInConfig, build_read_in
from hooks.models.states import check_state
from hooks.models.token import VIEWS as TOKEN_VIEWS
from hooks.models.token import TokenConfig, build_token, token_config_of

CONFIGS: dict[
    str,
    type[TokenConfig]
    | type[MLPConfig]
    | type[ConstructedConfig]
    | type[PostNormConfig]
    | type[NeoXConfig],
] = {
    "token": TokenConfig,
    "mlp": MLPConfig,
    "constructed": ConstructedConfig,
    "post_norm": PostNormConfig,
    "read_in": ReadInConfig,
    "neox": NeoXConfig,
}
BUILDERS: dict[str, Callable[[Any, Sizes, torch.dtype], HookedModel]] = {
    "token": build_token,
    "mlp": build_mlp,
    "constructed": build_constructed,
    "post_norm": build_post_norm,
    "read_in": build_read_in,
    "neox": build_neox,
}
VIEWS: dict[str, Mapping[str, Callable[[Any, Mapping[str, Tensor]], Tensor]]] = {
    "token": TOKEN_VIEWS,
    "mlp": MLP_VIEWS,
    "constructed": CONSTRUCTED_VIEWS,
    "post_norm": POST_NORM_VIEWS,
    "read_in": READ_IN_VIEWS,
    "neox": NEOX_VIEWS,
}


def _of_its_kind(value: Any) -> Any:
    """A table as the config of its `kind`, token where it names none."""
    if not isinstance(value, dict):
        return value
    kind = value.get("kind", "token")
    if not (isinstance(kind, str) and kind in CONFIGS):
        raise ValueError(f"no kind '{kind}'; there are {', '.join(CONFIGS)}")
    return CONFIGS[kind].model_validate(value)


ModelConfig = Annotated[
    TokenConfig | MLPConfig | ConstructedConfig | PostNormConfig | ReadInConfig | NeoXConfig,
    BeforeValidator(_of_its_kind),
]

__all__ = [
    "CONFIGS",
    "ConstructedConfig",
    "HookedModel",
    "MLPConfig",
    "ModelConfig",
    "NeoXConfig",
    "PostNormConfig",
    "ReadInConfig",
    "Sizes",
    "TokenConfig",
    "agreed_config",
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
    """A model that holds a copy of the given parameters, in float64 where one of them is.

    Raises:
        TypeError: A parameter is no tensor.
        ValueError: A parameter is missing, unknown or of another shape than the config's, has a
            wrapper's name, or holds no float32 or float64 numbers.
    """
    check_state(parameters)
    is_double = any(value.dtype == torch.float64 for value in parameters.values())
    model = build(config, sizes, seed=0, dtype="float64" if is_double else "float32")
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
    """The config of a live model: its own, or that of a HookedTransformer from elsewhere.

    Raises:
        ValueError: A HookedTransformer computes what no config here can say, or its parameters
            have other names.
    """
    return getattr(model.cfg, "config", None) or token_config_of(model)


def agreed_config(model: HookedModel, given: ModelConfig | None) -> ModelConfig:
    """The config given for a live model, or the one read off it where none is given.

    Raises:
        ValueError: The given one is not the model's, or the model's cannot be said (`config_of`).
    """
    own = config_of(model)
    if given is None:
        return own
    says, has = _choices(given), _choices(own)
    for name in [*says, *(name for name in has if name not in says)]:
        if says.get(name) != has.get(name):
            raise ValueError(
                f"{name} is {says.get(name)!r} in the config given, and {has.get(name)!r} in the "
                "live model: leave config out, and it is read off the model"
            )
    return given


def _choices(config: ModelConfig) -> dict[str, Any]:
    """The options of a config that decide logits, with those left out at what they stand for."""
    values = config.model_dump(exclude={"initializer_range"})
    for name, size in {"d_head": "head_size", "d_mlp": "mlp_size"}.items():
        if values.get(name, 0) is None:
            values[name] = getattr(config, size)
    if values.get("attn_only"):
        values |= {"act_fn": None, "d_mlp": None}  # of no MLP
    return values


def _shape(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else f"shape {list(shape)}"
