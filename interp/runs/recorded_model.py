"""A live model as its run folder describes it: its config, and its parameters by name.

Wrappers of torch (`torch.compile`, DataParallel) are taken off, and so are their prefixes of names.
TransformerLens 4's bridges are turned into a HookedTransformer with the same weights.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hooks import Checkpoints, Examples, ModelConfig, Sizes, from_transformer_lens
from hooks.checkpoints import without_buffers
from hooks.live_model import WRAPPERS, check_live
from hooks.models import HookedModel, parameters_of
from hooks.models.states import PREFIXES, check_state

State = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class RecordedModel:
    """A live model, and how its parameters become those of a checkpoint.

    Attributes:
        given: The model inside its wrappers; a bridge of TransformerLens, or `model` itself.
        model: The model with hook points.
        config: Its config.
        sizes: Its sizes.
        shapes: The shape of each parameter, by name.
    """

    given: Any
    model: HookedModel
    config: ModelConfig
    sizes: Sizes
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, model: Any, examples: Examples) -> "RecordedModel":
        """A live model, whatever its device and mode; it is left as it is.

        Args:
            model: A HookedTransformer, of here or of TransformerLens, or a bridge; wrapped or not.
            examples: What it is run on. A few of them are, to see that its config says what the
                model computes.

        Raises:
            ValueError: It carries hooks, holds numbers other than float32 or float64, computes what
                no config here says, or the examples are none of its own.
            TypeError: It is no model with hook points.
        """
        given = inside_of_wrappers(model)
        live = from_transformer_lens(given) if _is_bridge(given) else given
        check_live(live)
        series = Checkpoints.of(live, {}, examples)  # which checks its config
        n_pos = examples.model_inputs.shape[1]
        if n_pos > series.sizes.n_ctx:
            raise ValueError(
                f"examples have {n_pos} positions, the model's n_ctx is {series.sizes.n_ctx}: "
                "shorten them"
            )
        examples.check_sizes(series.sizes.d_vocab, series.sizes.d_vocab_out)
        shapes = {name: tuple(value.shape) for name, value in parameters_of(live).items()}
        return cls(given, live, series.config, series.sizes, shapes)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(iter(parameters_of(self.model).values())).device

    def now(self) -> dict[str, Tensor]:
        """The parameters as they are now, on the CPU.

        Raises:
            ValueError: They are no longer those of the model that was given, or no float32 or
                float64 numbers.
        """
        live = from_transformer_lens(self.given) if _is_bridge(self.given) else self.model
        return self._checked(parameters_of(live))

    def parameters(self, state: Any) -> dict[str, Tensor]:
        """The parameters in a `state_dict()` of the model, or of what wraps it, on the CPU.

        Raises:
            ValueError: It is a state of something else.
            TypeError: It is no mapping to tensors.
        """
        buffers = dict(torch.nn.Module.named_buffers(self.model))  # pyright: ignore[reportArgumentType]  # the protocol's models are modules
        return self._checked(without_buffers(self._ours(state), buffers))

    def _ours(self, state: Any) -> State:
        """A state under this model's names."""
        if not isinstance(state, Mapping):
            raise TypeError(f"a {type(state).__name__}: give the model's state_dict()")
        while state and (prefix := _common_prefix(state)):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
        if not _is_bridge(self.given) or self.shapes.keys() <= state.keys():
            return state
        bridge = copy.deepcopy(self.given)
        try:
            bridge.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"no state of this bridge: {' '.join(str(error).split())}") from None
        return parameters_of(from_transformer_lens(bridge))

    def _checked(self, parameters: State) -> dict[str, Tensor]:
        check_state(parameters)
        for name in sorted(parameters.keys() | self.shapes.keys()):
            came = list(parameters[name].shape) if name in parameters else "missing"
            wanted = list(self.shapes[name]) if name in self.shapes else "none"
            if came != wanted:
                raise ValueError(
                    f"parameter {name} is {came}, the model has {wanted}; is this the state of "
                    "another model?"
                )
        return {name: value.detach().cpu().contiguous() for name, value in parameters.items()}


def inside_of_wrappers(model: Any) -> Any:
    """The model inside torch's wrappers."""
    while wrapper := [name for name in WRAPPERS if name in getattr(model, "_modules", {})]:
        model = model._modules[wrapper[0]]
    return model


def _is_bridge(model: Any) -> bool:
    return type(model).__name__ == "TransformerBridge"


def _common_prefix(state: State) -> str:
    """The wrapper's prefix that all names have; empty where they have none."""
    return next((prefix for prefix in PREFIXES if all(n.startswith(prefix) for n in state)), "")
