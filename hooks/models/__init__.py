"""One file a kind of model, each with its frozen config, which builds it and finds its weights.

`ModelConfig` is any of the configs; a table says which by its `kind`, `token` where it names none.
A kind of the user's own is named by where its class is (`hooks.own_classes`).
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

import torch
from pydantic import BeforeValidator, SerializeAsAny
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from hooks.models.base import HookedModel, MissingConfig, OwnConfig, Sizes, move, parameters_of
from hooks.models.constructed import ConstructedConfig
from hooks.models.mlp import MLPConfig
from hooks.models.neox import NeoXConfig
from hooks.models.post_norm import PostNormConfig
from hooks.models.read_in import ReadInConfig
from hooks.models.states import check_state
from hooks.models.token import TokenConfig, token_config_of
from hooks.own_classes import class_in, is_named_by_user, is_reference, placed, reference_to

Kind = TokenConfig | MLPConfig | ConstructedConfig | PostNormConfig | ReadInConfig | NeoXConfig
CONFIGS: dict[str, type[Kind]] = {cls.model_fields["kind"].default: cls for cls in get_args(Kind)}


def _of_its_kind(value: Any, info: Any) -> Any:  # pydantic's own info, which no check can take
    """A table as the config of its `kind`, token where it names none."""
    if not isinstance(value, dict):
        return value
    kind = value.get("kind", "token")
    if is_reference(kind):
        return _of_own_kind(value, info.context)
    if not (isinstance(kind, str) and kind in CONFIGS):
        raise ValueError(f"no kind '{kind}'; there are {', '.join(CONFIGS)}")
    return CONFIGS[kind].model_validate(value)


def _of_own_kind(table: dict[str, Any], context: Any) -> OwnConfig:
    try:
        cls = class_in(context, table["kind"], OwnConfig)
        if cls is OwnConfig or issubclass(cls, MissingConfig):
            raise ValueError(f"{table['kind']} is itself no model: name a class of your own")
    except ValueError as error:
        if is_named_by_user(context):
            raise
        return MissingConfig.of({**table, "kind": placed(table["kind"], context)}, str(error))
    return cls.model_validate({**table, "kind": reference_to(cls)})


ModelConfig = Annotated[SerializeAsAny[Kind | OwnConfig], BeforeValidator(_of_its_kind)]

__all__ = [
    "CONFIGS",
    "ConstructedConfig",
    "HookedModel",
    "MLPConfig",
    "ModelConfig",
    "NeoXConfig",
    "OwnConfig",
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

    Raises:
        ValueError: The config does not fit the sizes, or a module keeps running statistics.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = config.build(sizes, getattr(torch, dtype))
    _check_parameters_say_all(model)
    return model


def restore(config: ModelConfig, sizes: Sizes, parameters: Mapping[str, Tensor]) -> HookedModel:
    """A model in evaluation mode with a copy of parameters, in float64 where one of them is.

    Raises:
        TypeError: A parameter is no tensor.
        ValueError: A parameter is missing, unknown or of another shape than the config's, has a
            wrapper's name, or holds no float32 or float64 numbers; or as `build`.
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
    model.train(False)
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
    values = config.model_dump(exclude={"initializer_range", "dropout"})
    sizes = {"d_head": "head_size", "d_mlp": "mlp_size", "rotary_dim": "head_size"}
    for name, size in sizes.items():
        if values.get(name, 0) is None:
            values[name] = getattr(config, size)
    if values.get("attn_only"):
        values |= {"act_fn": None, "d_mlp": None}  # of no MLP
    return values


def _check_parameters_say_all(model: HookedModel) -> None:
    """Refuses modules whose running statistics decide logits, since checkpoints lack them."""
    for name, module in torch.nn.Module.named_modules(model):  # pyright: ignore[reportArgumentType]  # the protocol's models are modules
        if isinstance(module, _NormBase) and module.track_running_stats:
            raise ValueError(
                f"the model's {name} ({type(module).__name__}) keeps running statistics, and a "
                "checkpoint holds parameters alone, so that it would give other logits: build it "
                "with track_running_stats=False, or take a LayerNorm"
            )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else f"shape {list(shape)}"
