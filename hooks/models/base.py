"""What every kind of model shares: its config, the sizes a task gives it, the calls it answers."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator
from torch import Tensor

from hooks.own_classes import reference_to

View = Callable[[Any, Mapping[str, Tensor]], Tensor]


class Sizes(BaseModel):
    """The sizes that a task decides and a model config therefore leaves out.

    `d_vocab` counts input tokens, `d_in` the components of a real-valued input (one of the two),
    `d_vocab_out` the classes, `n_ctx` the positions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    d_vocab: int | None = Field(default=None, ge=1)
    d_in: int | None = Field(default=None, ge=1)
    d_vocab_out: int = Field(ge=1)
    n_ctx: int = Field(ge=1)


@runtime_checkable
class HookedModel(Protocol):
    """The calls of `hooks.hook_points.HookedRootModule` that the toolkit uses."""

    cfg: Any
    training: bool

    @property
    def hook_dict(self) -> Mapping[str, torch.nn.Module]:
        """Hook points by name."""
        ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Logits of inputs."""
        ...

    def hooks(self, fwd_hooks: Any = ...) -> AbstractContextManager[Any]:
        """A context in which hooks run."""
        ...

    def modules(self) -> Iterator[torch.nn.Module]:
        """The model and every module in it."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """Parameters with their names."""
        ...

    def train(self, mode: bool = True) -> Any:
        """Sets training or evaluation mode."""
        ...


class KindConfig(BaseModel):
    """The config of a kind of model: a frozen table, with the field `kind`, that builds it.

    Attributes:
        VIEWS: By name, weights made of parameters (`hooks.weights`); parameters may carry leading
            axes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    VIEWS: ClassVar[Mapping[str, View]] = {}

    def build(self, sizes: Sizes, dtype: torch.dtype) -> HookedModel:
        """A model with freshly drawn weights, from torch's global generator, on the CPU.

        Raises:
            ValueError: The config does not fit the task's sizes.
        """
        raise NotImplementedError


def move(model: HookedModel, device: torch.device) -> None:
    """Moves a model to a device, in place.

    TransformerLens sends tokens to `cfg.device`, which plain `Module.to` would leave behind.
    """
    torch.nn.Module.to(model, device)  # pyright: ignore[reportArgumentType,reportCallIssue]  # the protocol's models are modules
    model.cfg.device = device.type


def parameters_of(model: HookedModel) -> dict[str, Tensor]:
    """The parameters by name, detached; they share memory with the model."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


class OwnConfig(KindConfig):
    """The config of a kind of model in a file of the user's own (`hooks.own_classes`).

    A subclass adds its fields and `build`. What it builds is a `hooks.hook_points.HookedRootModule`
    whose `cfg` has this config as `config`, the sizes, `n_layers` and `device`.

    Attributes:
        kind: Where the class is, `my_model.py:Wide`.
        n_layers: Blocks, as analyses count them.
        attention_dir: Which positions a position sees, by attention or otherwise. A model that says
            nothing may see all of them, padding among them, so that padded examples are refused:
            set `causal` where no position sees a later one.
        normalization_type: What stands before heads, which read through its gain (`ln1.w`); None
            for nothing, or for what does not stand there.
    """

    kind: str = Field(init=False)  # nobody has to give it
    n_layers: int = Field(ge=0)
    attention_dir: Literal["causal", "bidirectional"] = "bidirectional"
    normalization_type: Literal["LN", "LNPre", "RMS", "RMSPre"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _named_by_its_place(cls, table: Any) -> Any:
        named = not isinstance(table, dict) or "kind" in table
        return table if named else {"kind": reference_to(cls)} | table


class MissingConfig(OwnConfig):
    """The config of a model whose class is missing here: its fields, and why there is no model."""

    model_config = ConfigDict(extra="allow")

    n_layers: int = 0
    _reason: str = PrivateAttr("")

    @property
    def reason(self) -> str:
        """Why there is no class."""
        return self._reason

    def build(self, sizes: Sizes, dtype: torch.dtype) -> HookedModel:
        """Refuses.

        Raises:
            ValueError: Always; it says what is missing.
        """
        raise ValueError(self._reason)

    @classmethod
    def of(cls, table: Mapping[str, Any], reason: str) -> "MissingConfig":
        """The config of a table of which no class can be had."""
        config = cls.model_validate(table)
        config._reason = f"model.kind: {reason}"
        return config
